"""Quality scores: MANIQA against pyiqa's own network, other metrics against pyiqa, and what is refused."""

import hashlib
import json
import logging
import math
import os
import sys
from types import SimpleNamespace

import numpy as np
import pyiqa
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from pyiqa.archs import arch_util
from pyiqa.default_model_configs import DEFAULT_CONFIGS
from torchvision.transforms.functional import to_tensor

from processing_iqcr.maniqa import weights_file_name
from processing_iqcr.quality_scorer import QualityScorer
from processing_iqcr.scorer_files import UnscorableImageError
from tests.fake_hub import FakeHub, run_with_hub
from tests.hidden_packages import hide_packages
from tests.scoring_networks import (
    NARROW,
    block_sockets,
    make_maniqa,
    narrow_maniqa,
    noise,
    published_score,
    save_trap,
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    attempts = block_sockets(monkeypatch)
    yield
    assert attempts == []


@pytest.fixture
def warnings_of(caplog):
    """Function that gives the warnings so far that hold some words."""
    transformers.utils.logging.warning_once.cache_clear()
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)  # it does not hand its records on
    yield lambda words: [record.getMessage() for record in caplog.records if words in record.getMessage()]
    library.removeHandler(caplog.handler)


@pytest.fixture
def narrow(monkeypatch, tmp_path):
    """A narrow MANIQA and its checkpoint; every other one that is built in the test is as narrow."""
    narrow_maniqa(monkeypatch)
    network = make_maniqa(**NARROW)
    torch.save(network.state_dict(), tmp_path / "narrow.pt")
    return SimpleNamespace(network=network, weights=tmp_path / "narrow.pt")


def count_crops(scorer: QualityScorer) -> list[int]:
    """Load the network; the list that is returned will hold how many crops each pass had."""
    passes = []
    vision = scorer._network.network.vit
    vision.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    return passes


@pytest.fixture
def full(tmp_path):
    """MANIQA with all of its layers, and its checkpoint."""
    network, weights = make_maniqa(), tmp_path / "maniqa.pt"
    torch.save(network.state_dict(), weights)
    yield SimpleNamespace(network=network, weights=weights)
    weights.unlink()  # half a gigabyte


def test_maniqa_of_full_size_equals_the_published_network(full):
    image = noise(260, 300)
    (quality,) = QualityScorer(weights=full.weights, num_crops=2, device="cpu")([image])
    assert 0.05 < quality < 0.95  # where nothing is clipped
    assert quality == pytest.approx(published_score(full.network, image, 2), abs=1e-5)


@pytest.mark.parametrize(
    ("width", "height", "num_crops"),
    [
        (100, 80, 20),
        (300, 460, None),  # 20, as published
        (60, 200, 5),
        (224, 224, 4),
        (225, 225, 4),
        (224, 500, 5),
        (226, 1000, 5),
        (340, 227, 7),
        (260, 330, 1),
        (1, 3, 2),
    ],
)
def test_narrow_maniqa_equals_the_published_network_at_every_size(narrow, width, height, num_crops):
    image = noise(width, height, seed=width)
    (quality,) = QualityScorer(weights=narrow.weights, num_crops=num_crops, device="cpu")([image])
    assert 0.05 < quality < 0.95
    assert quality == pytest.approx(published_score(narrow.network, image, num_crops or 20), abs=1e-5)


def test_batch_of_mixed_sizes_equals_its_pictures_one_by_one(narrow):
    sizes = [(100, 80), (300, 260), (224, 224), (230, 240)]
    images = [noise(*size, seed=number) for number, size in enumerate(sizes)]
    scorer = QualityScorer(weights=narrow.weights, num_crops=3, device="cpu")
    together = scorer(images)
    assert together == pytest.approx([published_score(narrow.network, image, 3) for image in images], abs=1e-5)
    assert together == pytest.approx([scorer([image])[0] for image in images], abs=1e-6)
    assert len({round(quality, 4) for quality in together}) == len(images)


def test_no_picture_no_score(narrow):
    assert QualityScorer(weights=narrow.weights, device="cpu")([]) == []


def test_equal_crops_run_once(narrow):
    scorer = QualityScorer(weights=narrow.weights, num_crops=4, device="cpu")
    passes = count_crops(scorer)
    small, large = noise(100, 100), noise(300, 260)
    (alone,) = scorer([small])  # enlarged to 225 x 225: all four crops begin at the same pixel
    assert sum(passes) == 1
    passes.clear()
    scorer([large])
    assert sum(passes) == 4
    passes.clear()
    first, other, again, copy = scorer([large, small, large, large.copy()])
    assert sum(passes) == 5
    assert first == again == copy
    assert other == pytest.approx(alone, abs=1e-6)
    assert other == pytest.approx(published_score(narrow.network, small, 4), abs=1e-5)


