"""pictured-posts: a generated corpus in which exactly one picture of each post is worth looking at.

The text shows where a name stands and never its type. Of the one to four pictures, one is right: clear, in the colour
that the text speaks of, its shape showing the type. Every other one shows a wrong type, and is either irrelevant
(clear, of another colour) or spoilt (dark, blurred or noisy, in the text's colour). So a system needs the pictures,
and has to weigh them: by quality against the spoilt ones, by relevance against the irrelevant ones. Both scores follow
how a picture was made, plus noise, on the scales of MANIQA and CLIP.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Features, List, Value

from .features import ENTITY_TYPES, TAG_NAMES, post_features
from .pictured_posts_pictures import COLOUR_HSV, SPOILT_KINDS, draw_picture
from .pictured_posts_text import draw_sentence
from .split_files import SPLITS

# Raised whenever the same dials begin to give other posts.
GENERATOR_VERSION = 1

PICTURE_KINDS = ("right", "irrelevant", *SPOILT_KINDS)

# Means and standard deviation of each score, the latter times `score_noise`.
CLEAR_QUALITY, SPOILT_QUALITY, QUALITY_SPREAD = 0.62, 0.40, 0.07
RELEVANT_SIMILARITY, IRRELEVANT_SIMILARITY, SIMILARITY_SPREAD = 0.285, 0.225, 0.025


@dataclass(frozen=True)
class PicturedPostsDials:
    """The dials of the corpus.

    Raises:
        ValueError: If a dial is out of its range.
    """

    seed: int = 0
    """Another seed gives other posts; 0 or more."""
    type_prior: tuple[float, ...] = (0.4, 0.2, 0.2, 0.2)
    """Relative frequency of PER, LOC, ORG and MISC; each at least 0, any sum above 0."""
    image_count_weights: tuple[float, ...] = (0.2, 0.3, 0.25, 0.25)
    """Relative frequency of posts with one, two, ... pictures; each at least 0, any sum above 0."""
    spoilt_share: float = 0.5
    """Probability that a wrong picture is spoilt and not irrelevant, in [0, 1]."""
    score_noise: float = 1.0
    """Factor on the standard deviation of both scores; 0 or more, and 0 tells every kind from the others for sure."""
    image_size: int = 128
    """Side of the pictures in pixels, 128 to 512."""

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"`seed` must be an integer of at least 0, got {self.seed!r}.")
        for name in ("type_prior", "image_count_weights"):
            weights = tuple(float(weight) for weight in getattr(self, name))
            object.__setattr__(self, name, weights)  # A list, as JSON has it, is fine too.
            if not weights or not np.isfinite(weights).all() or min(weights) < 0 or sum(weights) <= 0:
                raise ValueError(f"`{name}` must be weights of at least 0 that are not all 0, got {weights}.")
        if len(self.type_prior) != len(ENTITY_TYPES):
            raise ValueError(
                f"`type_prior` must have one weight for each of {', '.join(ENTITY_TYPES)}, got {self.type_prior}."
            )
        if not 0 <= self.spoilt_share <= 1:
            raise ValueError(f"`spoilt_share` must be a probability in [0, 1], got {self.spoilt_share!r}.")
        if not 0 <= self.score_noise < np.inf:
            raise ValueError(f"`score_noise` must be a factor of at least 0, got {self.score_noise!r}.")
        if (
            isinstance(self.image_size, bool)
            or not isinstance(self.image_size, int)
            or not 128 <= self.image_size <= 512
        ):
            raise ValueError(f"`image_size` must be 128 to 512 pixels, got {self.image_size!r}.")


def pictured_posts_features() -> Features:
    """Describe the columns of pictured-posts to `datasets`.

    Returns:
        `post_features` with scores, and `picture_kinds`: how each picture was made, one of `PICTURE_KINDS`.
    """
    return Features({**post_features(with_scores=True), "picture_kinds": List(Value("string"))})


def generate_posts(dials: PicturedPostsDials, split: str, num_posts: int) -> Iterator[dict[str, Any]]:
    """Generate the posts of one split.

    A post depends on the dials, the split and its own number alone: asking for more posts changes none of the first
    ones.

    Args:
        dials: The dials.
        split: ``train``, ``validation`` or ``test``.
        num_posts: How many.

    Yields:
        Rows with the columns of `pictured_posts_features`; images as ``{"bytes", "path"}``, JPEG.

    Raises:
        ValueError: If there is no such split, or `num_posts` is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}, only {', '.join(SPLITS)}.")
    if num_posts < 0:
        raise ValueError(f"`num_posts` must be at least 0, got {num_posts}.")
    for index in range(num_posts):
        rng = np.random.default_rng([dials.seed, SPLITS.index(split), index])
        yield _generate_post(rng, dials, post_id=f"{split}-{index:06d}")


