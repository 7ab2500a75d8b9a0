"""The metric against numbers worked by hand, and against entities counted as sets."""

import json
import random
import socket
import warnings
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mner_training.metrics import NERMetric, flatten_scores
from processing_iqcr.entities import tags_to_entities

TYPES = ["PER", "LOC", "geo-loc"]
TAGS = ["O", *(f"{prefix}-{name}" for prefix in "BI" for name in TYPES)]


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    return NERMetric(cache_dir=str(tmp_path_factory.mktemp("metric")))


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_lenient_and_strict_differ_on_a_stray_inside_tag(metric):
    references, predictions = [["B-PER", "I-PER", "O", "I-LOC"]], [["I-PER", "I-PER", "O", "I-LOC"]]
    result = metric.compute(predictions=predictions, references=references)
    assert result["f1"] == 1.0
    assert result["support"] == 2
    assert result["strict_f1"] == 0.0
    assert result["strict_support"] == 1  # the stray I-LOC is no entity
    assert result["accuracy"] == 3 / 4


def test_averages_by_hand(metric):
    # PER: 3 gold, 2 predicted, 2 right. LOC: 1 gold, 2 predicted, 1 right. ORG: 1 gold. MISC: 1 predicted.
    references = [["B-PER", "I-PER", "O", "B-PER"], ["B-PER", "B-LOC", "O"], ["B-ORG", "I-ORG", "O"]]
    predictions = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "B-LOC", "O"], ["O", "O", "B-MISC"]]
    result = metric.compute(predictions=predictions, references=references)
    expected = {
        "PER": {"precision": Fraction(1), "recall": Fraction(2, 3), "f1": Fraction(4, 5), "support": 3},
        "LOC": {"precision": Fraction(1, 2), "recall": Fraction(1), "f1": Fraction(2, 3), "support": 1},
        "ORG": {"precision": Fraction(0), "recall": Fraction(0), "f1": Fraction(0), "support": 1},
        "MISC": {"precision": Fraction(0), "recall": Fraction(0), "f1": Fraction(0), "support": 0},
    }
    averages = {
        "precision": Fraction(3, 5),  # 3 right of 5 predicted
        "recall": Fraction(3, 5),  # of 5 gold
        "f1": Fraction(3, 5),
        "support": 5,
        "macro_precision": Fraction(3, 8),  # (1 + 1/2) / 4
        "macro_recall": Fraction(5, 12),  # (2/3 + 1) / 4
        "macro_f1": Fraction(11, 30),  # (4/5 + 2/3) / 4
        "weighted_precision": Fraction(7, 10),  # (3 + 1/2) / 5
        "weighted_recall": Fraction(3, 5),  # (2 + 1) / 5
        "weighted_f1": Fraction(46, 75),  # (12/5 + 2/3) / 5
    }
    for reading in ("", "strict_"):  # no stray I-: the readings agree
        assert result[f"{reading}per_type"].keys() == expected.keys()
        for name, scores in expected.items():
            assert result[f"{reading}per_type"][name] == pytest.approx({key: float(x) for key, x in scores.items()})
        for key, value in averages.items():
            assert result[f"{reading}{key}"] == pytest.approx(float(value)), key
    assert result["accuracy"] == pytest.approx(6 / 10)


def ratio(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator) if denominator else Fraction(0)


def count_as_sets(predictions, references, strict):
    """Micro, macro and per-type scores from plain set arithmetic."""
    predicted = {(post, *e) for post, tags in enumerate(predictions) for e in tags_to_entities(tags, strict=strict)}
    gold = {(post, *e) for post, tags in enumerate(references) for e in tags_to_entities(tags, strict=strict)}

    def scores(predicted, gold):
        right = len(predicted & gold)
        f1 = ratio(2 * right, len(predicted) + len(gold))
        return {
            "precision": ratio(right, len(predicted)),
            "recall": ratio(right, len(gold)),
            "f1": f1,
            "support": len(gold),
        }

    types = sorted({entity[-1] for entity in predicted | gold})
    per_type = {t: scores({e for e in predicted if e[-1] == t}, {e for e in gold if e[-1] == t}) for t in types}
    result = scores(predicted, gold)
    for name in ("precision", "recall", "f1"):
        result[f"macro_{name}"] = ratio(sum(row[name] for row in per_type.values()), len(types))
        result[f"weighted_{name}"] = ratio(sum(row[name] * row["support"] for row in per_type.values()), len(gold))
    return result, per_type


@st.composite
def tagged_posts(draw):
    references = draw(st.lists(st.lists(st.sampled_from(TAGS), max_size=8), min_size=1, max_size=6).filter(any))
    # Mostly the gold tags with some replaced, so that something is right.
    predictions = [[draw(st.sampled_from([tag, tag, *TAGS[:3]])) for tag in tags] for tags in references]
    return predictions, references


@settings(max_examples=250, deadline=None)
@given(tagged_posts())
def test_numbers_equal_those_of_plain_sets(metric, posts):
    predictions, references = posts
    result = metric.compute(predictions=predictions, references=references)
    for reading, strict in (("", False), ("strict_", True)):
        expected, per_type = count_as_sets(predictions, references, strict)
        for key, value in expected.items():
            assert result[f"{reading}{key}"] == pytest.approx(float(value)), f"{reading}{key}"
        assert result[f"{reading}per_type"].keys() == per_type.keys()
        for name, scores in per_type.items():
            assert result[f"{reading}per_type"][name] == pytest.approx({key: float(x) for key, x in scores.items()})


