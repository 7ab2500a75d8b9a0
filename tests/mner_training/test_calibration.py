"""Calibration: hand-worked bins and sweeps, scikit-learn beside them, a temperature found again, the whole command."""

import json
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import precision_recall_curve

from mner_training.calibration import (
    Bin,
    TaggedSplit,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    sweep_thresholds,
)
from mner_training.calibration_figure import draw_reliability
from mner_training.data import encode_split
from modeling_iqcr import MultimodalNERPipeline
from processing_iqcr.entities import tags_to_entities
from scripts import calibrate


def test_bins_by_hand():
    probabilities = np.array([0.0, 0.05, 0.5, 0.55, 0.59, 1.0])
    correct = np.array([False, True, True, False, True, True])
    bins = reliability(probabilities, correct, num_bins=5)
    assert [one.count for one in bins] == [2, 0, 3, 0, 1]
    assert bins[0] == (0.0, 0.2, 2, 0.025, 0.5)
    assert bins[2] == pytest.approx((0.4, 0.6, 3, 0.5466667, 2 / 3))
    assert math.isnan(bins[1].precision)
    expected = (2 * abs(0.5 - 0.025) + 3 * abs(2 / 3 - 1.64 / 3) + 0) / 6
    assert expected_calibration_error(bins) == pytest.approx(expected)
    assert math.isnan(expected_calibration_error(reliability(np.array([]), np.array([], bool))))


def test_bins_and_loss_as_scikit_learn_has_them():
    generator = np.random.default_rng(0)
    probabilities = generator.random(500)
    correct = generator.random(500) < probabilities**2
    filled = [one for one in reliability(probabilities, correct) if one.count]
    precision, confidence = calibration_curve(correct, probabilities, n_bins=10)
    assert [one.precision for one in filled] == pytest.approx(precision)
    assert [one.confidence for one in filled] == pytest.approx(confidence)
    assert log_loss(probabilities, correct) == pytest.approx(sklearn_log_loss(correct, probabilities))
    precision, recall, thresholds = precision_recall_curve(correct, probabilities)
    cuts = sweep_thresholds(probabilities, correct, int(correct.sum()), thresholds)
    assert [cut.precision for cut in cuts] == pytest.approx(precision[:-1])
    assert [cut.recall for cut in cuts] == pytest.approx(recall[:-1])


def test_a_certain_mistake_has_a_finite_loss():
    assert log_loss(np.array([1.0, 0.0]), np.array([False, True])) == pytest.approx(-math.log(1e-7))


def test_sweep_by_hand():
    cuts = sweep_thresholds(np.array([0.2, 0.6, 0.9]), np.array([False, True, True]), 4, [0, 0.6, 0.95])
    assert cuts[0] == pytest.approx((0, 3, 2 / 3, 2 / 4, 4 / 7))
    assert cuts[1] == pytest.approx((0.6, 2, 1.0, 2 / 4, 4 / 6))
    assert math.isnan(cuts[2].precision)
    assert cuts[2][3:] == (0.0, 0.0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 7.0])
def test_a_temperature_is_found_again(temperature):
    generator = np.random.default_rng(1)
    scores = generator.normal(0, 3, 20_000)
    correct = generator.random(20_000) < 1 / (1 + np.exp(-scores))
    sharp = scores * temperature  # so that dividing by the temperature gives the true scores again
    fitted = fit_temperature(lambda value: log_loss(1 / (1 + np.exp(-sharp / value)), correct))
    assert fitted == pytest.approx(temperature, rel=0.05)


@pytest.fixture
def split(make_posts, tiny_processor):
    posts = make_posts(12)
    return encode_split("test", posts, tiny_processor, list(posts.features["ner_tags"].feature.names))


@pytest.fixture
def trained(make_lively_model, make_posts):
    names = make_posts(1).features["ner_tags"].feature.names
    return make_lively_model(3, id2label=dict(enumerate(names)))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_tagged_split_says_what_the_pipeline_says(split, trained, tiny_processor, batch_size):
    tagged = TaggedSplit(trained, tiny_processor, split, batch_size=batch_size)
    ner = MultimodalNERPipeline(model=trained, processor=tiny_processor, device="cpu", compute_scores=False)
    answers = ner(split.posts.to_list(), batch_size=3)
    found = [entity for answer in answers for entity in answer["entities"]]
    assert len(found) > 5
    assert tagged.probabilities(1.0) == pytest.approx([entity["score"] for entity in found], abs=1e-5)
    gold = [tags_to_entities(tags) for tags in split.tags]
    assert tagged.num_gold == sum(map(len, gold))
    right = []
    for answer, tags, words in zip(answers, split.tags, split.posts["tokens"], strict=True):
        starts = [len(" ".join(words[:number])) + bool(number) for number in range(len(words))]
        expected = {
            (e.type, starts[e.start], starts[e.end - 1] + len(words[e.end - 1])) for e in tags_to_entities(tags)
        }
        right += [(e["entity_group"], e["start"], e["end"]) in expected for e in answer["entities"]]
    assert tagged.correct.tolist() == right
    trained.config.confidence_temperature = 3.0
    warm = [entity["score"] for answer in ner(split.posts.to_list()) for entity in answer["entities"]]
    assert tagged.probabilities(3.0) == pytest.approx(warm, abs=1e-5)
    assert trained.config.confidence_temperature == 3.0


