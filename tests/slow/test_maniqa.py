"""MANIQA as published, with all of its layers and 20 crops, against pyiqa's own network on photographs."""

import pytest
import skimage.data
import torch
from PIL import Image

from processing_iqcr.quality_scorer import QualityScorer
from tests.scoring_networks import block_sockets, make_maniqa, published_score

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    attempts = block_sockets(monkeypatch)
    yield
    assert attempts == []


@pytest.fixture(scope="module")
def network():
    return make_maniqa()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("maniqa") / "maniqa.pt"
    torch.save({"params": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}}, path)
    yield path
    path.unlink()  # half a gigabyte


@pytest.fixture(scope="module")
def photographs():
    """A part of one that must be enlarged, an exact square of one crop, a wide one, and a nearly square one."""
    astronaut, coffee, chelsea = (
        Image.fromarray(picture()) for picture in (skimage.data.astronaut, skimage.data.coffee, skimage.data.chelsea)
    )
    return [astronaut.crop((150, 0, 330, 160)), astronaut.crop((0, 0, 224, 224)), coffee, chelsea]


def test_published_crops_of_photographs_of_mixed_sizes_in_one_batch(network, weights, photographs):
    qualities = QualityScorer(weights=weights, device="cpu")(photographs)
    assert all(0.05 < quality < 0.95 for quality in qualities)
    expected = [published_score(network, photograph, 20) for photograph in photographs]
    assert len({round(quality, 4) for quality in expected}) == len(photographs)
    assert qualities == pytest.approx(expected, abs=1e-5)


def test_bfloat16_is_close_to_float32(network, weights, photographs):
    scorer = QualityScorer(weights=weights, num_crops=1, dtype="bfloat16", device="cpu")
    qualities = scorer(photographs[:3])
    assert qualities == pytest.approx([published_score(network, picture, 1) for picture in photographs[:3]], abs=0.02)
