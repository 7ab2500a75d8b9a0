"""Gradients, frozen backbones, checkpointing, accumulation, autocast, and whether the model learns at all."""

import copy

import pytest
import torch
from seqeval.metrics import f1_score
from transformers import ResNetConfig

from modeling_iqcr import IQCRConfig, IQCRForTokenClassification

ABLATIONS = [
    {},
    {"use_quality": False},
    {"use_relevance": False},
    {"use_quality": False, "use_relevance": False, "use_gate": False},
    {"use_gate": False},
    {"use_crf": False},
    {"renormalize_weights": True},
    {"attention_prior": True},
    {"norm_first": True},
    {"vision_pooling": "mean"},
    {"num_self_attention_layers": 0, "num_cross_attention_layers": 2},
    {"use_images": False},
]


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("fields", ABLATIONS)
def test_gradient_reaches_every_parameter(make_lively_model, make_tensors, fields, attn_implementation):
    model = make_lively_model(**fields, attn_implementation=attn_implementation).train()
    model(**make_tensors([3, 2, 4, 2])).loss.backward()
    for name, gradient in gradients(model).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


@pytest.mark.parametrize("with_pixels", [True, False])
@pytest.mark.parametrize("fields", ABLATIONS)
def test_a_batch_without_pictures_gives_zeros_and_not_none(make_lively_model, make_tensors, fields, with_pixels):
    # Several processes wait for each other's gradients: a parameter without one would stop them all.
    model, batch = make_lively_model(**fields).train(), make_tensors([0, 0])
    if not with_pixels:
        batch = {name: batch[name] for name in ("input_ids", "attention_mask", "word_mask", "labels")}
    model(**batch).loss.backward()
    for name, gradient in gradients(model).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert not gradient.any() or not name.startswith("model.vision_model."), name


def make_model_with_batch_norm(tiny_backbone_configs):
    """A tagger whose vision backbone has running statistics, and whose text backbone has dropout."""
    torch.manual_seed(0)
    vision = ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic")
    config = IQCRConfig(text_config=tiny_backbone_configs()[0], vision_config=vision, vision_pooling="mean")
    return IQCRForTokenClassification(config).train()


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("vision", [True, False])
def test_frozen_backbones_do_not_change_at_all(tiny_backbone_configs, make_tensors, text, vision):
    model = make_model_with_batch_norm(tiny_backbone_configs)
    # one after the other: the second call does not take back the first
    model.freeze_backbones(text=text)
    model.freeze_backbones(vision=vision)
    model.train(False).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    model(**make_tensors([3, 2, 0])).loss.backward()
    optimizer.step()
    for module, frozen in (("text_model", text), ("vision_model", vision)):
        backbone = getattr(model.model, module)
        assert [m.training for m in backbone.modules()] == [not frozen] * len(list(backbone.modules()))
        assert {parameter.requires_grad for parameter in backbone.parameters()} == {not frozen}
        # parameters and buffers, the running mean and variance among them
        same = [torch.equal(t, before[f"model.{module}.{name}"]) for name, t in backbone.state_dict().items()]
        assert all(same) == frozen
    assert not torch.equal(model.crf.transitions, before["crf.transitions"])
    assert model.model.cross_layers.training


def test_a_frozen_text_backbone_has_no_dropout(make_model, make_tensors):
    model, batch = make_model().train(), make_tensors([0, 0])
    ids = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    assert not torch.equal(*(model.model.text_model(**ids).last_hidden_state for _ in range(2)))
    model.freeze_backbones(text=True)
    assert torch.equal(*(model.model.text_model(**ids).last_hidden_state for _ in range(2)))
    make_model(use_images=False).freeze_backbones(vision=True)  # nothing there to freeze


