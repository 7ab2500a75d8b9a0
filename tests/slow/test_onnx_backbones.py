"""The export of every backbone type, every switch of the model, and of weights in half precision."""

import copy

import pytest
import torch
from transformers import ViTImageProcessorPil

from mner_training.onnx_export import export_onnx
from mner_training.onnx_tagger import OnnxModel
from modeling_iqcr import IQCRConfig, IQCRForTokenClassification
from processing_iqcr import IQCRProcessor
from tests.mner_training.test_onnx import assert_equal_for_unseen_shapes
from tests.modeling_iqcr.test_backbones import TEXT_TYPES, VISION_TYPES

pytestmark = pytest.mark.slow

SHAPES = [
    (num_posts, num_sub_tokens, num_images, pictures)
    for num_posts in (1, 2, 5)
    for num_sub_tokens in (3, 6, 28)
    for num_images in (1, 3, 4)
    for pictures in ("mixed", "none", "all")
]
SWITCHES = [
    {"use_quality": False},
    {"use_relevance": False},
    {"use_quality": False, "use_relevance": False},
    {"use_gate": False},
    {"use_crf": False},
    {"attention_prior": True},
    {"norm_first": True},
    {"renormalize_weights": True},
    {"renormalize_weights": True, "use_quality": False, "use_relevance": False, "use_gate": False},
    {"vision_pooling": "mean"},
    {"constrain_decoding": False},
    {"num_labels": 4},
    {"mean_quality_score": 0.9, "mean_relevance_score": -0.5},
    {"num_self_attention_layers": 0, "num_cross_attention_layers": 2},
    {"use_images": False},
    {"output_hidden_states": True, "output_attentions": True, "attn_implementation": "eager"},
]


@pytest.fixture
def check(tiny_tokenizer, tmp_path):
    """Function that exports a model and compares, ``check(model, image_size=16, vocabulary=40)``."""

    def run(model, image_size: int = 16, vocabulary: int = 40, reference=None) -> None:
        image_processor = ViTImageProcessorPil(size={"height": image_size, "width": image_size})
        processor = IQCRProcessor(image_processor, tiny_tokenizer, max_length=30, window_overlap=8)
        export_onnx(model, processor, tmp_path / "exported")
        exported = OnnxModel(tmp_path / "exported")
        assert_equal_for_unseen_shapes(
            reference or model, exported, SHAPES, vocabulary=vocabulary, image_size=image_size
        )

    return run


@pytest.mark.parametrize("fields", SWITCHES, ids=str)
def test_switch(make_lively_model, check, fields):
    check(make_lively_model(**fields))


@pytest.mark.parametrize("model_type", VISION_TYPES)
def test_vision_type(tiny_backbone_configs, enliven, check, model_type):
    fields, _, _ = VISION_TYPES[model_type]
    config = IQCRConfig(text_config=tiny_backbone_configs()[0], vision_config={"model_type": model_type, **fields})
    model = IQCRForTokenClassification(config).eval()
    fresh = copy.deepcopy(model.model.vision_model.state_dict())
    enliven(model)
    if model_type == "pvt_v2":
        # Enlivened, its norms of 8 values lose so many digits that PyTorch in float32 is 1e-4 away from float64.
        model.model.vision_model.load_state_dict(fresh)
    check(model, image_size=fields["image_size"])


@pytest.mark.parametrize("model_type", TEXT_TYPES)
def test_text_type(tiny_backbone_configs, enliven, check, model_type):
    config = IQCRConfig(
        text_config={"model_type": model_type, **TEXT_TYPES[model_type]},
        vision_config=tiny_backbone_configs()[1],
        intermediate_size=48,
    )
    check(enliven(IQCRForTokenClassification(config).eval()))


def test_half_precision_becomes_a_graph_in_float32(make_lively_model, check):
    model = make_lively_model().bfloat16()
    reference = make_lively_model().bfloat16().float()
    check(model, reference=reference)
    assert model.dtype == torch.bfloat16