@pytest.mark.parametrize("form", ["params", "module", "params and module"])
def test_checkpoint_may_be_wrapped(narrow, tmp_path, form):
    state = narrow.network.state_dict()
    if "module" in form:
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"params": state} if "params" in form else state, tmp_path / "wrapped.pt")
    image = noise(230, 240)
    plain, wrapped = (
        QualityScorer(weights=path, num_crops=1, device="cpu")([image])
        for path in (narrow.weights, tmp_path / "wrapped.pt")
    )
    assert wrapped == plain


def test_checkpoint_with_code_is_refused_and_its_code_does_not_run(narrow, tmp_path):
    sprung = save_trap(tmp_path / "trap.pt")
    with pytest.raises(ValueError, match=r"(?s)trap\.pt' is no checkpoint of maniqa: .*chaofengc/IQA-PyTorch-Weights"):
        QualityScorer(weights=tmp_path / "trap.pt", device="cpu")([noise(30, 30)])
    assert not sprung.exists()


@pytest.mark.parametrize("content", ["others", "some", "shapes", "a tensor", "a list", "garbage", "nothing"])
def test_file_that_is_no_checkpoint_of_maniqa(narrow, tmp_path, content):
    path, state = tmp_path / "wrong.pt", narrow.network.state_dict()
    if content == "others":
        torch.save({"weight": torch.zeros(3)}, path)
    elif content == "some":
        del state["fc_score.3.bias"]
        torch.save(state, path)
    elif content == "shapes":
        torch.save(state | {"fc_score.3.bias": torch.zeros(2)}, path)
    elif content == "a tensor":
        torch.save(torch.zeros(3), path)
    elif content == "a list":
        torch.save([torch.zeros(3)], path)
    else:
        path.write_bytes(b"<html>404</html>" if content == "garbage" else b"")
    with pytest.raises(ValueError, match=r"(?s)wrong\.pt' is no checkpoint of maniqa: .*on the Hub"):
        QualityScorer(weights=path, device="cpu")([noise(30, 30)])


@pytest.mark.parametrize(("width", "height"), [(1, 65000), (65000, 1), (2, 65000), (10, 20000)])
def test_line_of_a_picture_is_refused_before_it_is_enlarged(narrow, monkeypatch, width, height):
    scorer = QualityScorer(weights=narrow.weights, num_crops=1, device="cpu")

    def enlarge(*_, **__):
        raise AssertionError("It would take up to 40 GB.")

    monkeypatch.setattr(arch_util.F, "interpolate", enlarge)
    with pytest.raises(UnscorableImageError, match=rf"{width} x {height} pixels: too narrow"):
        scorer([Image.new("RGB", (width, height))])


def test_rather_narrow_picture_is_scored(narrow):
    image = noise(4, 1200)
    (quality,) = QualityScorer(weights=narrow.weights, num_crops=2, device="cpu")([image])
    assert quality == pytest.approx(published_score(narrow.network, image, 2), abs=1e-5)


def test_bfloat16_is_close_to_float32(narrow):
    images = [noise(230, 240), noise(100, 80, seed=1)]
    exact, rough = (
        QualityScorer(weights=narrow.weights, num_crops=1, dtype=dtype, device="cpu")(images)
        for dtype in ("float32", "bfloat16")
    )
    assert rough != exact
    assert rough == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(
    ("size", "side"), [((7, 7), "7 x 7"), ((7, 300), "7 x 300"), ((300, 7), "300 x 7"), ((1, 1), "1 x 1")]
)
def test_piqe_cannot_score_what_is_less_than_half_a_block(size, side):
    with pytest.raises(UnscorableImageError, match=rf"piqe cannot score {side} pixels .*Leave it out"):
        QualityScorer("piqe", device="cpu")([noise(100, 100), noise(*size)])


@pytest.mark.parametrize("size", [(8, 8), (8, 300), (300, 8), (33, 47), (128, 96)])
def test_piqe_is_turned_round_and_scaled(size):
    image = noise(*size)
    raw = float(pyiqa.create_metric("piqe", device="cpu")(to_tensor(image)[None]))
    assert QualityScorer("piqe", device="cpu")([image]) == pytest.approx([1 - raw / 100], abs=1e-6)
    assert 0 < raw < 100


def test_piqe_of_several_pictures_is_in_their_order():
    images = [noise(64, 64, seed) for seed in range(3)] + [Image.new("RGB", (64, 64), "white")]
    scorer = QualityScorer("piqe", device="cpu")
    qualities = scorer(images)
    assert qualities == [scorer([image])[0] for image in images]
    assert len(set(qualities)) == 4
    assert scorer([]) == []