@pytest.mark.parametrize("frozen", [{}, {"text": True, "vision": True}])
def test_gradient_checkpointing_changes_no_gradient(make_lively_model, make_tensors, without_dropout, frozen):
    model, batch = without_dropout(make_lively_model()), make_tensors([3, 0, 2])
    model.freeze_backbones(**frozen)
    loss = model(**batch).loss
    loss.backward()
    expected = gradients(model)
    model.zero_grad()
    model.gradient_checkpointing_enable()
    calls = []
    model.model.cross_layers[0].attention.register_forward_hook(lambda *_: calls.append(1))
    checkpointed = model(**batch).loss
    checkpointed.backward()
    assert len(calls) == 2  # once more in the backward pass
    torch.testing.assert_close(checkpointed, loss, rtol=0, atol=1e-6)
    for name, gradient in gradients(model).items():
        assert (gradient is None) == (expected[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)


def test_four_accumulated_batches_of_4_are_one_of_16(make_lively_model, make_tensors, without_dropout):
    batch = make_tensors([2, 0, 3, 1] * 4)
    order = batch["word_mask"].sum(1).argsort(stable=True)  # so that the four batches have 8, 12, 16 and 20 words
    batch = {name: tensor[order] for name, tensor in batch.items()}
    num_words = int((batch["labels"] != -100).sum())
    updates = []
    for size in (16, 4):
        model = without_dropout(make_lively_model())
        before = copy.deepcopy(model.state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for first in range(0, 16, size):
            part = {name: tensor[first : first + size] for name, tensor in batch.items()}
            model(**part, num_items_in_batch=torch.tensor(num_words)).loss.backward()
        optimizer.step()
        updates.append({name: tensor - before[name] for name, tensor in model.state_dict().items()})
    for name, update in updates[0].items():
        torch.testing.assert_close(updates[1][name], update, rtol=1e-5, atol=1e-5)
    assert max(update.abs().max() for update in updates[0].values()) > 1e-2


@pytest.mark.parametrize("num_images", [[3, 0, 2], [0, 0, 0]])
def test_autocast_trains(make_lively_model, make_tensors, without_dropout, num_images):
    model, batch = without_dropout(make_lively_model()), make_tensors(num_images)
    exact = model(**batch)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch)
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.dtype == output.image_weights.dtype == output.image_gates.dtype == torch.float32
    assert torch.equal(output.image_weights, exact.image_weights)
    assert output.loss.item() == pytest.approx(exact.loss.item(), rel=0.05)
    output.loss.backward()
    for name, gradient in gradients(model).items():
        assert gradient is not None, name
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all(), name


def test_alpha_learns_in_bfloat16(make_lively_model, make_tensors, without_dropout):
    model = without_dropout(make_lively_model()).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    model(**make_tensors([3, 2])).loss.backward()
    optimizer.step()
    # Adam's first step is the learning rate; in bfloat16 10 +- 0.001 is 10
    scale = model.model.image_weighting.quality_scale
    assert abs(scale.item() - 10) == pytest.approx(1e-3, rel=1e-2)


def test_eight_posts_are_learned_by_heart_and_only_by_their_pictures(make_model, tiny_processor, make_pictures):
    # Four texts, each twice, tagged by what is in the picture with the high scores: no text can tell.
    texts = [["paris", "wins"], ["in", "jordan"], ["washington", "the", "red"], ["zoo", "again", "paris"]]
    pictures = make_pictures(16)
    words = [text for text in texts for _ in range(2)]
    tags = {0: ["B-PER", "O", "O"], 1: ["B-LOC", "I-LOC", "O"]}
    labels = [tags[post % 2][: len(text)] for post, text in enumerate(words)]
    model = make_model(initial_gate_bias=2.0)
    batch = tiny_processor(
        words=words,
        images=[pictures[2 * post : 2 * post + 2] for post in range(8)],
        quality_scores=[[0.9, 0.4]] * 8,
        relevance_scores=[[0.3, 0.2]] * 8,
        word_labels=[[model.config.label2id[label] for label in post] for post in labels],
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)

    def score(**change):
        predictions = model.eval()(**{**batch, **change}).predictions.tolist()
        return f1_score(labels, [[model.config.labels[tag] for tag in post if tag != -100] for post in predictions])

    assert score() < 0.5
    for _ in range(60):
        loss = model.train()(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.02:
            break
    assert score() == 1
    assert score(pixel_values=None, image_mask=None, quality_scores=None, relevance_scores=None) < 1
