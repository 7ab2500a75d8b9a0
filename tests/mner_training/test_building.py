"""What a run starts from: backbones, or a checkpoint whose body and head are kept or not."""

import json

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForTokenClassification, BertModel, RobertaTokenizer, ViTModel

from mner_training.arguments import ModelArguments
from mner_training.building import build_model, build_processor, load_tokenizer, resolve_backbone

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.fixture(scope="module")
def fresh(tiny_backbones):
    """Arguments for a new tagger."""
    text, vision = map(str, tiny_backbones)
    return ModelArguments(text_backbone=text, vision_backbone=vision, max_length=32, window_overlap=8)


@pytest.fixture(scope="module")
def checkpoint(fresh, tmp_path_factory):
    """The folder of a tagger with five labels, in half precision, as one may be published."""
    folder = str(tmp_path_factory.mktemp("checkpoint"))
    model = build_model(fresh, LABELS, {"mean_quality_score": 0.75})
    model.bfloat16().save_pretrained(folder)
    build_processor(fresh).save_pretrained(folder)
    return folder


def differing(first, second) -> set[str]:
    """Names of the weights in which two models differ."""
    first, second = first.state_dict(), second.state_dict()
    assert set(first) == set(second)
    return {
        name
        for name in first
        if first[name].shape != second[name].shape or not torch.equal(first[name], second[name].to(first[name].dtype))
    }


def test_new_tagger_has_the_backbones_weights_and_the_given_fields(fresh, tiny_backbones):
    fresh = ModelArguments(**{**vars(fresh), "model_config": {"use_gate": False, "dropout": 0.0}})
    model = build_model(fresh, LABELS, {"mean_quality_score": 0.25})
    text, vision = BertModel.from_pretrained(tiny_backbones[0]), ViTModel.from_pretrained(tiny_backbones[1])
    for name, tensor in model.model.text_model.state_dict().items():
        assert torch.equal(tensor, text.state_dict()[name])
    for name, tensor in model.model.vision_model.state_dict().items():
        assert torch.equal(tensor, vision.state_dict()[name])
    config = model.config
    assert config.labels == LABELS
    assert (config.use_images, config.use_gate, config.mean_quality_score) == (True, False, 0.25)


def test_parts_that_a_checkpoint_lacks_are_not_made_up(fresh, tmp_path):
    fields = {"model_config": {"use_gate": False, "use_images": True}}
    build_model(ModelArguments(**{**vars(fresh), **fields}), LABELS, {}).save_pretrained(tmp_path / "no_gate")
    wanted = ModelArguments(model_name_or_path=str(tmp_path / "no_gate"), model_config={"use_gate": True})
    with pytest.raises(ValueError, match=r"no_gate lacks weights .*image_weighting\.gate"):
        build_model(wanted, None, {})
    text_only = ModelArguments(**{**vars(fresh), "vision_backbone": None})
    build_model(text_only, LABELS, {}).save_pretrained(tmp_path / "text")
    wanted = ModelArguments(model_name_or_path=str(tmp_path / "text"), model_config={"use_images": True})
    with pytest.raises(ValueError, match="was trained without images"):
        build_model(wanted, None, {})


@pytest.mark.parametrize("way", ["no vision backbone", "switched off"])
def test_text_only_tagger(fresh, way):
    changes = {"vision_backbone": None} if way == "no vision backbone" else {"model_config": {"use_images": False}}
    arguments = ModelArguments(**{**vars(fresh), **changes})
    model = build_model(arguments, LABELS, {})
    assert not model.config.use_images
    assert not any("vision" in name for name, _ in model.named_parameters())
    processor = build_processor(arguments)
    assert set(processor(words=["paris"])) == {"input_ids", "attention_mask", "word_mask"}


def test_new_tagger_without_a_tag_set_is_refused(fresh):
    with pytest.raises(ValueError, match=r"set `do_train`, or give `model_name_or_path`"):
        build_model(fresh, None, {})


def test_processor_of_the_backbones(fresh):
    arguments = ModelArguments(**{**vars(fresh), "model_config": {"max_images": 2}})
    processor = build_processor(arguments)
    assert (processor.max_length, processor.window_overlap, processor.max_images) == (32, 8, 2)
    assert processor.image_shape == (3, 16, 16)


