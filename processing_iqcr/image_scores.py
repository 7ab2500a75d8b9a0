"""Quality and relevance of a post's images, checked: a score out of its range is an error, never clamped."""

import math
from collections.abc import Sequence

import numpy as np

# Each kind of score by the name of its tensor, with the lowest and the highest value.
SCORE_RANGES = {"quality_scores": (0.0, 1.0), "relevance_scores": (-1.0, 1.0)}


def check_scores(scores: Sequence[float | None], num_images: int, score_name: str, name: str) -> None:
    """Refuse anything but one number in its range per image, or ``None`` for a missing one.

    Args:
        scores: The scores of one post.
        num_images: How many images the post has.
        score_name: A key of `SCORE_RANGES`.
        name: What errors call the post.

    Raises:
        ValueError: If there are more or fewer scores than images, or one is no number of its range.
    """
    if len(scores) != num_images:
        raise ValueError(
            f"{name}: {len(scores)} {score_name} for {num_images} images. Pass one score per image, or None."
        )
    low, high = SCORE_RANGES[score_name]
    for number, score in enumerate(scores):
        if score is None:
            continue
        if isinstance(score, bool) or not isinstance(score, int | float | np.number):
            raise ValueError(f"{name}, image {number}: {score!r} in `{score_name}` is no number.")
        if math.isnan(score):
            raise ValueError(f"{name}, image {number}: `{score_name}` holds NaN. Pass None for a missing score.")
        if not low <= score <= high:
            raise ValueError(
                f"{name}, image {number}: {score} in `{score_name}` is not in [{low:g}, {high:g}]. Are these percent? "
                "Then divide by 100."
            )
