"""The scores of a data set's pictures side by side, counted, and the numbers that the paper gives for its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from datasets import Dataset

from mner_training.data import post_names
from processing_iqcr.image_scores import SCORE_RANGES, check_scores

# IQCR-MI, Section 6 and Figure 3: qualities of the pictures of MNER-MI by MANIQA, in percent there ("above 50", "below
# 50", "between 80 and 100"). Table 1 of the paper has 24,021 pictures, one less than the first two add up to.
PAPER_ABOVE_HALF = 5_852
PAPER_BELOW_HALF = 18_170
PAPER_HIGH = 1
PAPER_PICTURES = PAPER_ABOVE_HALF + PAPER_BELOW_HALF
# The same bounds on our scale: above the first; from the second on, as far as 1.
HALF, HIGH = 0.5, 0.8


class Place(NamedTuple):
    """Where a picture is."""

    split: str
    """The split's name."""
    post: int
    """The number of the post in its split."""
    number: int
    """The number of the picture in its post."""


class Summary(NamedTuple):
    """Some scores, or some differences between scores, in numbers."""

    count: int
    mean: float
    """NaN, as all that follows, if there are none."""
    deviation: float
    """Standard deviation around the mean of just these, divided by their number."""
    lowest: float
    first_quartile: float
    """Quartiles and median lie linearly between two neighbours, as NumPy has it."""
    median: float
    third_quartile: float
    highest: float


@dataclass(frozen=True)
class PictureScores:
    """Every picture of a data set with its scores; all arrays go together, ``(P,)`` with P pictures.

    Attributes:
        num_posts: By split, in the order of the data set, how many posts it has.
        split: The number of each picture's split.
        post: The number of its post in the split.
        number: Its number in the post. The pictures of a post are neighbours.
        scores: By column, ``quality_scores`` and ``relevance_scores``; NaN stands for a score that is missing.
    """

    num_posts: dict[str, int]
    split: np.ndarray
    post: np.ndarray
    number: np.ndarray
    scores: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.split)

    @property
    def total_posts(self) -> int:
        """How many posts there are, with pictures or without."""
        return sum(self.num_posts.values())

    def place(self, picture: int) -> Place:
        """Where a picture is, which is given by its number among all."""
        splits = list(self.num_posts)
        return Place(splits[self.split[picture]], int(self.post[picture]), int(self.number[picture]))

    def of_split(self, name: str | None) -> np.ndarray:
        """Which pictures belong to a split, ``None`` for all of them; bool, ``(P,)``."""
        if name is None:
            return np.ones(len(self), bool)
        return self.split == list(self.num_posts).index(name)

    def known(self, column: str, split: str | None = None) -> np.ndarray:
        """The scores that are there, of one split or of all."""
        scores = self.scores[column][self.of_split(split)]
        return scores[~np.isnan(scores)]

    def pictures_per_post(self, split: str | None = None) -> np.ndarray:
        """How many pictures each post has that has any, ``(posts with pictures,)``."""
        return np.diff(np.append(np.flatnonzero(self.number[self.of_split(split)] == 0), self.of_split(split).sum()))

    def spreads(self, column: str) -> np.ndarray:
        """Best minus worst score of each post in which two or more pictures have one."""
        scores = self.scores[column]
        starts = np.flatnonzero(self.number == 0)
        if not len(starts):
            return np.empty(0)
        # fmax and fmin pass over NaN; what is left of a post without scores goes by the count.
        spreads = np.fmax.reduceat(scores, starts) - np.fmin.reduceat(scores, starts)
        return spreads[np.add.reduceat((~np.isnan(scores)).astype(int), starts) >= 2]


def collect_scores(posts: Mapping[str, Dataset]) -> PictureScores:
    """Put the scores of all splits side by side, without reading a picture.

    Args:
        posts: The splits. A column of scores may be missing, or ``None`` for a post or for a picture.

    Returns:
        The pictures and their scores.

    Raises:
        ValueError: If a post has more or fewer scores than pictures, or a score is out of its range.
    """
    split_numbers, post_numbers, numbers = [], [], []
    scores = {column: [] for column in SCORE_RANGES}
    for split_number, split in enumerate(posts.values()):
        counts = _count_pictures(split)
        split_numbers.append(np.full(counts.sum(), split_number))
        post_numbers.append(np.repeat(np.arange(len(counts)), counts))
        numbers.append(np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts))
        for column in SCORE_RANGES:
            scores[column].append(_read_scores(split, column, counts))
    return PictureScores(
        num_posts={name: len(split) for name, split in posts.items()},
        split=_join(split_numbers, int),
        post=_join(post_numbers, int),
        number=_join(numbers, int),
        scores={column: _join(values, float) for column, values in scores.items()},
    )


def summarize(values: np.ndarray) -> Summary:
    """Say some scores in a few numbers.

    Args:
        values: The scores, or differences between scores; none of them NaN.

    Returns:
        The numbers.
    """
    if not len(values):
        return Summary(0, *[float("nan")] * 7)
    lowest, first, median, third, highest = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    numbers = (values.mean(), values.std(), lowest, first, median, third, highest)
    return Summary(len(values), *map(float, numbers))


def count_shares(qualities: np.ndarray) -> tuple[int, int]:
    """Count what the paper counts.

    Args:
        qualities: The qualities, in ``[0, 1]``.

    Returns:
        How many are above `HALF`, and how many are in ``[HIGH, 1]``.
    """
    # 0.8 out of a column of float32 is a little more than 0.8, and counts as well.
    return int((qualities > HALF).sum()), int((qualities >= HIGH).sum())


def score_kind(column: str) -> str:
    """What a column of scores is about: ``quality_scores`` is about the ``quality``."""
    return column.removesuffix("_scores")


def count_things(number: int, thing: str) -> str:
    """A number and what is counted, a regular noun that is given in the singular."""
    return f"{number:,} {thing}" + "s" * (number != 1)


def _count_pictures(posts: Dataset) -> np.ndarray:
    """How many pictures each post has, ``(posts,)``."""
    if "images" not in posts.column_names:
        return np.zeros(len(posts), int)
    # From where the lists begin and end, which leaves the pictures on the disk. Rows that were selected or shuffled
    # lie in the table as before, and their order beside it.
    chunks = posts.data.column("images").chunks
    counts = _join([chunk.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) for chunk in chunks], int)
    return counts if posts._indices is None else counts[posts._indices.column(0).to_numpy()]


def _read_scores(posts: Dataset, column: str, counts: np.ndarray) -> np.ndarray:
    """The scores of one column for every picture, NaN where there is none."""
    if column not in posts.column_names:
        return np.full(counts.sum(), np.nan)
    flat = []
    rows = posts.select_columns([column]).with_format(None)[:][column]
    for name, count, scores in zip(post_names(posts), counts, rows, strict=True):
        if scores is not None:
            check_scores(scores, count, column, name)
        flat += [np.nan if score is None else score for score in scores or [None] * count]
    return np.array(flat, float)


def _join(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    """The arrays of all splits as one, of which there may be none."""
    return np.concatenate([np.empty(0, dtype), *arrays])