def test_piqe_of_a_black_picture_is_nan():
    first, black, last = QualityScorer("piqe", device="cpu")([noise(64, 64), Image.new("RGB", (64, 64)), noise(8, 8)])
    assert math.isnan(black)
    assert 0 < first < 1
    assert 0 < last < 1


@pytest.mark.parametrize("lower_better", [True, False])
def test_scores_beyond_the_bounds_are_clipped_with_one_warning(monkeypatch, warnings_of, lower_better):
    scorer = QualityScorer("piqe", device="cpu")
    raw = iter([-1.0, 0.0, 25.0, 100.0, 130.0, math.nan, -2.0])
    monkeypatch.setattr(scorer, "_score", lambda image: next(raw))
    monkeypatch.setattr(scorer, "lower_better", lower_better)
    picture = noise(8, 8)
    qualities = scorer([picture] * 6) + scorer([picture])
    expected = [0, 0, 0.25, 1, 1, math.nan, 0]
    if lower_better:
        expected = [1 - quality for quality in expected]
    assert qualities == pytest.approx(expected, nan_ok=True)
    assert warnings_of("bounds") == ["piqe gave scores beyond its bounds 0 and 100; they are set to these."]


def test_scores_within_the_bounds_are_not_warned_of(warnings_of):
    QualityScorer("piqe", device="cpu")([noise(64, 64), Image.new("RGB", (64, 64))])
    assert warnings_of("piqe") == []


def test_bounds_with_another_zero_are_scaled(monkeypatch):
    scorer = QualityScorer("wadiqam_nr", device="cpu")  # from -1 to 0.1, higher is better
    raw = iter([-1.0, -0.45, 0.1])
    monkeypatch.setattr(scorer, "_score", lambda image: next(raw))
    assert scorer([noise(8, 8)] * 3) == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "manica"}, r"no metric 'manica'\. Without a reference score: .*maniqa"),
        ({"metric": "lpips"}, r"no reference, which is needed by 'lpips'\. Without a reference score: .*maniqa"),
        ({"metric": "pi"}, r"'pi' cannot be brought to \[0, 1\]: pyiqa gives its range as '~0, ~'.*register"),
        ({"metric": "piqe", "num_crops": 20}, r"options of MANIQA, and not of 'piqe'"),
        ({"metric": "piqe", "weights": "piqe.pt"}, r"options of MANIQA, and not of 'piqe'"),
        ({"metric": "piqe", "dtype": "bfloat16"}, r"options of MANIQA, and not of 'piqe'"),
        ({"num_crops": 0}, r"`num_crops` must be a whole number, at least 1, got 0"),
        ({"num_crops": True}, r"`num_crops` must be a whole number, at least 1, got True"),
        ({"num_crops": 2.5}, r"`num_crops` must be a whole number, at least 1, got 2\.5"),
        ({"weights": "nowhere/maniqa.pt"}, r"`weights`: there is no file 'nowhere/maniqa\.pt'"),
        ({"dtype": "float16"}, r"`dtype` must be one of float32, bfloat16, got 'float16'"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        QualityScorer(**options)


def test_every_metric_without_reference_can_be_had_or_has_no_two_bounds():
    for metric, config in DEFAULT_CONFIGS.items():
        bounds = config.get("score_range", "").replace("~", "").split(",")
        if config.get("metric_mode") == "NR" and all(bound.strip() for bound in bounds):
            scorer = QualityScorer(metric, device="cpu")
            assert [scorer.low, scorer.high] == [float(bound) for bound in bounds]
            assert scorer.lower_better == config.get("lower_better", False)


def test_description_tells_scorers_apart_and_loads_nothing(narrow, tmp_path):
    torch.save(make_maniqa(seed=1, **NARROW).state_dict(), tmp_path / "other.pt")
    scorer = QualityScorer(weights=narrow.weights, num_crops=3, device="cpu")
    description = scorer.description
    assert "_network" not in vars(scorer)
    assert json.loads(json.dumps(description)) == description
    assert description["weights_sha256"] == hashlib.sha256(narrow.weights.read_bytes()).hexdigest()
    assert str(tmp_path) not in json.dumps(description)
    assert "narrow.pt" not in json.dumps(description)
    assert QualityScorer(weights=str(narrow.weights), num_crops=3, device="cpu").description == description
    others = [
        {"weights": narrow.weights},  # 20 crops
        {"weights": narrow.weights, "num_crops": 4},
        {"weights": narrow.weights, "num_crops": 3, "dtype": "bfloat16"},
        {"weights": tmp_path / "other.pt", "num_crops": 3},
        {"metric": "maniqa-kadid", "weights": narrow.weights, "num_crops": 3},
        {"metric": "piqe"},
    ]
    descriptions = [description, *(QualityScorer(**options, device="cpu").description for options in others)]
    assert len({json.dumps(entry, sort_keys=True) for entry in descriptions}) == len(others) + 1


def test_description_of_another_metric_holds_its_weights(monkeypatch):
    values = iter([1.0, 1.0, 2.0])

    def create_metric(name, device):
        network = torch.nn.Linear(2, 1)
        torch.nn.init.constant_(network.weight, next(values))
        torch.nn.init.zeros_(network.bias)
        return SimpleNamespace(net=network)

    monkeypatch.setattr(pyiqa, "create_metric", create_metric)
    first, same, other = (QualityScorer("musiq", device="cpu").description for _ in range(3))
    assert json.loads(json.dumps(first)) == first == same
    assert {key for key in first if first[key] != other[key]} == {"weights_sha256"}
    assert QualityScorer("musiq", device="cpu").weights is None


def test_other_metrics_weights_with_code_do_not_run(monkeypatch, tmp_path):
    sprung = save_trap(tmp_path / "trap.pt")
    monkeypatch.setattr(pyiqa, "create_metric", lambda *_, **__: torch.load(tmp_path / "trap.pt", weights_only=False))
    before = dict(os.environ)
    scorer = QualityScorer("musiq", device="cpu")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        scorer.description  # noqa: B018
    assert not sprung.exists()
    assert dict(os.environ) == before


def test_network_that_cannot_be_loaded_is_not_the_pictures_fault(monkeypatch):
    def create_metric(*_, **__):
        raise ConnectionError("The Hub cannot be reached.")

    monkeypatch.setattr(pyiqa, "create_metric", create_metric)
    with pytest.raises(Exception, match="The Hub cannot be reached") as caught:
        QualityScorer("musiq", device="cpu")([noise(50, 50)])
    # Whoever scores many pictures leaves out one that raises this, and goes on.
    assert not isinstance(caught.value, UnscorableImageError)


def test_without_pyiqa_the_error_says_what_to_install(monkeypatch):
    scorer = QualityScorer("musiq", device="cpu")
    hide_packages(monkeypatch, "pyiqa")
    cure = r"pip install 'iqcr-mi\[scoring\]'"
    for metric in ("maniqa", "piqe"):
        with pytest.raises(ImportError, match=cure):
            QualityScorer(metric)
    with pytest.raises(ImportError, match=cure):
        weights_file_name("maniqa")
    with pytest.raises(ImportError, match=cure):
        scorer.description  # noqa: B018


def test_broken_pyiqa_is_not_called_missing(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "pyiqa").mkdir()
    (tmp_path / "pyiqa" / "__init__.py").write_text("import a_library_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"pyiqa is installed and cannot be imported: .*a_library_that_is_missing"):
        QualityScorer("piqe")


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("maniqa", "ckpt_koniq10k.pt"),
        ("maniqa-kadid", "ckpt_kadid10k.pt"),
        ("maniqa-pipal", "MANIQA_PIPAL-ae6d356b.pth"),
    ],
)
def test_file_of_each_variant(metric, name):
    assert weights_file_name(metric) == name


