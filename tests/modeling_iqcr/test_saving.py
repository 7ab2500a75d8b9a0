"""Saving and loading: in another process to the bit, in other dtypes, with other labels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForTokenClassification

from modeling_iqcr import IQCRForTokenClassification, IQCRModel

LOAD_AND_RUN = """
import sys
import torch
from transformers import AutoModel, AutoModelForTokenClassification
import modeling_iqcr

folder = sys.argv[1]
batch = torch.load(f"{folder}/batch.pt")
tagger = AutoModelForTokenClassification.from_pretrained(folder)
base = AutoModel.from_pretrained(folder)
assert type(tagger) is modeling_iqcr.IQCRForTokenClassification and type(base) is modeling_iqcr.IQCRModel
assert not tagger.training and not base.training
with torch.no_grad():
    outputs = dict(tagger(**batch))
    batch.pop("labels"), batch.pop("word_mask")
    outputs["last_hidden_state"] = base(**batch).last_hidden_state
torch.save(outputs, f"{folder}/outputs.pt")
"""


def test_another_process_gives_the_same_outputs_to_the_bit(tmp_path, make_lively_model, make_tensors):
    model, batch = make_lively_model(), make_tensors([3, 0, 2])
    model.model.image_weighting.quality_scale.data.fill_(10.001)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    torch.save(batch, folder / "batch.pt")
    assert (folder / "model.safetensors").is_file()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", LOAD_AND_RUN, str(folder)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    loaded = torch.load(folder / "outputs.pt")
    with torch.no_grad():
        outputs = dict(model(**batch))
    assert loaded.keys() == outputs.keys() | {"last_hidden_state"}
    for name, tensor in outputs.items():
        assert torch.equal(loaded[name], tensor), name
    assert torch.equal(model.classifier(loaded["last_hidden_state"]), outputs["logits"])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"use_images": False},
        {"use_quality": False},
        {"use_relevance": False, "use_gate": False},
        {"use_crf": False, "constrain_decoding": False},
        {"attention_prior": True, "norm_first": True, "renormalize_weights": True, "vision_pooling": "mean"},
        {"num_self_attention_layers": 0, "num_cross_attention_layers": 2, "mean_quality_score": 0.7},
        {"id2label": {0: "O", 1: "B-X", 2: "I-X"}},
    ],
)
def test_every_ablation_comes_back_to_the_bit(tmp_path, make_lively_model, make_tensors, fields):
    model, batch = make_lively_model(**fields), make_tensors([3, 0], num_labels=3)
    batch["relevance_scores"] = None
    model.save_pretrained(tmp_path)
    loaded, info = AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for left, right in zip(model(**batch).values(), loaded(**batch).values(), strict=True):
        assert torch.equal(left, right)
    for name, value in fields.items():
        assert getattr(loaded.config, name) == value


def test_the_base_model_is_saved_and_loaded_alone(tmp_path, make_lively_model):
    model = make_lively_model()
    model.model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is IQCRModel
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.model.state_dict()[name])
    # a tagger on top of it has a fresh head
    tagger = IQCRForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(tagger.model.cross_layers[0].attention.key.weight, loaded.cross_layers[0].attention.key.weight)
    assert all(-0.1 <= score.min() < score.max() <= 0.1 for score in tagger.crf.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, "bfloat16"])
def test_loading_in_half_precision_keeps_alpha_and_beta(tmp_path, make_lively_model, make_tensors, dtype):
    model, batch = make_lively_model(), make_tensors([3, 0, 1])
    model.model.image_weighting.quality_scale.data.fill_(10.001)
    model.model.image_weighting.relevance_scale.data.fill_(20.003)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path, dtype=dtype)
    in_float32 = {name for name, parameter in loaded.named_parameters() if parameter.dtype == torch.float32}
    assert in_float32 == {f"model.image_weighting.{name}" for name in ("quality_scale", "relevance_scale")}
    state = loaded.state_dict()
    assert state["model.image_weighting.quality_scale"] == torch.tensor(10.001)
    assert state["model.image_weighting.relevance_scale"] == torch.tensor(20.003)
    exact, half = model(**batch), loaded(**batch)
    assert torch.equal(half.image_weights, exact.image_weights)
    assert half.loss.isfinite()
    assert half.loss.item() == pytest.approx(exact.loss.item(), rel=0.05)
    # and the file keeps them, when such a model is saved
    loaded.save_pretrained(tmp_path / "half")
    saved = load_file(tmp_path / "half" / "model.safetensors")
    assert saved["model.image_weighting.quality_scale"].item() == torch.tensor(10.001).item()
    assert saved["classifier.weight"].dtype == loaded.dtype


@pytest.mark.parametrize("how", ["arguments", "only_number", "config"])
def test_a_checkpoint_takes_another_tag_set(tmp_path, make_lively_model, make_tensors, how):
    model = make_lively_model()
    model.save_pretrained(tmp_path)
    labels = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    id2label, label2id = dict(enumerate(labels)), {label: index for index, label in enumerate(labels)}
    if how == "only_number":
        labels = [f"LABEL_{index}" for index in range(5)]
        arguments = {"num_labels": 5}
    elif how == "arguments":
        arguments = {"num_labels": 5, "id2label": id2label, "label2id": label2id}
    else:
        config = type(model.config).from_pretrained(tmp_path)
        config.id2label, config.label2id = id2label, label2id
        arguments = {"config": config}
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path, ignore_mismatched_sizes=True, **arguments)
    assert loaded.config.labels == labels
    assert loaded.crf.transitions.shape == (5, 5)
    assert loaded.classifier.out_features == 5
    for score in loaded.crf.parameters():  # fresh, not uninitialised
        assert -0.1 <= score.min() < score.max() <= 0.1
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, model.model.state_dict()[name])
    output = loaded(**make_tensors([2, 0], num_labels=5))
    assert output.loss.isfinite()
    first_tags = {labels[tag] for tag in output.predictions[:, 1].tolist()}
    assert how == "only_number" or not first_tags & {"I-X", "I-Y"}
    loaded.save_pretrained(tmp_path / "again")
    assert AutoModelForTokenClassification.from_pretrained(tmp_path / "again").config.labels == labels


def test_names_without_their_ids_are_refused(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"`label2id` .* is not the inverse of `id2label` .*Give both"):
        IQCRForTokenClassification.from_pretrained(tmp_path, id2label={0: "O", 1: "B-X"}, ignore_mismatched_sizes=True)


def test_loading_with_an_ablation_leaves_its_weights_out(tmp_path, make_model, make_tensors):
    make_model().save_pretrained(tmp_path)
    loaded, info = IQCRForTokenClassification.from_pretrained(tmp_path, use_images=False, output_loading_info=True)
    assert loaded.model.vision_model is None
    assert any(name.startswith("model.vision_model.") for name in info["unexpected_keys"])
    assert not info["missing_keys"]
    assert loaded(**make_tensors([2, 0])).loss.isfinite()


def test_a_saved_configuration_keeps_a_repository_and_no_folder(tmp_path, tiny_backbones):
    model = IQCRForTokenClassification.from_backbones(*map(str, tiny_backbones))
    assert model.config.text_config.name_or_path == str(tiny_backbones[0])
    model.config.text_config.name_or_path = "FacebookAI/roberta-base"
    model.save_pretrained(tmp_path)
    saved = (tmp_path / "config.json").read_text()
    assert "FacebookAI/roberta-base" in saved
    assert str(tiny_backbones[1]) not in saved
