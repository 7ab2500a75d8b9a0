"""That a quality falls when a photograph is spoilt, on real ones: those inside scikit-image and scikit-learn."""

import pytest

from benchmarks.piqe_photographs import score_photographs, summarize
from processing_iqcr.quality_scorer import QualityScorer

# Darkness is left out: piqe divides by the brightest pixel, and sees only that dark pictures have fewer levels.
BOUNDED = ("blurred", "noisy", "jpeg")


@pytest.fixture(scope="module")
def rows():
    return score_photographs(QualityScorer("piqe", device="cpu"), BOUNDED)


def test_photographs_are_enough_and_their_qualities_in_range(rows):
    assert len(rows) >= 20
    assert all(0 <= row[version] <= 1 for row in rows for version in ("original", *BOUNDED))


@pytest.mark.parametrize("spoiling", BOUNDED)
def test_spoilt_photographs_score_below_their_originals(rows, spoiling):
    found = summarize(rows, spoiling)
    assert found["below"] >= 0.85 * found["pairs"], found