UPLOAD = """
from huggingface_hub import HfApi

api = HfApi()
api.create_repo("chaofengc/IQA-PyTorch-Weights")
api.upload_file(
    path_or_fileobj=b"the weights", path_in_repo="ckpt_koniq10k.pt", repo_id="chaofengc/IQA-PyTorch-Weights"
)
"""

DOWNLOAD = """
from processing_iqcr.quality_scorer import QualityScorer

scorer = QualityScorer(device="cpu")
print(open(scorer.weights, "rb").read(), scorer.description["weights_sha256"])
"""


def test_default_weights_are_the_one_file_of_the_hub(tmp_path):
    with FakeHub() as hub:
        run_with_hub(hub, UPLOAD, tmp_path / "uploader")
        before = len(hub.requests)
        printed = run_with_hub(hub, DOWNLOAD, tmp_path / "user")
        asked = hub.requests[before:]
    assert printed.strip().endswith(f"{b'the weights'} {hashlib.sha256(b'the weights').hexdigest()}")
    path = "/chaofengc/IQA-PyTorch-Weights/resolve/main/ckpt_koniq10k.pt"
    assert asked == [("HEAD", path), ("GET", path)]


def test_default_weights_are_an_error_offline_if_they_were_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    scorer = QualityScorer(device="cpu")
    with pytest.raises(LocalEntryNotFoundError):
        scorer([noise(30, 30)])


def test_scores_are_plain_numbers(narrow):
    scorer = QualityScorer(weights=narrow.weights, num_crops=1, device="cpu")
    pictures = [Image.fromarray(np.full((230, 230, 3), value, np.uint8)) for value in (0, 255)]
    for quality in scorer(pictures):
        assert type(quality) is float
        assert 0 <= quality <= 1
