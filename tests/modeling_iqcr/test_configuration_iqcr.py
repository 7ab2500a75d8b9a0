import pytest
from transformers import AutoConfig, BertConfig, CLIPConfig, CLIPVisionConfig, DistilBertConfig, SwinConfig, ViTConfig

from modeling_iqcr import IQCRConfig
from modeling_iqcr.tagger_config import PAPER_LABELS


def test_the_default_is_roberta_vit_and_the_papers_tags():
    config = IQCRConfig()
    assert (config.text_config.model_type, config.vision_config.model_type) == ("roberta", "vit")
    assert config.labels == list(PAPER_LABELS)
    assert config.label2id["I-MISC"] == 8
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (768, 12, 3072)
    assert config.vision_pooling == "cls"
    assert not any((config.attention_prior, config.norm_first, config.renormalize_weights))
    assert config.get_text_config() is config.text_config
    assert AutoConfig.for_model("iqcr", dropout=0.2).dropout == 0.2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"use_images": False},
        {"use_quality": False, "use_relevance": False, "use_gate": False, "use_crf": False},
        {"renormalize_weights": True, "attention_prior": True, "norm_first": True, "constrain_decoding": False},
        {"initial_quality_scale": 1.5, "initial_relevance_scale": -2, "initial_gate_bias": 2.0, "max_images": 3},
        {"mean_quality_score": 0.61, "mean_relevance_score": -0.1, "dropout": 0.0, "image_dropout": 0.3},
        {"num_self_attention_layers": 0, "num_cross_attention_layers": 3, "num_attention_heads": 2},
        {"intermediate_size": 64, "vision_pooling": "mean", "initializer_range": 0.1},
        {"id2label": {0: "O", 1: "B-geo-loc", 2: "I-geo-loc"}, "constrain_decoding": True},
        {"num_labels": 4},
    ],
)
def test_saving_and_loading_keeps_every_field(tmp_path, tiny_backbone_configs, fields):
    text, vision = tiny_backbone_configs()
    config = IQCRConfig(text_config=text, vision_config=vision, **fields)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, IQCRConfig)
    before, after = config.to_dict(), loaded.to_dict()
    for volatile in ("transformers_version", "_name_or_path"):
        before.pop(volatile), after.pop(volatile)
    assert after == before
    for name, value in fields.items():
        assert getattr(loaded, name) == value
    assert type(loaded.text_config) is BertConfig
    assert loaded.text_config.hidden_size == 32
    if fields.get("use_images") is False:
        assert loaded.vision_config is None
        assert loaded.vision_pooling is None
    else:
        assert loaded.vision_config.patch_size == 8


def test_backbones_come_as_objects_or_dicts():
    fields = {"num_attention_heads": 4, "intermediate_size": 48, "hidden_size": 32}
    config = IQCRConfig(text_config={"model_type": "bert", **fields}, vision_config={"model_type": "swin"})
    assert type(config.text_config) is BertConfig
    assert type(config.vision_config) is SwinConfig
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (32, 4, 48)
    assert config.vision_pooling == "mean"
    assert config.vision_hidden_size == 768  # 96 * 2 ** 3, the last stage
    assert IQCRConfig(vision_config={"model_type": "convnext", "hidden_sizes": [8, 24]}).vision_hidden_size == 24
    assert IQCRConfig(text_config=fields).text_config.model_type == "roberta"