def test_row_longer_than_the_encoders_positions_is_refused(fresh, tiny_backbones, tmp_path):
    arguments = ModelArguments(**{**vars(fresh), "max_length": 65})
    with pytest.raises(ValueError, match="`max_length` 65 is more than the 64 positions"):
        build_processor(arguments)


def test_checkpoint_keeps_everything_and_comes_in_float32(checkpoint):
    saved = AutoModelForTokenClassification.from_pretrained(checkpoint)
    model = build_model(ModelArguments(model_name_or_path=checkpoint), None, {})
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert differing(model, saved) == set()
    assert (model.config.labels, model.config.mean_quality_score) == (LABELS, 0.75)
    processor = build_processor(ModelArguments(model_name_or_path=checkpoint))
    assert (processor.max_length, processor.window_overlap, processor.max_images) == (32, 8, 4)


def test_checkpoint_with_changed_fields(checkpoint):
    arguments = ModelArguments(
        model_name_or_path=checkpoint, max_length=20, model_config={"use_gate": False, "max_images": 1}
    )
    model = build_model(arguments, None, {"mean_relevance_score": -0.5})
    assert (model.config.use_gate, model.config.max_images, model.config.mean_relevance_score) == (False, 1, -0.5)
    assert model.model.image_weighting.gate is None
    processor = build_processor(arguments)
    assert (processor.max_length, processor.window_overlap, processor.max_images) == (20, 8, 1)


def test_checkpoint_with_a_field_out_of_range(checkpoint):
    with pytest.raises(ValueError, match="`dropout`"):
        build_model(ModelArguments(model_name_or_path=checkpoint, model_config={"dropout": 3}), None, {})


def test_same_tags_in_another_order_keep_the_checkpoints(checkpoint):
    saved = AutoModelForTokenClassification.from_pretrained(checkpoint)
    model = build_model(ModelArguments(model_name_or_path=checkpoint), LABELS[::-1], {})
    assert model.config.labels == LABELS
    assert differing(model, saved) == set()


@pytest.mark.parametrize(
    "labels",
    [["O", "B-ORG", "I-ORG"], ["O", "B-FOO", "I-FOO", "B-BAR", "I-BAR"], [*LABELS, "B-ORG", "I-ORG"]],
    ids=["fewer", "as many", "more"],
)
def test_other_tags_get_a_fresh_head_on_the_same_body(checkpoint, labels):
    torch.manual_seed(0)
    saved = AutoModelForTokenClassification.from_pretrained(checkpoint)
    model = build_model(ModelArguments(model_name_or_path=checkpoint), labels, {})
    assert model.config.labels == labels
    assert model.config.label2id == {label: index for index, label in enumerate(labels)}
    changed = differing(model, saved)
    assert {name for name in changed if not name.startswith(("classifier.", "crf."))} == set()
    assert "classifier.weight" in changed
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_checkpoint_that_is_no_tagger_of_ours(tiny_backbones):
    with pytest.raises(ValueError, match=r"of type 'bert', and no tagger of this package"):
        build_model(ModelArguments(model_name_or_path=str(tiny_backbones[0])), None, {})


def test_backbone_inside_an_installed_package(tmp_path, monkeypatch):
    (tmp_path / "some_encoder" / "model").mkdir(parents=True)
    (tmp_path / "some_encoder" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_backbone("package:some_encoder/model") == str(tmp_path / "some_encoder" / "model")
    assert resolve_backbone("roberta-base") == "roberta-base"
    with pytest.raises(ValueError, match="'some_encoder' has no folder 'weights'"):
        resolve_backbone("package:some_encoder/weights")
    with pytest.raises(ValueError, match="has no folder"):
        resolve_backbone("package:some_encoder/../some_encoder")


@pytest.mark.parametrize("name", ["no_such_encoder", "not-a-name", "colorsys"])
def test_backbone_of_a_package_that_is_not_there(name):
    with pytest.raises(ValueError, match=rf"no package '{name}' is installed"):
        resolve_backbone(f"package:{name}/model")


def test_byte_level_tokenizer_is_loaded_with_its_prefix_space(tmp_path):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġx"]
    tokenizer = RobertaTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[("Ġ", "x")])
    assert tokenizer.tokenize("x") == ["x"]
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    assert load_tokenizer(str(tmp_path)).tokenize("x") == ["Ġx"]
