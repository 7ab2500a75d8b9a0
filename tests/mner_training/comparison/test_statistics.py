"""The bootstrap against explicit draws, scipy, the delta method and known variances; Holm against closed testing."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from mner_training.comparison.statistics import (
    holm,
    interval,
    name_seed,
    p_value,
    resample_posts,
    resample_seeds,
    scores,
    seed_share,
    smallest_visible,
)
from tests.comparison_runs import SimulatedTest


def draw_counts(runs: int, posts: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    gold = np.broadcast_to(generator.integers(0, 4, posts), (runs, posts))
    correct = generator.binomial(gold, 0.8)
    return np.stack([correct, correct + generator.poisson(0.3, gold.shape), gold], axis=-1)


def test_scores_by_hand():
    assert scores(np.array([3, 4, 6])) == pytest.approx([75, 50, 60])
    assert scores(np.array([[0, 0, 5], [0, 5, 0], [0, 0, 0]])).tolist() == [[0, 0, 0]] * 3


def test_weights_are_posts_drawn_with_replacement():
    counts = draw_counts(runs=3, posts=37)
    found = resample_posts(counts, replicates=502, seed=5)
    assert found.shape == (502, 3)
    generator = np.random.default_rng(5)
    draws = np.concatenate([generator.integers(37, size=(size, 37)) for size in (500, 2)])
    for replicate in (0, 1, 499, 500, 501):
        for run in range(3):
            correct, predicted, gold = sum(counts[run, post] for post in draws[replicate])
            precision, recall = correct / predicted, correct / gold
            expected = 100 * 2 * precision * recall / (precision + recall)
            assert found[replicate, run] == pytest.approx(expected)


def test_draws_of_posts_do_not_depend_on_what_else_is_compared():
    counts = draw_counts(runs=4, posts=50)
    together = resample_posts(counts, 20, seed=1)
    assert np.array_equal(together[:, 2:3], resample_posts(counts[2:3], 20, seed=1))
    assert name_seed(3, "UMT") == name_seed(3, "UMT") != name_seed(3, "UMT-MI")


def test_interval_of_a_paired_difference_is_that_of_scipy():
    counts = draw_counts(runs=2, posts=300)
    drawn = resample_posts(counts, 10_000, seed=0)
    ours = interval(drawn[:, 0] - drawn[:, 1])

    def difference(posts):
        return np.subtract(*scores(counts[:, posts.astype(int)].sum(axis=1))[:, 2])

    theirs = stats.bootstrap(
        (np.arange(300),), difference, method="percentile", rng=1, n_resamples=2000, vectorized=False
    )
    width = ours[1] - ours[0]
    assert ours == pytest.approx(theirs.confidence_interval, abs=0.06 * width)


def test_standard_error_is_that_of_the_delta_method():
    counts = draw_counts(runs=2, posts=2000)
    drawn = resample_posts(counts, 4000, seed=0)
    influence = []
    for correct, predicted, gold in np.moveaxis(counts, -1, 1):
        f1 = 2 * correct.sum() / (predicted + gold).sum()
        influence.append((2 * correct - f1 * (predicted + gold)) / (predicted + gold).mean())
    expected = 100 * np.sqrt(((influence[0] - influence[1]) ** 2).sum()) / 2000
    assert (drawn[:, 0] - drawn[:, 1]).std() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_n_minus_1_draws_give_the_mean_its_variance(runs):
    # Runs that differ by their seeds alone: posts change nothing.
    generator = np.random.default_rng(runs)
    variances = []
    for number in range(400):
        observed = generator.normal(70, 0.6, runs)
        drawn = resample_seeds(observed, np.tile(observed, (500, 1)), seed=number)
        variances.append(drawn.var())
    assert np.mean(variances) == pytest.approx(0.36 / runs, rel=0.15)  # n draws: (n - 1) / n of it, half for two
    observed = generator.normal(70, 0.6, runs)
    drawn = resample_seeds(observed, np.tile(observed, (100_000, 1)), seed=0)
    assert drawn.var() == pytest.approx(observed.var(ddof=1) / runs, rel=0.03)
    assert drawn.mean() == pytest.approx(observed.mean(), abs=0.01)


def test_a_single_run_varies_with_its_posts_alone():
    resampled = np.random.default_rng(0).normal(70, 1, (50, 1))
    assert np.array_equal(resample_seeds(np.array([70.0]), resampled, seed=0), resampled[:, 0])


def test_share_of_the_seeds():
    observed = np.array([70.0, 72.0, 74.0])
    assert seed_share(observed, np.tile(observed, (10, 1))) == 1  # no post makes them differ
    assert seed_share(np.full(3, 70.0), np.tile(observed, (10, 1))) == 0
    # Each run varies on its own with variance 1: a quarter of the 4 between the runs.
    noise = np.random.default_rng(0).normal(0, 1, (20_000, 3))
    assert seed_share(observed, observed + noise) == pytest.approx(0.75, abs=0.02)
    # What all runs share with the posts takes nothing off.
    assert seed_share(observed, observed + noise[:, :1]) == pytest.approx(1)
    assert seed_share(observed, observed + 3 * noise) == 0


def test_identical_systems_do_not_differ():
    counts = draw_counts(runs=1, posts=200)
    drawn = resample_posts(np.concatenate([counts, counts]), 500, seed=0)
    differences = drawn[:, 0] - drawn[:, 1]
    assert (interval(differences), p_value(differences)) == ((0, 0), 1)
    # With seeds of their own the interval is around 0.
    counts = np.concatenate([draw_counts(runs=3, posts=200)] * 2)
    drawn, observed = resample_posts(counts, 4000, seed=0), scores(counts.sum(axis=1))[:, 2]
    one, two = (
        resample_seeds(observed[runs], drawn[:, runs], seed) for seed, runs in enumerate([[0, 1, 2], [3, 4, 5]])
    )
    low, high = interval(one - two)
    assert low <= 0 <= high
    assert p_value(one - two) > 0.5


def test_p_value_is_the_level_of_the_interval_that_ends_at_0():
    differences = np.random.default_rng(0).normal(1.3, 1, 9999)
    p = p_value(differences)
    assert p == pytest.approx(2 * stats.norm.cdf(-1.3), abs=0.02)
    assert interval(differences, 1 - p)[0] == pytest.approx(0, abs=0.01)
    assert p_value(-differences) == p
    assert p_value(np.ones(99)) == 2 / 100


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_holm_is_closed_testing_with_bonferroni():
    for p_values in np.random.default_rng(0).random((20, 5)) ** 3:
        subsets = [set(subset) for size in range(1, 6) for subset in combinations(range(5), size)]
        of_subset = {frozenset(subset): min(1, len(subset) * min(p_values[list(subset)])) for subset in subsets}
        expected = [max(p for subset, p in of_subset.items() if test in subset) for test in range(5)]
        assert holm(p_values.tolist()) == pytest.approx(expected)


def test_the_smallest_visible_difference_is_seen_in_80_of_100_cases():
    assert smallest_visible(1.0) == pytest.approx(1.96 + 0.84, abs=0.005)
    seen = np.abs(np.random.default_rng(0).normal(smallest_visible(0.7), 0.7, 100_000)) > 1.96 * 0.7
    assert seen.mean() == pytest.approx(0.8, abs=0.01)


def test_on_920_entities_a_difference_of_1_23_is_not_visible():
    # Two systems that find 78 %, of which runs of other seeds miss other tenths.
    generator, visible = np.random.default_rng(0), {1: [], 3: []}
    for runs, found in visible.items():
        for _ in range(5):
            one, two = SimulatedTest(hard=3, taste=1, seeds=0).draw([0, 0.2], runs, generator)
            counts = np.concatenate([one, two])
            drawn, observed = resample_posts(counts, 500, seed=0), scores(counts.sum(axis=1))[:, 2]
            means = [resample_seeds(observed[half], drawn[:, half], 0) for half in (slice(runs), slice(runs, None))]
            found.append(smallest_visible((means[1] - means[0]).std()))
    assert 2.2 < np.mean(visible[1]) < 2.9
    assert 1.5 < np.mean(visible[3]) < 2.3