def _generate_post(rng: np.random.Generator, dials: PicturedPostsDials, post_id: str) -> dict[str, Any]:
    """One post: its sentence, its type, and a right picture among wrong ones."""
    sentence = draw_sentence(rng)
    entity_type = ENTITY_TYPES[_draw_index(rng, dials.type_prior)]
    num_images = 1 + _draw_index(rng, dials.image_count_weights)
    right = rng.integers(num_images)
    kinds = ["right" if k == right else _draw_wrong_kind(rng, dials.spoilt_share) for k in range(num_images)]
    images = []
    for k, kind in enumerate(kinds):
        shown_type = entity_type if kind == "right" else _draw_other(rng, ENTITY_TYPES, entity_type)
        colour = _draw_other(rng, tuple(COLOUR_HSV), sentence.colour) if kind == "irrelevant" else sentence.colour
        picture = draw_picture(rng, shown_type, colour, kind, dials.image_size)
        images.append({"bytes": picture, "path": f"{post_id}_{k}.jpg"})
    tags = ["O"] * len(sentence.words)
    tags[sentence.start : sentence.end] = [f"I-{entity_type}"] * (sentence.end - sentence.start)
    tags[sentence.start] = f"B-{entity_type}"
    quality_scores, relevance_scores = _draw_scores(rng, kinds, dials.score_noise)
    return {
        "id": post_id,
        "tokens": list(sentence.words),
        "ner_tags": [TAG_NAMES.index(tag) for tag in tags],
        "images": images,
        "url": "",
        "source": "pictured-posts",
        "quality_scores": quality_scores,
        "relevance_scores": relevance_scores,
        "picture_kinds": kinds,
    }


def _draw_index(rng: np.random.Generator, weights: tuple[float, ...]) -> int:
    """Draw a position with probability in proportion to its weight."""
    return int(rng.choice(len(weights), p=np.divide(weights, sum(weights))))


def _draw_wrong_kind(rng: np.random.Generator, spoilt_share: float) -> str:
    """Draw how a wrong picture betrays itself."""
    spoilt = SPOILT_KINDS[rng.integers(len(SPOILT_KINDS))]
    return spoilt if rng.random() < spoilt_share else "irrelevant"


def _draw_other(rng: np.random.Generator, choices: tuple[str, ...], but: str) -> str:
    """Draw any of the choices but one, all equally likely."""
    others = [choice for choice in choices if choice != but]
    return others[rng.integers(len(others))]


def _draw_scores(rng: np.random.Generator, kinds: list[str], score_noise: float) -> tuple[list[float], list[float]]:
    """Draw the quality and the relevance of every picture of a post."""
    quality_means = [SPOILT_QUALITY if kind in SPOILT_KINDS else CLEAR_QUALITY for kind in kinds]
    relevance_means = [IRRELEVANT_SIMILARITY if kind == "irrelevant" else RELEVANT_SIMILARITY for kind in kinds]
    noise = score_noise * rng.standard_normal((2, len(kinds)))
    quality_scores = np.clip(quality_means + QUALITY_SPREAD * noise[0], 0, 1)
    relevance_scores = np.clip(relevance_means + SIMILARITY_SPREAD * noise[1], -1, 1)
    # Rounded to what the column holds, so that a row is the same before and after it is written.
    return tuple(scores.astype(np.float32).tolist() for scores in (quality_scores, relevance_scores))
