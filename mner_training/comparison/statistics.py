"""How sure a difference between two systems is: a paired bootstrap over posts and seeds, and its correction for many.

Two things are left to chance when a system is measured: which posts the test split happens to have, and which seeds
the runs had. Each run also errs on posts of its own. This *interaction* varies with the posts, and it may be nearly
all that runs of different seeds differ by (of image classifiers: Jordan, ICLR 2024,
https://arxiv.org/abs/2304.01910). A bootstrap that draws posts and seeds at once counts it three times (Owen, Annals
of Applied Statistics 2007, https://doi.org/10.1214/07-AOAS122), and intervals of close systems become up to sqrt(3)
times too wide. Here posts are resampled, and the spread of the seeds is added to that, less the part of it that the
interaction has made.
"""

import zlib
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

REPLICATES = 10_000
"""Times that the posts and the seeds are drawn again."""
LEVEL = 0.95
"""What intervals cover; differences are tested at one minus this."""
POWER = 0.8
"""How often the smallest visible difference would be seen."""

# Replicates that are drawn together, which bounds memory: 500 times 10,000 posts are 40 MB.
_CHUNK = 500


def scores(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of entities.

    Args:
        counts: Correct, predicted and gold entities, ``(..., 3)``.

    Returns:
        The three in percent, ``(..., 3)``; what would divide by zero is 0, as in `NERMetric`.
    """
    correct, predicted, gold = np.moveaxis(np.asarray(counts, float), -1, 0)
    over = np.stack([predicted, gold, (predicted + gold) / 2], axis=-1)
    return 100 * np.divide(correct[..., None], over, out=np.zeros_like(over), where=over > 0)


def resample_posts(counts: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """F1 of runs over posts drawn with replacement, all runs over the same draws.

    Args:
        counts: Correct, predicted and gold entities of each run and post, ``(runs, posts, 3)``.
        replicates: How often the posts are drawn.
        seed: Of the draws, which depend on it and the number of posts alone.

    Returns:
        F1 in percent, ``(replicates, runs)``.
    """
    num_runs, num_posts, _ = counts.shape
    generator = np.random.default_rng(seed)
    flat = np.moveaxis(counts, 1, 0).reshape(num_posts, -1).astype(float)
    drawn = []
    for start in range(0, replicates, _CHUNK):
        size = min(_CHUNK, replicates - start)
        # How often each post was drawn: one row of weights per replicate.
        draws = generator.integers(num_posts, size=(size, num_posts)) + num_posts * np.arange(size)[:, None]
        weights = np.bincount(draws.ravel(), minlength=size * num_posts).reshape(size, num_posts)
        drawn.append(scores((weights @ flat).reshape(size, num_runs, 3))[..., 2])
    return np.concatenate(drawn)


def resample_seeds(observed: np.ndarray, resampled: np.ndarray, seed: int) -> np.ndarray:
    """The mean of a system's runs over other posts and other seeds.

    Args:
        observed: A figure of each run on the posts as they are, ``(runs,)``.
        resampled: The same on posts drawn with replacement, ``(replicates, runs)``.
        seed: Of the draws of seeds.

    Returns:
        The mean over runs, ``(replicates,)``. Of a single run only the posts vary.

    Source:
        n - 1 of n runs are drawn, so that the variance of their mean is ``s^2 / n`` as it should be, where n draws
        would give ``(n - 1) / n`` of it: Rao and Wu, JASA 1988. The deviations are shrunk by `seed_share` (ours).
    """
    means = resampled.mean(axis=1)
    runs = len(observed)
    if runs == 1:
        return means
    draws = np.random.default_rng(seed).multinomial(runs - 1, np.full(runs, 1 / runs), size=len(resampled))
    deviations = draws @ observed / (runs - 1) - observed.mean()
    return means + np.sqrt(seed_share(observed, resampled)) * deviations


def seed_share(observed: np.ndarray, resampled: np.ndarray) -> float:
    """The share of the variance between runs that their seeds have made, and not which posts were drawn.

    Args:
        observed: A figure of each run on the posts as they are, ``(runs,)``, at least two.
        resampled: The same on posts drawn with replacement, ``(replicates, runs)``.

    Returns:
        In ``[0, 1]``: 0 where the runs differ no more than runs of one quality do on so few posts.
    """
    runs = len(observed)
    variance = observed.var(ddof=1)
    own = (resampled - resampled.mean(axis=1, keepdims=True)).var(axis=0).mean() * runs / (runs - 1)
    return float(max(0.0, 1 - own / variance)) if variance > 0 else 0.0


def name_seed(seed: int, name: str) -> int:
    """A seed for what is called `name`, the same whatever else is compared with it."""
    return seed + zlib.crc32(name.encode("utf-8"))


def interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentiles between which a share `level` of the replicates lies."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided: the highest level at which the percentile interval of a difference still holds 0.

    Args:
        differences: Replicates of the difference, ``(replicates,)``.

    Returns:
        In ``(0, 1]``, at least ``2 / (replicates + 1)``: no number of draws shows that nothing is possible.
    """
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(differences)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests so that the chance of any false finding stays below the level.

    Args:
        p_values: One per test, in ``[0, 1]``.

    Returns:
        The adjusted ones, in the same order.

    Source:
        Holm, Scandinavian Journal of Statistics 1979.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, test in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[test]))
        adjusted[test] = highest
    return adjusted


def smallest_visible(standard_error: float, level: float = LEVEL, power: float = POWER) -> float:
    """The difference that a two-sided test finds with probability `power`, in the unit of the standard error."""
    normal = NormalDist()
    return (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * standard_error
