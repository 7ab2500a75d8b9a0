"""Scores for the images of new posts, by the scorers that gave those of the training."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .image_loading import load_image
from .relevance_scorer import relevance_text
from .scorers import SCORE_COLUMNS, Scorer, find_fault, is_registered, make_scorer


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
        ValueError: If a scorer cannot be had, or gives no number of its range.
    """
    loaded = [
        [load_image(image, where=f"Post {index}, image {number}") for number, image in enumerate(of_post or ())]
        for index, of_post in enumerate(images)
    ]
    flat = [image for of_post in loaded for image in of_post]
    texts = [relevance_text(words) for words, of_post in zip(posts, loaded, strict=True) for _ in of_post]
    names = [f"Post {index}, image {number}" for index, part in enumerate(loaded) for number in range(len(part))]
    scores = {}
    for kind, spec in specs.items():
        if spec is None:
            continue
        # A registered one is looked up each time: it may have been registered anew.
        is_own = is_registered(kind, spec["name"])
        scorer = make_scorer(kind, spec) if is_own else _load_once(kind, json.dumps(spec), device)
        values = (scorer(flat) if kind == "quality_scorer" else scorer(texts, flat)) if flat else []
        for name, value in zip(names, values, strict=True):
            fault = find_fault(kind, value)
            if fault is not None:
                raise ValueError(f"{name}: its {kind.removesuffix('_scorer')} {fault}, by {spec['name']!r}.")
        rest = iter(values)
        scores[SCORE_COLUMNS[kind]] = [[next(rest) for _ in of_post] for of_post in loaded]
    return scores


# Beside the processor and not in it: a processor is pickled and saved, and a loaded network is neither.
@functools.lru_cache(maxsize=4)
def _load_once(kind: str, spec: str, device: str | None) -> Scorer:
    """A scorer, whose network stays in memory for the next posts."""
    return make_scorer(kind, json.loads(spec), device)
