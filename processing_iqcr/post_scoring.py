"""Scores for the images of new posts, by the scorers that gave those of the training."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from torch.utils.data import get_worker_info
from transformers.utils import logging

from .image_loading import load_image
from .relevance_scorer import relevance_text
from .scorer_files import UnscorableImageError
from .scorers import SCORE_COLUMNS, Scorer, find_fault, is_registered, make_scorer, score_each

logger = logging.get_logger(__name__)

# Pictures decoded at a time.
_BATCH_SIZE = 16


def score_images(
    specs: Mapping[str, Mapping[str, Any] | None],
    posts: Sequence[Sequence[str]],
    images: Sequence[Sequence | None],
    device: str | None = None,
) -> dict[str, list[list[float]]]:
    """Score the images of posts.

    Args:
        specs: For each kind of scorer its name and options, ``None`` for none.
        posts: The words of each post.
        images: The images of each post.
        device: Where to run.

    Returns:
        ``quality_scores`` and ``relevance_scores``, one list per post; a kind without a scorer is left out.

    Raises:
        ImageLoadingError: If an image cannot be read. The message names post and image.
        ImportError: If a scorer's library is not installed.
        ValueError: If a scorer cannot be had, takes an image for none that can be scored, or gives no number of its
            range. The message names post and image.
    """
    specs = {kind: spec for kind, spec in specs.items() if spec is not None}
    scorers = {kind: _load(kind, spec, device) for kind, spec in specs.items()}
    scores = {SCORE_COLUMNS[kind]: [[] for _ in posts] for kind in scorers}
    pictures = [
        (index, f"Post {index}, image {number}", image)
        for index, of_post in enumerate(images)
        for number, image in enumerate(() if of_post is None else of_post)
    ]
    texts = [relevance_text(words) for words in posts]
    for start in range(0, len(pictures), _BATCH_SIZE):
        indices, names, sources = zip(*pictures[start : start + _BATCH_SIZE], strict=True)
        loaded = [load_image(source, where=name) for source, name in zip(sources, names, strict=True)]
        for kind, scorer in scorers.items():
            values = score_each(kind, scorer, [texts[index] for index in indices], loaded)
            for index, name, value in zip(indices, names, values, strict=True):
                if isinstance(value, UnscorableImageError):
                    raise UnscorableImageError(f"{name}: {value}") from value
                fault = find_fault(kind, value)
                if fault is not None:
                    what = kind.removesuffix("_scorer")
                    raise ValueError(f"{name}: its {what} {fault}, by {specs[kind]['name']!r}.")
                scores[SCORE_COLUMNS[kind]][index].append(value)
    return scores


def try_scores(
    kind: str, spec: Mapping[str, Any] | None, words: Sequence[str], images: Sequence[Image.Image], name: str
) -> list[float | None] | None:
    """Score the images of one post as far as that can be done, and warn of what cannot.

    Args:
        kind: One of `SCORER_KINDS`.
        spec: The scorer's name and options, ``None`` if nobody knows it.
        words: The words of the post.
        images: Its images.
        name: What warnings call the post.

    Returns:
        One score per image, ``None`` for one that cannot be scored; ``None`` if the scorer cannot be had or fails,
        with a warning.
    """
    what = kind.removesuffix("_scorer")
    stand_in = f"Missing scores of {what} are replaced by the mean of the training data"
    if spec is None:
        logger.warning_once(f"{stand_in}: the processor names no {kind}. Pass scores with the posts if you have them.")
        return None
    named = f"the {kind} {spec['name']!r}"
    device = None if get_worker_info() is None else "cpu"  # a forked process cannot use its parent's GPU
    try:
        scorer = _load(kind, spec, device)
    except Exception as error:  # not installed, broken, another one: tagging goes on in any case
        logger.warning_once(f"{stand_in}: {named} cannot be had. {error}")
        return None
    try:
        scores = score_each(kind, scorer, [relevance_text(words)] * len(images), images)
    except Exception as error:  # not to be downloaded, out of memory, a user's own error
        logger.warning_once(f"{stand_in}: {named} failed at {name} ({type(error).__name__}). {error}")
        return None
    for number, score in enumerate(scores):
        fault = str(score) if isinstance(score, UnscorableImageError) else find_fault(kind, score)
        if fault is not None:
            logger.warning(f"{name}, image {number}: no {what}, the mean of the training data stands in. {fault}")
            scores[number] = None
    return scores


def _load(kind: str, spec: Mapping[str, Any], device: str | None) -> Scorer:
    """A scorer; a registered one is looked up each time, for it may have been registered anew."""
    return make_scorer(kind, spec) if is_registered(kind, spec["name"]) else _load_once(kind, json.dumps(spec), device)


# Beside the processor and not in it: a processor is pickled and saved, and a loaded network is neither.
@functools.lru_cache(maxsize=4)
def _load_once(kind: str, spec: str, device: str | None) -> Scorer:
    """A scorer, whose network stays in memory for the next posts."""
    return make_scorer(kind, json.loads(spec), device)
