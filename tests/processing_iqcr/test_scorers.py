"""Scorers by name: a user's own, those of the libraries, and whether one is the one that was described."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from processing_iqcr import scorers
from processing_iqcr.quality_scorer import QualityScorer
from processing_iqcr.relevance_scorer import RelevanceScorer
from processing_iqcr.scorers import (
    find_fault,
    is_registered,
    make_scorer,
    register_quality_scorer,
    register_relevance_scorer,
)
from tests.hidden_packages import hide_packages
from tests.scoring_networks import NARROW, block_sockets, make_maniqa, narrow_maniqa, noise, save_clip


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    attempts = block_sockets(monkeypatch)
    yield
    assert attempts == []


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(scorers, "_registered", {})


@pytest.fixture
def warnings_of(caplog):
    """Function that gives the warnings so far that hold some words."""
    transformers.utils.logging.warning_once.cache_clear()
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)  # it does not hand its records on
    yield lambda words: [record.getMessage() for record in caplog.records if words in record.getMessage()]
    library.removeHandler(caplog.handler)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> list[str]:
    """Two folders of one name with CLIP of different weights."""
    folders = [tmp_path_factory.mktemp("clip") / "tiny" for _ in range(2)]
    for seed, folder in enumerate(folders):
        save_clip(folder, seed=seed)
    return [str(folder) for folder in folders]


def test_registered_scorers_are_called_with_what_they_score():
    given = []
    register_quality_scorer("mine", lambda images: given.append(images) or [0.1, 0.2], version="1")
    register_relevance_scorer("mine", lambda texts, images: given.append((texts, images)) or [-0.5, 1], version="2")
    pictures = [noise(8, 8), noise(9, 9)]
    quality, relevance = make_scorer("quality_scorer", "mine"), make_scorer("relevance_scorer", {"name": "mine"})
    assert quality(pictures) == [0.1, 0.2]
    assert relevance(["a", "b"], pictures) == [-0.5, 1.0]
    assert given == [pictures, (["a", "b"], pictures)]
    assert quality.description == {"library": "registered", "name": "mine", "version": "1"}
    assert relevance.description == {"library": "registered", "name": "mine", "version": "2"}


@pytest.mark.parametrize(
    "scores", [[np.float32(0.5), 1], np.array([0.5, 1]), torch.tensor([0.5, 1]), (0.5, True), iter([0.5, 1.0])]
)
def test_registered_scorers_numbers_become_plain_ones(scores):
    register_quality_scorer("mine", lambda images: scores, version="1")
    found = make_scorer("quality_scorer", "mine")([noise(8, 8)] * 2)
    assert found == [0.5, 1.0]
    assert [type(score) for score in found] == [float, float]


def test_kinds_are_apart():
    register_quality_scorer("mine", lambda images: [0.0], version="1")
    assert is_registered("quality_scorer", "mine")
    assert not is_registered("relevance_scorer", "mine")
    with pytest.raises(ValueError, match="no architecture 'mine'"):
        make_scorer("relevance_scorer", "mine")


def test_registering_again_replaces():
    for version, value in (("1", 0.1), ("2", 0.2)):
        register_quality_scorer("mine", lambda images, value=value: [value], version=version)
    scorer = make_scorer("quality_scorer", "mine")
    assert scorer([noise(8, 8)]) == [0.2]
    assert scorer.description["version"] == "2"


def test_registered_scorer_hides_that_of_a_library():
    assert isinstance(make_scorer("quality_scorer", "piqe"), QualityScorer)
    register_quality_scorer("piqe", lambda images: [0.25], version="1")
    assert make_scorer("quality_scorer", "piqe")([noise(64, 64)]) == [0.25]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_registered_scorer_must_give_one_score_per_picture(number):
    register_quality_scorer("mine", lambda images: [0.5] * number, version="1")
    register_relevance_scorer("mine", lambda texts, images: [0.5] * number, version="1")
    pictures = [noise(8, 8)] * 2
    message = rf"The scorer 'mine' gave {number} scores for 2 pictures"
    with pytest.raises(ValueError, match=message):
        make_scorer("quality_scorer", "mine")(pictures)
    with pytest.raises(ValueError, match=message):
        make_scorer("relevance_scorer", "mine")(["a", "b"], pictures)


def test_registered_scorer_takes_no_options():
    register_quality_scorer("mine", lambda images: [0.5], version="1")
    with pytest.raises(ValueError, match=r"'mine' is registered, and takes no options; got num_crops, dtype"):
        make_scorer("quality_scorer", {"name": "mine", "num_crops": 20, "dtype": "float32"})


def test_options_reach_the_scorers_of_the_libraries(tmp_path, monkeypatch, clips):
    narrow_maniqa(monkeypatch)
    weights = tmp_path / "narrow.pt"
    torch.save(make_maniqa(**NARROW).state_dict(), weights)
    options = {"weights": str(weights), "num_crops": 2, "dtype": "bfloat16"}
    quality = make_scorer("quality_scorer", {"name": "maniqa", **options}, device="cpu")
    assert quality.description == QualityScorer("maniqa", **options).description
    assert quality.device == torch.device("cpu")
    assert quality([noise(230, 240)]) == QualityScorer("maniqa", **options, device="cpu")([noise(230, 240)])
    relevance = make_scorer("relevance_scorer", {"name": clips[0], "dtype": "bfloat16"}, device="cpu")
    assert relevance.description == RelevanceScorer(clips[0], dtype="bfloat16").description


def test_making_a_scorer_loads_no_network_and_leaves_the_spec_as_it_is(clips):
    spec = {"name": clips[0], "description": RelevanceScorer(clips[0]).description}
    before = json.dumps(spec)
    assert "_network" not in vars(make_scorer("relevance_scorer", spec))
    assert json.dumps(spec) == before


@pytest.mark.parametrize("spec", [None, "", {}, 5, ["piqe"], {"name": ""}, {"name": 5}, {"metric": "piqe"}])
def test_spec_that_names_nothing(spec):
    with pytest.raises(ValueError, match=r"`quality_scorer` must be a name or an object with `name` and options, got"):
        make_scorer("quality_scorer", spec)


def test_path_is_a_name(clips):
    scorer = make_scorer("relevance_scorer", Path(clips[0]), device="cpu")
    assert scorer.description == RelevanceScorer(clips[0]).description


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("quality_scorer", "manica", r"pyiqa has no metric 'manica'"),
        ("quality_scorer", {"name": "piqe", "crops": 2}, r"`quality_scorer` 'piqe': .*'crops'. See QualityScorer"),
        ("quality_scorer", {"name": "piqe", "num_crops": 2}, r"options of MANIQA"),
        ("quality_scorer", {"name": "maniqa", "metric": "piqe"}, r"'metric'. See QualityScorer"),
        ("quality_scorer", {"name": "maniqa", "device": "cpu"}, r"'device'. See QualityScorer"),
        ("quality_scorer", {"name": "maniqa", "weights": 5}, r"`quality_scorer` 'maniqa': .*int"),
        ("relevance_scorer", "ViT-B-23", r"no architecture 'ViT-B-23'"),
        ("relevance_scorer", {"name": "ViT-B-32", "pretrained": "openai"}, r"Take 'ViT-B-32-quickgelu'"),
        ("relevance_scorer", {"name": "ViT-B-32", "weights": "a"}, r"'weights'. See RelevanceScorer"),
    ],
)
def test_scorers_that_cannot_be_had(kind, spec, message):
    with pytest.raises(ValueError, match=message):
        make_scorer(kind, spec)


def test_described_scorer_is_the_same_after_json(clips):
    described = json.loads(json.dumps(RelevanceScorer(clips[0]).description))
    scorer = make_scorer("relevance_scorer", {"name": clips[0], "description": described}, device="cpu")
    assert scorer(["a red bus"], [noise(40, 50)]) == RelevanceScorer(clips[0], device="cpu")(
        ["a red bus"], [noise(40, 50)]
    )


def test_other_weights_than_those_described_are_an_error(clips):
    first, second = (RelevanceScorer(folder).description for folder in clips)
    spec = {"name": clips[1], "description": first}
    with pytest.raises(ValueError, match=r"not the one that scored the training data") as caught:
        make_scorer("relevance_scorer", spec)
    for description in (first, second):
        assert description["weights_sha256"] in str(caught.value)
    assert "embed_dim" not in str(caught.value)  # only what differs is shown


@pytest.mark.parametrize(
    "change",
    [{"metric": "niqe"}, {"library": "iqa"}, {"dtype": "float32"}, {"library_version": "0.0.1", "metric": ""}],
)
def test_anything_else_that_differs_is_an_error(change):
    described = QualityScorer("piqe").description | change
    with pytest.raises(ValueError, match=rf"{next(reversed(change))}.* there, .* here"):
        make_scorer("quality_scorer", {"name": "piqe", "description": described})


def test_description_with_less_in_it_is_an_error():
    described = QualityScorer("piqe").description
    del described["metric"]
    with pytest.raises(ValueError, match=r"'metric': None} there, {'metric': 'piqe'} here"):
        make_scorer("quality_scorer", {"name": "piqe", "description": described})


def test_other_version_of_the_library_is_a_warning(warnings_of):
    described = QualityScorer("piqe").description
    make_scorer("quality_scorer", {"name": "piqe", "description": described})
    assert warnings_of("there") == []
    for _ in range(2):
        scorer = make_scorer(
            "quality_scorer", {"name": "piqe", "description": described | {"library_version": "0.0.1"}}
        )
    (message,) = warnings_of("{'library_version': '0.0.1'} there")
    assert f"{{'library_version': '{described['library_version']}'}} here" in message
    assert scorer([noise(64, 64)]) == QualityScorer("piqe")([noise(64, 64)])


@pytest.mark.parametrize("kind", ["quality_scorer", "relevance_scorer"])
def test_described_scorer_of_a_user_must_be_registered(kind):
    register = {"quality_scorer": register_quality_scorer, "relevance_scorer": register_relevance_scorer}[kind]
    spec = {"name": "mine", "description": {"library": "registered", "name": "mine", "version": "1"}}
    with pytest.raises(ValueError, match=rf"'mine' .* is not registered in this process.*`register_{kind}`"):
        make_scorer(kind, spec)
    register("mine", lambda *_: [0.5], version="2")
    with pytest.raises(ValueError, match=r"'version': '1'} there, {'version': '2'} here"):
        make_scorer(kind, spec)
    register("mine", lambda *_: [0.5], version="1")
    assert make_scorer(kind, spec)(*[[noise(8, 8)]] * (1 if kind == "quality_scorer" else 2)) == [0.5]


def test_scorer_of_a_library_is_not_replaced_by_a_registered_one_of_its_name():
    described = QualityScorer("piqe").description
    register_quality_scorer("piqe", lambda images: [0.5], version="1")
    with pytest.raises(ValueError, match=r"'library': 'pyiqa'.* there, {'library': 'registered'.* here"):
        make_scorer("quality_scorer", {"name": "piqe", "description": described})


def test_user_needs_no_library(monkeypatch):
    hide_packages(monkeypatch, "pyiqa", "open_clip")
    register_quality_scorer("mine", lambda images: [0.5], version="1")
    register_relevance_scorer("mine", lambda texts, images: [0.5], version="1")
    assert make_scorer("quality_scorer", "mine")([noise(8, 8)]) == [0.5]
    assert make_scorer("relevance_scorer", "mine")(["a"], [noise(8, 8)]) == [0.5]
    for kind in ("quality_scorer", "relevance_scorer"):
        with pytest.raises(ImportError, match=r"pip install 'iqcr-mi\[scoring\]'"):
            make_scorer(kind, "piqe")


@pytest.mark.parametrize(
    ("kind", "score", "fault"),
    [
        ("quality_scorer", 0, None),
        ("quality_scorer", 1.0, None),
        ("quality_scorer", -0.001, "is -0.001, which is not in [0, 1]"),
        ("quality_scorer", 55.5, "is 55.5, which is not in [0, 1]"),
        ("quality_scorer", math.inf, "is inf, which is not in [0, 1]"),
        ("quality_scorer", math.nan, "is NaN"),
        ("relevance_scorer", -1.0, None),
        ("relevance_scorer", 1, None),
        ("relevance_scorer", -1.25, "is -1.25, which is not in [-1, 1]"),
        ("relevance_scorer", math.nan, "is NaN"),
    ],
)
def test_fault_of_a_score(kind, score, fault):
    assert find_fault(kind, score) == fault