def test_entities_never_cross_the_border_of_a_post(metric):
    result = metric.compute(predictions=[["O", "B-PER"], ["I-PER"]], references=[["O", "B-PER"], ["I-PER"]])
    assert (result["support"], result["strict_support"]) == (2, 1)
    # Had the posts been joined, gold and prediction would be two entities against one.
    result = metric.compute(predictions=[["B-PER"], ["B-PER"]], references=[["B-PER"], ["I-PER"]])
    assert result["f1"] == 1.0


def test_support_counts_every_gold_entity(metric):
    generator = random.Random(3)
    references = [[generator.choice(TAGS) for _ in range(generator.randint(0, 60))] for _ in range(50)]
    result = metric.compute(predictions=[["O"] * len(tags) for tags in references], references=references)
    assert result["support"] == sum(len(tags_to_entities(tags)) for tags in references)
    assert result["strict_support"] == sum(tag.startswith("B-") for tags in references for tag in tags)
    assert result["support"] == sum(scores["support"] for scores in result["per_type"].values())
    assert result["recall"] == result["strict_weighted_f1"] == 0.0


@pytest.mark.parametrize(
    ("tags", "lenient_support"), [([["O", "O"], []], 0), ([["O", "I-PER"]], 1)], ids=["no entity", "no strict entity"]
)
def test_without_entities_every_score_is_zero(metric, tags, lenient_support):
    result = metric.compute(predictions=tags, references=tags)
    assert result["accuracy"] == 1.0
    assert result["support"] == lenient_support
    assert result["strict_per_type"] == {}
    strict = [value for key, value in result.items() if key.startswith("strict_") and key != "strict_per_type"]
    assert len(strict) == 10
    assert not any(strict)


def test_the_result_is_plain_python_and_survives_json(metric):
    result = metric.compute(predictions=[["B-PER", "O"]], references=[["B-PER", "B-LOC"]])
    assert json.loads(json.dumps(result)) == result
    flat = flatten_scores(result)
    assert {type(value) for value in flat.values()} == {float, int}
    assert {key for key, value in flat.items() if type(value) is int} == {key for key in flat if "support" in key}


def test_flat_keys(metric):
    result = metric.compute(predictions=[["B-PER", "I-geo-loc"]], references=[["B-PER", "O"]])
    flat = flatten_scores(result)
    lenient = ["", "macro_", "weighted_", "PER_"]
    starts = [*lenient, *(f"strict_{start}" for start in lenient), "geo-loc_"]
    expected = {f"{start}{name}" for start in starts for name in ("precision", "recall", "f1")}
    expected |= {"accuracy", "support", "strict_support", "PER_support", "strict_PER_support", "geo-loc_support"}
    assert flat.keys() == expected
    assert (flat["PER_f1"], flat["geo-loc_f1"], flat["strict_f1"]) == (1.0, 0.0, 1.0)
    assert flat["f1"] == pytest.approx(2 / 3)


def test_a_type_that_hides_a_number_is_refused(metric):
    result = metric.compute(predictions=[["B-macro"]], references=[["B-macro"]])
    with pytest.raises(ValueError, match="Entity type 'macro' makes 'macro_precision' ambiguous"):
        flatten_scores(result)


def test_batches_count_as_one_set(metric):
    generator = random.Random(5)
    references = [[generator.choice(TAGS) for _ in range(10)] for _ in range(30)]
    predictions = [[generator.choice([tag, "O"]) for tag in tags] for tags in references]
    whole = metric.compute(predictions=predictions, references=references)
    metric.add(prediction=predictions[0], reference=references[0])
    metric.add_batch(predictions=predictions[1:20], references=references[1:20])
    assert metric.compute(predictions=predictions[20:], references=references[20:]) == whole
    for start in range(0, 30, 7):
        metric.add_batch(predictions=predictions[start : start + 7], references=references[start : start + 7])
    assert metric.compute() == whole


def test_a_prediction_of_another_length_is_an_error_that_names_the_post(metric):
    metric.add_batch(predictions=[["O"], ["O", "O"]], references=[["O"], ["O", "O"]])
    metric.add_batch(predictions=[["O"]], references=[["O", "B-PER", "O"]])
    with pytest.raises(ValueError, match="Post 2 has 1 predicted tags for 3 gold tags"):
        metric.compute()
    # The metric can be used again, and nothing of before is left in it.
    assert metric.compute(predictions=[["B-PER"]], references=[["B-PER"]])["support"] == 1


@pytest.mark.parametrize("tag", ["PER", "S-PER", "B-", None])
@pytest.mark.parametrize("side", ["predictions", "references"])
def test_a_tag_that_is_not_bio_is_an_error_that_names_the_post(metric, tag, side):
    inputs = {"predictions": [["O"], ["O", "B-PER"]], "references": [["O"], ["O", "B-PER"]]}
    inputs[side] = [["O"], ["O", tag]]
    with pytest.raises(ValueError, match=f"Post 1 of `{side}`: {tag!r} is not a BIO tag"):
        metric.compute(**inputs)


@pytest.mark.parametrize("posts", [None, [], [[]], [[], []]])
def test_nothing_to_score_is_an_error(metric, posts):
    with pytest.raises(ValueError, match="Nothing to score"):
        metric.compute(predictions=posts, references=posts)


def test_different_numbers_of_posts_are_an_error(metric):
    with pytest.raises(ValueError, match=r"Mismatch in the number of predictions \(1\) and references \(2\)"):
        metric.compute(predictions=[["O"]], references=[["O"], ["O"]])


def test_two_metrics_at_once_share_no_file_and_no_network_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    first, second = NERMetric(cache_dir=str(tmp_path)), NERMetric(cache_dir=str(tmp_path))
    first.add_batch(predictions=[["B-PER"]], references=[["B-PER"]])
    second.add_batch(predictions=[["O"]], references=[["B-PER"]])
    assert first.compute()["f1"] == 1.0
    assert second.compute()["f1"] == 0.0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
