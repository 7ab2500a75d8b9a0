"""Which states of a backbone an image is given, and where; on tiny random backbones."""

import pytest
import torch
from transformers import CONFIG_MAPPING, ViTConfig

from mner_zoo.image_encoders import image_pyramid, image_regions, image_vectors, num_special_states, pooling_of
from modeling_iqcr.backbones import build_backbone
from modeling_iqcr.configuration_iqcr import VISION_POOLING

PATCHES = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 24, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 24], "depths": [1, 1]}
# Without a layer that mixes them, the state of a patch is of its own pixels alone.
UNMIXED = {
    "beit": PATCHES,
    "clip_vision_model": PATCHES,
    "data2vec-vision": PATCHES,
    "deit": PATCHES,
    "dinov2": PATCHES,
    "dinov2_with_registers": {**PATCHES, "num_register_tokens": 3},
    "ijepa": PATCHES,
    "siglip_vision_model": PATCHES,
    "vit": PATCHES,
    "vit_msn": PATCHES,
}
MAPS = {
    "convnext": {"num_stages": 2, **STAGES},
    "convnextv2": {"num_stages": 2, **STAGES},
    "resnet": {"embedding_size": 8, "layer_type": "basic", **STAGES},
}
MASK = torch.tensor([[True, True], [False, True], [False, False]])


def make_backbone(model_type: str, enliven, **fields):
    torch.manual_seed(0)
    return enliven(build_backbone(CONFIG_MAPPING[model_type](**fields)).eval())


