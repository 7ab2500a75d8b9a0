"""What FSDP2 is told of a model, and what is refused. Runs that shard are in tests/slow/test_fsdp2.py."""

import pytest
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import StateDictType
from transformers import (
    BertConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    ConvNextConfig,
    RobertaConfig,
    ViTConfig,
)

from mner_training.sharding import check_same_sharding, set_up_sharding, sharded_layers, under_its_own_class
from modeling_iqcr import IQCRConfig, IQCRForTokenClassification

TEXT = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
VISION = {"image_size": 16, "patch_size": 8} | {name: TEXT[name] for name in TEXT if name != "vocab_size"}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2}
CLIP_TEXT = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}


def plugin(**settings) -> FullyShardedDataParallelPlugin:
    """The settings of fsdp2.yaml, and others."""
    defaults = {"fsdp_version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "FULL_STATE_DICT"}
    return FullyShardedDataParallelPlugin(**(defaults | settings))


@pytest.fixture
def accelerator():
    """An accelerator with the settings that a launcher would give it; without several GPUs it would not take them."""
    accelerator = Accelerator(cpu=True)
    accelerator.state.fsdp_plugin = plugin()
    yield accelerator
    del accelerator.state.fsdp_plugin


@pytest.mark.parametrize(
    ("text", "vision", "layers"),
    [
        (BertConfig(**TEXT), ViTConfig(**VISION), ["BertLayer", "TransformerLayer", "ViTEmbeddings", "ViTLayer"]),
        (
            RobertaConfig(**TEXT),
            ConvNextConfig(**CONVNEXT),
            ["ConvNextLayer", "ConvNextStage", "RobertaLayer", "TransformerLayer"],
        ),
        (
            CLIPTextConfig(**TEXT, **CLIP_TEXT),
            CLIPVisionConfig(**VISION),
            ["CLIPEncoderLayer", "CLIPVisionEmbeddings", "TransformerLayer"],
        ),
        (BertConfig(**TEXT), None, ["BertLayer", "TransformerLayer"]),
    ],
)
def test_layers_of_all_parts_are_sharded_and_input_embeddings_left_to_accelerate(text, vision, layers):
    config = IQCRConfig(text_config=text, vision_config=vision, use_images=vision is not None, num_attention_heads=2)
    assert sharded_layers(IQCRForTokenClassification(config)) == layers


def test_layers_that_are_not_there_are_not_named(make_model):
    model = make_model(use_images=False, num_self_attention_layers=0)
    assert sharded_layers(model) == ["BertLayer"]


def test_settings_are_completed(accelerator, make_model):
    accelerator.state.fsdp_plugin.set_mixed_precision("bf16")
    set_up_sharding(accelerator, make_model())
    settings = accelerator.state.fsdp_plugin
    assert "ViTLayer" in settings.transformer_cls_names_to_wrap
    policy = settings.mixed_precision_policy
    assert policy.param_dtype is policy.reduce_dtype is policy.output_dtype is None

    accelerator.state.fsdp_plugin = plugin(transformer_cls_names_to_wrap=["ViTLayer"])  # a user's choice
    set_up_sharding(accelerator, make_model())
    assert accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap == ["ViTLayer"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fsdp_version": 1}, "`fsdp_version` must be 2, got 1"),
        ({"state_dict_type": StateDictType.SHARDED_STATE_DICT}, "must be FULL_STATE_DICT, got SHARDED_STATE_DICT"),
    ],
)
def test_settings_that_cannot_be(accelerator, make_model, settings, message):
    accelerator.state.fsdp_plugin = plugin(**settings)
    with pytest.raises(ValueError, match=message):
        set_up_sharding(accelerator, make_model())


def test_sharding_that_would_not_be_done_is_refused(make_model, monkeypatch):
    accelerator, model = Accelerator(cpu=True), make_model()
    set_up_sharding(accelerator, model)  # nobody asked for it
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # as `accelerate launch` sets it for fsdp2.yaml
    with pytest.raises(ValueError, match="does not shard on 'cpu'"):
        set_up_sharding(accelerator, model)


def test_checkpoints_are_gone_on_from_in_their_way(tmp_path):
    check_same_sharding(tmp_path, sharded=False)
    with pytest.raises(ValueError, match=r"was written without FSDP2: .*--model_name_or_path"):
        check_same_sharding(tmp_path, sharded=True)
    (tmp_path / "pytorch_model_fsdp.bin").touch()
    check_same_sharding(tmp_path, sharded=True)
    with pytest.raises(ValueError, match="was written with FSDP2: go on with it"):
        check_same_sharding(tmp_path, sharded=False)


def test_model_that_is_not_sharded_keeps_its_class(make_model):
    model = make_model()
    with under_its_own_class(model):
        assert type(model) is IQCRForTokenClassification
    assert type(model) is IQCRForTokenClassification