def test_the_attention_implementation_reaches_both_backbones(tiny_backbone_configs):
    text, vision = tiny_backbone_configs()
    config = IQCRConfig(text_config=text, vision_config=vision, attn_implementation="eager")
    assert config.text_config._attn_implementation == config.vision_config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dropout": 1.5}, "`dropout` must be a finite number from 0 to 1, got 1.5"),
        ({"image_dropout": -0.1}, "`image_dropout` must be a finite number from 0 to 1"),
        ({"mean_quality_score": 61.0}, "`mean_quality_score` must be a finite number from 0 to 1, got 61.0"),
        (
            {"mean_relevance_score": float("nan")},
            "`mean_relevance_score` must be a finite number from -1 to 1, got nan",
        ),
        ({"initial_quality_scale": float("inf")}, "`initial_quality_scale` must be a finite number"),
        ({"initial_gate_bias": "2"}, "`initial_gate_bias` must be a finite number"),
        ({"max_images": 0}, "`max_images` must be a whole number, at least 1, got 0"),
        ({"max_images": 2.5}, "`max_images` must be a whole number, at least 1, got 2.5"),
        ({"max_images": True}, "`max_images` must be a whole number"),
        ({"num_self_attention_layers": -1}, "`num_self_attention_layers` must be a whole number, at least 0"),
        ({"num_cross_attention_layers": 0}, "`num_cross_attention_layers` must be a whole number, at least 1"),
        ({"num_attention_heads": 5}, "width 768 is not a multiple of `num_attention_heads` 5"),
        ({"use_quality": 1}, "`use_quality` must be true or false, got 1"),
        ({"norm_first": "no"}, "`norm_first` must be true or false, got 'no'"),
        ({"constrain_decoding": "yes"}, "`constrain_decoding` must be true, false or null, got 'yes'"),
        ({"vision_pooling": "max"}, "`vision_pooling` must be 'cls' or 'mean', got 'max'"),
        ({"vision_config": SwinConfig(), "vision_pooling": "cls"}, "type 'swin' has none. Use 'mean'"),
        ({"vision_config": {"model_type": "levit"}}, "type 'levit' has a class token. Known: beit, .*Set `vision_po"),
        ({"vision_config": CLIPConfig()}, "Pass its vision tower instead"),
        ({"text_config": {"model_type": "brt"}}, "knows no model type 'brt'"),
        ({"text_config": "roberta-base"}, "got 'roberta-base'. To load a backbone by its name, use .*from_backbones"),
        ({"text_config": DistilBertConfig()}, "type 'distilbert' has no `intermediate_size`: give it in IQCRConfig"),
        ({"id2label": {0: "O", 2: "B-X"}}, r"must number its labels from 0 without a gap, got the ids \[0, 2\]"),
        ({"id2label": {0: "O", 1: "O"}}, r"names a label twice: \['O', 'O'\]"),
        ({"id2label": {0: "O", 1: "B-X"}, "label2id": {"O": 1, "B-X": 0}}, "is not the inverse of `id2label`"),
    ],
)
def test_errors_say_what_was_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        IQCRConfig(**fields)


def test_a_vision_backbone_without_a_width_is_refused():
    with pytest.raises(ValueError, match=r"type 'clip' has no width\. If it has a text tower too"):
        _ = IQCRConfig(vision_config=CLIPConfig(), vision_pooling="mean").vision_hidden_size


def test_pooling_can_be_chosen_where_both_exist():
    assert IQCRConfig(vision_config=ViTConfig(), vision_pooling="mean").vision_pooling == "mean"
    assert IQCRConfig(vision_config=CLIPVisionConfig()).vision_pooling == "cls"


@pytest.mark.parametrize(
    ("labels", "is_bio"),
    [
        (["O", "B-X", "I-X"], True),
        (["O", "I-X"], True),
        (["O", "B-geo-loc"], True),
        (["O", "B-"], False),
        (["O", "S-X"], False),
        (["LABEL_0"], False),
        (["O", "b-X"], False),
    ],
)
def test_which_labels_are_bio(labels, is_bio):
    assert IQCRConfig(id2label=dict(enumerate(labels))).has_bio_labels == is_bio


def test_label_ids_of_a_json_file_become_numbers():
    config = IQCRConfig(id2label={"0": "O", "1": "B-X"})
    assert config.id2label == {0: "O", 1: "B-X"}
    assert config.num_labels == 2
    assert IQCRConfig(num_labels=3).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_fields_set_after_construction_are_checked_when_a_model_is_built(tmp_path, tiny_backbone_configs, make_model):
    # `from_pretrained` constructs the configuration of the file first and sets the caller's fields after it.
    text, vision = tiny_backbone_configs()
    IQCRConfig(text_config=text, vision_config=vision).save_pretrained(tmp_path)
    for field, value in {
        "dropout": 7,
        "use_quality": "no",
        "vision_config": None,
        "id2label": {0: "O", 2: "X"},
    }.items():
        config = IQCRConfig.from_pretrained(tmp_path, **{field: value})
        with pytest.raises(ValueError, match=f"`{field}`"):
            type(make_model())(config)
