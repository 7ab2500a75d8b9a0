"""Every backbone type that is listed or usual, tiny and random, and pretrained weights in the model."""

import pytest
import torch
import transformers
from transformers import AutoModel, BertForMaskedLM, BertModel, ResNetConfig, ViTForImageClassification, ViTModel

from modeling_iqcr import IQCRConfig, IQCRForTokenClassification
from modeling_iqcr.backbones import pixel_shape
from modeling_iqcr.configuration_iqcr import VISION_POOLING

PATCHES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 8,
}
STAGES = {"num_stages": 2, "hidden_sizes": [8, 24], "depths": [1, 1], "image_size": 16}
WINDOWS = {"image_size": 16, "patch_size": 4, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2}
# A type: its fields, the shape of its last states on an image of 16 x 16 (4 patches), and the parameters that its
# forward does not use for them, which get no gradient.
VISION_TYPES = {
    "beit": (PATCHES, (1 + 4, 24), set()),
    "clip_vision_model": (PATCHES, (1 + 4, 24), {"post_layernorm"}),
    "convnext": (STAGES, (24, 2, 2), {"layernorm"}),
    "convnextv2": (STAGES, (24, 2, 2), {"layernorm"}),
    "data2vec-vision": (PATCHES, (1 + 4, 24), set()),
    "deit": (PATCHES, (1 + 1 + 4, 24), set()),  # a distillation token follows the class token
    "dinov2": (PATCHES, (1 + 4, 24), {"embeddings.mask_token"}),
    "dinov2_with_registers": ({**PATCHES, "num_register_tokens": 3}, (1 + 3 + 4, 24), {"embeddings.mask_token"}),
    "ijepa": (PATCHES, (4, 24), set()),
    "pvt_v2": (
        {
            "image_size": 64,
            "hidden_sizes": [8, 8, 16, 24],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 4],
            "mlp_ratios": [2, 2, 2, 2],
        },
        (24, 2, 2),
        set(),
    ),
    "resnet": (
        {"image_size": 16, "embedding_size": 8, "hidden_sizes": [8, 24], "depths": [1, 1], "layer_type": "basic"},
        (24, 2, 2),
        set(),
    ),
    "siglip_vision_model": (PATCHES, (4, 24), {"head"}),
    "swin": (WINDOWS, (4, 24), set()),
    "swinv2": (WINDOWS, (4, 24), set()),
    "vit": (PATCHES, (1 + 4, 24), set()),
    "vit_msn": (PATCHES, (1 + 4, 24), set()),
}
SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
TEXT_TYPES = {
    "bert": SMALL,
    "roberta": {**SMALL, "max_position_embeddings": 34, "pad_token_id": 1},
    "distilbert": {"vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "electra": {**SMALL, "embedding_size": 16},
    "deberta-v2": {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "mpnet": SMALL,
    "modernbert": {**SMALL, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}


def without_gradient(module):
    return {name for name, parameter in module.named_parameters() if parameter.grad is None}


def test_every_listed_vision_type_is_tested():
    assert set(VISION_TYPES) == set(VISION_POOLING)


@pytest.mark.parametrize("model_type", VISION_TYPES)
def test_vision_type(tiny_backbone_configs, make_tensors, model_type):
    fields, shape, unused = VISION_TYPES[model_type]
    torch.manual_seed(0)
    config = IQCRConfig(text_config=tiny_backbone_configs()[0], vision_config={"model_type": model_type, **fields})
    model = IQCRForTokenClassification(config).train()
    batch = make_tensors([3, 2])
    size = fields["image_size"]
    batch["pixel_values"] = torch.randn(2, 3, 3, size, size)
    states = model.model.vision_model(pixel_values=batch["pixel_values"][0, :1]).last_hidden_state
    # 'cls' types have a state more than patches, 'mean' types have none (or a map of states)
    assert tuple(states.shape[1:]) == shape
    assert (shape[0] > 4 and len(shape) == 2) == (config.vision_pooling == "cls")
    model(**batch).loss.backward()
    missing = without_gradient(model)
    prefixes = tuple(f"model.vision_model.{name}" for name in unused)
    assert all(name.startswith(prefixes) for name in missing)
    assert len(missing) >= len(unused)
    # No picture in the batch, and no pixels: the same parameters take part.
    model.zero_grad()
    model(batch["input_ids"], labels=batch["labels"]).loss.backward()
    assert without_gradient(model) == missing


def test_one_state_per_image_is_the_class_token_or_the_mean(tiny_backbone_configs, make_model, make_tensors):
    batch = make_tensors([2, 1])
    mask = batch["image_mask"]
    for pooling in ("cls", "mean"):
        model = make_model(vision_pooling=pooling).model
        patches = model.vision_model(pixel_values=batch["pixel_values"][mask]).last_hidden_state
        expected = model.image_projection(patches[:, 0] if pooling == "cls" else patches.mean(dim=1))
        states = model.encode_images(batch["pixel_values"], mask)
        torch.testing.assert_close(states[mask], expected, rtol=0, atol=1e-6)
        assert not states[~mask].any()
    text = tiny_backbone_configs()[0]
    config = IQCRConfig(text_config=text, vision_config={"model_type": "convnext", **STAGES})
    model = IQCRForTokenClassification(config).eval().model
    maps = model.vision_model(pixel_values=batch["pixel_values"][mask]).last_hidden_state  # (3, 24, 2, 2)
    states = model.encode_images(batch["pixel_values"], mask)
    torch.testing.assert_close(states[mask], model.image_projection(maps.mean(dim=(2, 3))), rtol=0, atol=1e-6)


def test_equal_widths_need_no_projection(tiny_backbone_configs):
    text, vision = tiny_backbone_configs()
    vision.hidden_size = text.hidden_size
    assert (
        IQCRForTokenClassification(IQCRConfig(text_config=text, vision_config=vision)).model.image_projection is None
    )


@pytest.mark.parametrize("model_type", TEXT_TYPES)
def test_text_type(tiny_backbone_configs, make_tensors, model_type):
    torch.manual_seed(0)
    config = IQCRConfig(
        text_config={"model_type": model_type, **TEXT_TYPES[model_type]},
        vision_config=tiny_backbone_configs()[1],
        intermediate_size=48,
    )
    model = IQCRForTokenClassification(config).train()
    model(**make_tensors([3, 2])).loss.backward()
    assert without_gradient(model) == set()  # no pooler either
    assert model.get_input_embeddings().num_embeddings == 50
    output = model.eval()(**make_tensors([3, 2]), output_hidden_states=True)
    assert len(output.hidden_states) == 3 + 1 + 1  # embeddings and two layers, Eq. 9, Eq. 11


def test_roberta_takes_all_its_positions_but_two(tiny_backbone_configs):
    config = IQCRConfig(text_config={"model_type": "roberta", **TEXT_TYPES["roberta"]}, use_images=False)
    model = IQCRForTokenClassification(config).eval()
    ids = torch.full((2, 32), 7)
    mask = torch.ones_like(ids)
    ids[1, 20:], mask[1, 20:] = 1, 0
    longest = model(ids, attention_mask=mask).logits
    # positions count from the pad id on: padding does not move them
    torch.testing.assert_close(longest[1, :20], model(ids[1:, :20]).logits[0], rtol=0, atol=1e-6)


def test_pixel_shape():
    assert pixel_shape(transformers.ViTConfig(image_size=[16, 24], num_channels=1)) == (1, 16, 24)
    assert pixel_shape(transformers.ResNetConfig()) == (3, 32, 32)  # names no size


def test_from_backbones_keeps_the_weights_exactly(tiny_backbones, make_tensors):
    text, vision = tiny_backbones
    model = IQCRForTokenClassification.from_backbones(str(text), str(vision), dropout=0.2, mean_quality_score=0.7)
    assert not model.training
    assert (model.config.dropout, model.config.mean_quality_score) == (0.2, 0.7)
    for ours, folder in ((model.model.text_model, text), (model.model.vision_model, vision)):
        theirs = AutoModel.from_pretrained(folder, add_pooling_layer=False).state_dict()
        assert ours.state_dict().keys() == theirs.keys()
        assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.items())
    assert model(**make_tensors([2, 0])).logits.isfinite().all()


def test_from_backbones_takes_models_with_poolers_and_heads_and_low_precision(tiny_backbone_configs):
    text_config, vision_config = tiny_backbone_configs()
    text, vision = BertForMaskedLM(text_config).bfloat16(), ViTForImageClassification(vision_config)
    text.config.dtype = torch.bfloat16
    model = IQCRForTokenClassification.from_backbones(text, vision)
    embeddings = text.bert.embeddings.word_embeddings.weight
    assert torch.equal(model.get_input_embeddings().weight, embeddings.float())
    assert model.get_input_embeddings().weight is not embeddings
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    pooled = IQCRForTokenClassification.from_backbones(BertModel(tiny_backbone_configs()[0]), ViTModel(vision_config))
    assert not [name for name in pooled.state_dict() if "pooler" in name]


def test_from_backbones_loads_float32_whatever_was_saved(tmp_path, tiny_backbone_configs, make_tensors):
    text_config, vision_config = tiny_backbone_configs()
    BertModel(text_config).bfloat16().save_pretrained(tmp_path / "text")
    ViTModel(vision_config).half().save_pretrained(tmp_path / "vision")
    model = IQCRForTokenClassification.from_backbones(str(tmp_path / "text"), str(tmp_path / "vision"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    # So does a model built from the configurations, which name half precision.
    config = IQCRConfig(
        text_config=BertModel.config_class.from_pretrained(tmp_path / "text"),
        vision_config=ViTModel.config_class.from_pretrained(tmp_path / "vision"),
    )
    assert config.text_config.dtype == torch.bfloat16
    assert IQCRForTokenClassification(config)(**make_tensors([1, 0])).logits.dtype == torch.float32


def test_from_backbones_text_only(tiny_backbones):
    model = IQCRForTokenClassification.from_backbones(str(tiny_backbones[0]), use_images=False)
    assert model.model.vision_model is None


@pytest.mark.parametrize(
    ("give_vision", "fields", "message"),
    [
        (False, {}, "`use_images` is True and `vision` is None: give a vision backbone, or set use_images=False"),
        (True, {"use_images": False}, "`use_images` is False and `vision` is '.*'"),
    ],
)
def test_from_backbones_wants_vision_if_and_only_if_images_are_used(tiny_backbones, give_vision, fields, message):
    text, vision = map(str, tiny_backbones)
    with pytest.raises(ValueError, match=message):
        IQCRForTokenClassification.from_backbones(text, vision if give_vision else None, **fields)


def test_from_backbones_refuses_a_whole_clip_model(tmp_path, tiny_backbones):
    towers = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    clip = transformers.CLIPConfig(
        text_config={**towers, "vocab_size": 9}, vision_config={**towers, "image_size": 8, "patch_size": 8}
    )
    transformers.CLIPModel(clip).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"type 'clip' has a class token.*Pass its vision tower instead"):
        IQCRForTokenClassification.from_backbones(str(tiny_backbones[0]), str(tmp_path))


@pytest.mark.parametrize("hidden_sizes", [[8, 16], [8, 8, 16, 16]])
def test_what_stands_in_for_a_picture_enters_no_statistics(hidden_sizes, tiny_backbone_configs):
    vision = ResNetConfig(embedding_size=8, hidden_sizes=hidden_sizes, depths=[1] * len(hidden_sizes))
    config = IQCRConfig(text_config=tiny_backbone_configs()[0], vision_config=vision)
    model = IQCRForTokenClassification(config).train()
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    ids = torch.randint(5, 20, (2, 4))
    model(ids, labels=torch.zeros_like(ids)).loss.backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_buffers())
    assert all(module.training for module in model.modules())
    assert not [name for name, parameter in model.model.vision_model.named_parameters() if parameter.grad is None]
