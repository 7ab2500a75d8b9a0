"""Intervals of simulated comparisons: how often they hold the difference that is there, and how wide they are."""

import numpy as np
import pytest

from mner_training.comparison.statistics import interval, p_value, resample_posts, resample_seeds, scores
from tests.comparison_runs import SimulatedTest

pytestmark = pytest.mark.slow

REPETITIONS = 250


def compare(kind: SimulatedTest, gap: float, runs: int) -> dict[str, float]:
    """Coverage, false or true findings, and the standard error over what it should be."""
    generator = np.random.default_rng(runs)
    truth = kind.expected_f1(gap) - kind.expected_f1(0)
    held, found, errors, differences = [], [], [], []
    for number in range(REPETITIONS):
        counts = np.concatenate(kind.draw([0, gap], runs, generator))
        drawn, observed = resample_posts(counts, 1000, number), scores(counts.sum(axis=1))[:, 2]
        one, two = (
            resample_seeds(observed[half], drawn[:, half], 2 * number + place)
            for place, half in enumerate([slice(runs), slice(runs, None)])
        )
        low, high = interval(two - one)
        held.append(low <= truth <= high)
        found.append(p_value(two - one) < 0.05)
        errors.append((two - one).var())
        differences.append(observed[runs:].mean() - observed[:runs].mean())
    assert np.mean(differences) == pytest.approx(truth, abs=4 * np.std(differences) / REPETITIONS**0.5)
    width = np.mean(errors) ** 0.5 / np.std(differences)
    return {"coverage": float(np.mean(held)), "found": float(np.mean(found)), "width": float(width)}


@pytest.mark.parametrize("runs", [1, 3, 5])
@pytest.mark.parametrize("gap", [0, 0.2])
def test_runs_that_differ_by_their_own_mistakes(runs, gap):
    result = compare(SimulatedTest(hard=3, taste=1, seeds=0), gap, runs)
    print(runs, gap, result)
    assert 0.92 <= result["coverage"] <= 0.985
    assert 0.9 <= result["width"] <= 1.25  # posts and seeds in one draw: 1.4 for three runs
    if gap == 0:
        assert result["found"] <= 0.08


def test_seeds_that_differ_a_little():
    result = compare(SimulatedTest(hard=3, taste=1, seeds=0.05), 0.2, runs=3)
    print(result)
    assert 0.91 <= result["coverage"] <= 0.985
    assert 0.85 <= result["width"] <= 1.25


def test_three_seeds_that_differ_much_are_few():
    # Two degrees of freedom for each system: what docs/comparing.md warns of.
    result = compare(SimulatedTest(hard=3, taste=1, seeds=0.3), 0.2, runs=3)
    print(result)
    assert 0.82 <= result["coverage"] <= 0.96
    assert 0.85 <= result["width"] <= 1.15


def test_one_seed_hides_what_the_seeds_do():
    result = compare(SimulatedTest(hard=3, taste=1, seeds=0.3), 0.2, runs=1)
    print(result)
    assert result["coverage"] < 0.8