def test_a_split_without_tags_is_refused(split, trained, tiny_processor):
    split.tags = None
    with pytest.raises(ValueError, match="The split 'test' has no tags"):
        TaggedSplit(trained, tiny_processor, split)


def test_the_figure_is_a_picture(tmp_path):
    bins = [Bin(0.0, 0.5, 3, 0.3, 1.0), Bin(0.5, 1.0, 0, math.nan, math.nan)]
    (tmp_path / "figure.png").write_bytes(draw_reliability([("before", bins), ("after", bins)], "Two"))
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size == (1350, 780)


def with_own_tags(posts: Dataset, model, processor) -> Dataset:
    """Posts of which every other one has the tags that the model gives it, so that some of its entities are right."""
    rows = posts.to_list()
    for row in rows[::2]:
        scores = {name: row[name] for name in ("quality_scores", "relevance_scores") if name in row}
        inputs = processor(words=row["tokens"], images=row["images"], **scores)
        with torch.no_grad():
            (prediction,) = processor.post_process_entities(model, model(**inputs), inputs)
        row["ner_tags"] = [model.config.label2id[tag] for tag in prediction.tags]
    return Dataset.from_list(rows, features=posts.features)


def test_the_command_stores_what_it_fitted(tmp_path, make_posts, trained, tiny_processor, capsys):
    for name, seed in (("train", 0), ("validation", 1), ("test", 2)):
        (tmp_path / "posts").mkdir(exist_ok=True)
        posts = with_own_tags(make_posts(8, seed=seed), trained, tiny_processor)
        posts.to_parquet(tmp_path / "posts" / f"{name}.parquet")
    model = tmp_path / "model"
    trained.save_pretrained(model)
    tiny_processor.save_pretrained(model)
    before = (model / "config.json").read_text()
    report = calibrate.main(
        ["--dataset", str(tmp_path / "posts"), "--model", str(model), "--report", str(tmp_path / "report")]
    )
    config = json.loads((model / "config.json").read_text())
    assert config == json.loads(before) | {"confidence_temperature": report["temperature"]}
    assert 0.1 <= report["temperature"] <= 10
    assert report["after"]["validation"]["log_loss"] <= report["before"]["validation"]["log_loss"]
    written = (tmp_path / "report" / "calibration.json").read_text()
    assert json.loads(written) == report
    assert "NaN" not in written
    assert (tmp_path / "report" / "reliability.png").is_file()
    shown = capsys.readouterr().out
    assert f"confidence_temperature {report['temperature']:.3f}" in shown
    assert "| 0.50 |" in shown
    loaded = type(trained).from_pretrained(model)
    assert loaded.config.confidence_temperature == report["temperature"]
    assert torch.equal(loaded.crf.transitions, trained.crf.transitions)


def test_nothing_is_stored_where_nothing_can_be_fitted(tmp_path, make_posts, trained, tiny_processor):
    (tmp_path / "posts").mkdir()
    for name in ("train", "validation", "test"):
        make_posts(3).to_parquet(tmp_path / "posts" / f"{name}.parquet")
    trained.classifier.bias.data[0] = 1000.0  # everything is O
    trained.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "config.json").read_text()
    arguments = ["--dataset", str(tmp_path / "posts"), "--model", str(tmp_path / "model")]
    with pytest.raises(ValueError, match=r"Of 0 entities .* no temperature can be fitted"):
        calibrate.main(arguments)
    with pytest.raises(ValueError, match="Validation and test split are both 'validation'"):
        calibrate.main([*arguments, "--test_split", "validation"])
    assert (tmp_path / "model" / "config.json").read_text() == before


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"--model must be the folder of a checkpoint, with its config\.json; got"):
        calibrate.main(["--dataset", "x", "--model", str(tmp_path)])