def pictures(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*MASK.shape, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_types_with_a_class_token_are_all_tested():
    with_token = {model_type for model_type, pooling in VISION_POOLING.items() if pooling == "cls"}
    assert with_token <= set(UNMIXED)


@pytest.mark.parametrize("model_type", UNMIXED)
def test_regions_are_the_patches_row_by_row(enliven, model_type):
    backbone = make_backbone(model_type, enliven, num_hidden_layers=0, **UNMIXED[model_type])
    pixels = pictures(24)
    before = image_regions(backbone, 24, pixels, MASK)
    assert before.shape == (3, 2, 9, 24)
    for row, column in ((0, 0), (1, 2), (2, 1)):
        changed = pixels.clone()
        changed[0, 1, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 1
        moved = (image_regions(backbone, 24, changed, MASK) - before).abs().amax(dim=-1) > 1e-3
        assert moved.nonzero().tolist() == [[0, 1, 3 * row + column]]


@pytest.mark.parametrize("model_type", MAPS)
def test_regions_of_a_convolutional_backbone_are_its_map_row_by_row(enliven, model_type):
    backbone = make_backbone(model_type, enliven, **MAPS[model_type])
    pixels = pictures(32)
    height = backbone(pixels[0]).last_hidden_state.shape[-1]
    assert height > 2
    regions = image_regions(backbone, 24, pixels, MASK)
    expected = backbone(pixels[1, 1:]).last_hidden_state[0]
    for row in range(height):
        for column in range(height):
            actual = regions[1, 1, row * height + column]
            torch.testing.assert_close(actual, expected[:, row, column], rtol=0, atol=1e-5)
    vectors = image_vectors(backbone, 24, "mean", pixels, MASK)
    torch.testing.assert_close(vectors[1, 1], expected.mean(dim=(1, 2)), rtol=0, atol=1e-5)


def test_the_vector_of_a_vit_is_its_class_token(enliven):
    backbone = make_backbone("vit", enliven, num_hidden_layers=2, **PATCHES)
    vectors = image_vectors(backbone, 24, pooling_of(backbone.config), pictures(24), MASK)
    expected = backbone(pictures(24)[0]).last_hidden_state[:, 0]
    torch.testing.assert_close(vectors[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", MAPS)
def test_a_pyramid_has_the_mean_of_each_quarter_of_each_stage(enliven, model_type):
    backbone = make_backbone(model_type, enliven, **MAPS[model_type])
    stages = []
    for stage in backbone.encoder.stages:
        stage.register_forward_hook(lambda _, __, output: stages.append(output))
    pyramid = image_pyramid(backbone, pictures(32), MASK)
    assert pyramid.shape == (3, 2, 4, 8 + 24)
    quarters = []
    for top, left in ((True, True), (True, False), (False, True), (False, False)):
        of_stages = []
        for stage in stages:
            half = stage.shape[-1] // 2
            rows, columns = (slice(None, half) if first else slice(half, None) for first in (top, left))
            of_stages.append(stage[2, :, rows, columns].mean(dim=(1, 2)))  # the third real image
        quarters.append(torch.cat(of_stages))
    torch.testing.assert_close(pyramid[1, 1], torch.stack(quarters), rtol=0, atol=1e-5)


def encode(kind: str, backbone, pixels, mask):
    if kind == "pyramid":
        return image_pyramid(backbone, pixels, mask)
    if kind == "regions":
        return image_regions(backbone, 24, pixels, mask)
    return image_vectors(backbone, 24, "mean", pixels, mask)


@pytest.mark.parametrize("kind", ["vectors", "regions", "pyramid"])
def test_empty_slots_are_zero_whatever_they_hold(enliven, kind):
    backbone = make_backbone("resnet", enliven, **MAPS["resnet"])
    pixels = pictures(32)
    states = encode(kind, backbone, pixels, MASK)
    assert not states[~MASK].any()
    assert (states[MASK].flatten(1).abs().amax(dim=1) > 0.01).all()
    assert torch.equal(encode(kind, backbone, pixels[MASK], MASK), states)  # packed
    pixels[~MASK] = torch.nan
    assert torch.equal(encode(kind, backbone, pixels, MASK), states)


@pytest.mark.parametrize("kind", ["vectors", "regions", "pyramid"])
@pytest.mark.parametrize("pixels", [None, torch.zeros(0, 3, 32, 32), torch.ones(3, 2, 3, 8, 8)])
def test_a_batch_without_pictures_is_zero_and_has_a_gradient_in_training(enliven, kind, pixels):
    backbone = make_backbone("resnet", enliven, **MAPS["resnet"])
    mask = torch.zeros(3, 2, dtype=torch.bool)
    states = encode(kind, backbone, pixels, mask)
    assert not states.requires_grad
    before = [buffer.clone() for buffer in backbone.buffers()]
    trained = encode(kind, backbone.train(), pixels, mask)
    trained.sum().backward()
    assert all(map(torch.equal, backbone.buffers(), before))  # the statistics of batch norms
    assert all(module.training for module in backbone.modules())
    for tensor in (states, trained):
        assert tensor.shape[:2] == (3, 2)
        assert tensor.shape[-1] == (32 if kind == "pyramid" else 24)
        assert not tensor.any()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.parametrize("pixels", [None, torch.randn(3, 2, 3, 24, 24)])
def test_states_have_the_dtype_of_the_backbone(enliven, pixels):
    backbone = make_backbone("vit", enliven, num_hidden_layers=1, **PATCHES).bfloat16()
    mask = MASK if pixels is not None else torch.zeros_like(MASK)
    assert image_regions(backbone, 24, pixels, mask).dtype == torch.bfloat16


def test_unknown_backbones_are_refused():
    backbone = build_backbone(ViTConfig(num_hidden_layers=0, **PATCHES))
    with pytest.raises(ValueError, match="type 'vit' has no stages that give maps"):
        image_pyramid(backbone, pictures(24), MASK)
    swin = build_backbone(
        CONFIG_MAPPING["swin"](image_size=16, patch_size=4, embed_dim=12, depths=[1], num_heads=[2], window_size=2)
    )
    with pytest.raises(ValueError, match="type 'swin' has no stages that give maps"):
        image_pyramid(swin, pictures(16), MASK)
    with pytest.raises(ValueError, match=r"type 'levit' are patches\. Known: beit, "):
        num_special_states(CONFIG_MAPPING["levit"]())
