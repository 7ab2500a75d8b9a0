"""The facts that the whole model must hold: what changes nothing, what ablations and missing scores mean, shapes."""

import math

import pytest
import torch
from transformers.utils import logging

from modeling_iqcr import IQCRModel

ABLATIONS = [
    {},
    {"use_quality": False},
    {"use_relevance": False},
    {"use_quality": False, "use_relevance": False, "use_gate": False},
    {"use_gate": False, "renormalize_weights": True},
    {"attention_prior": True, "initial_gate_bias": 2.0},
    {"norm_first": True, "use_crf": False},
    {"num_self_attention_layers": 0, "num_cross_attention_layers": 2},
]
IMAGE_KEYS = ("pixel_values", "image_mask", "quality_scores", "relevance_scores")


def run(model, batch):
    """The answer without labels."""
    with torch.no_grad():
        return model(**{name: tensor for name, tensor in batch.items() if name != "labels"})


def take(batch, posts):
    return {name: tensor[posts] for name, tensor in batch.items()}


# What changes nothing


@pytest.mark.parametrize("fields", ABLATIONS)
def test_permuting_images_with_their_scores_changes_no_tag(make_lively_model, make_tensors, fields):
    model, batch = make_lively_model(**fields), make_tensors([3, 3])
    before = run(model, batch)
    for order in ([2, 0, 1], [1, 0, 2]):
        after = run(model, batch | {name: batch[name][:, order] for name in IMAGE_KEYS})
        assert torch.equal(before.predictions, after.predictions)
        torch.testing.assert_close(before.logits, after.logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(before.image_weights[:, order], after.image_weights, rtol=0, atol=1e-6)
        torch.testing.assert_close(before.image_gates[:, order], after.image_gates, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fields", ABLATIONS)
def test_another_post_of_the_batch_changes_nothing(make_lively_model, make_tensors, fields):
    model, batch, other = make_lively_model(**fields), make_tensors([2, 3, 0, 1]), make_tensors([2, 3, 3, 1], seed=1)
    # longer than any other, another text, other pictures and scores
    changed = {name: torch.cat([batch[name][:3], other[name][3:]]) for name in batch}
    before, after = run(model, batch), run(model, changed)
    assert torch.equal(before.logits[:3], after.logits[:3])  # to the bit
    assert torch.equal(before.predictions[:3], after.predictions[:3])
    assert not torch.equal(before.logits[3], after.logits[3])
    alone = run(model, take(batch, [1]))
    torch.testing.assert_close(before.logits[1:2], alone.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fields", ABLATIONS)
def test_longer_padding_of_text_and_images_changes_nothing(make_lively_model, make_tensors, fields):
    model, batch = make_lively_model(**fields), make_tensors([2, 0, 1])
    longer = {}
    for name, tensor in batch.items():
        filler = 7 if name in ("input_ids", "pixel_values") else 0.9 if name.endswith("scores") else 0
        extra = torch.full((3, 5, *tensor.shape[2:]), filler, dtype=tensor.dtype)
        longer[name] = torch.cat([tensor, extra], dim=1)
    before, after = run(model, batch), run(model, longer)
    length = batch["input_ids"].shape[1]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(before.logits[real], after.logits[:, :length][real], rtol=1e-5, atol=1e-5)
    assert torch.equal(before.predictions, after.predictions[:, :length])
    assert (after.predictions[:, length:] == -100).all()
    torch.testing.assert_close(before.image_weights, after.image_weights[:, :2], rtol=0, atol=1e-6)
    assert not after.image_weights[:, 2:].any()
    assert not after.image_gates[:, 2:].any()


@pytest.mark.parametrize("fields", ABLATIONS)
@pytest.mark.parametrize("filler", [0.3, math.nan, math.inf])
def test_pixels_and_scores_of_padded_slots_change_nothing(make_lively_model, make_tensors, fields, filler):
    model, batch = make_lively_model(**fields), make_tensors([2, 0, 3, 1])
    changed = {
        name: batch[name].masked_fill(~batch["image_mask"].view(4, 3, *[1] * (batch[name].dim() - 2)), filler)
        for name in IMAGE_KEYS
        if name != "image_mask"
    }
    before, after = run(model, batch), run(model, batch | changed)
    assert torch.equal(before.logits, after.logits)  # to the bit
    assert torch.equal(before.image_weights, after.image_weights)


def test_padding_sub_tokens_change_nothing(make_lively_model, make_tensors):
    model, batch = make_lively_model(), make_tensors([2, 0, 3])
    real = batch["attention_mask"].bool()
    changed = batch | {"input_ids": batch["input_ids"].where(real, 39)}
    assert torch.equal(run(model, batch).logits[real], run(model, changed).logits[real])


def test_pictures_and_scores_change_something(make_lively_model, make_tensors):
    model, batch = make_lively_model(), make_tensors([2])
    before = run(model, batch).logits
    for name in ("pixel_values", "quality_scores", "relevance_scores"):
        assert (before - run(model, batch | {name: batch[name].flip(1)}).logits).abs().max() > 1e-2


# Ablated, missing, absent


def test_one_image_is_the_same_whatever_its_scores_and_the_gate(make_lively_model, make_tensors):
    batch = make_tensors([1, 1])
    plain = make_lively_model(use_quality=False, use_relevance=False, use_gate=False)
    expected = run(plain, batch)
    for bias in (-4.0, 0.0, 4.0):
        model = make_lively_model(initial_gate_bias=bias)
        model.load_state_dict(plain.state_dict(), strict=False)  # the weighting keeps its own, random parameters
        output = run(model, batch)
        assert output.image_weights.tolist() == [[1], [1]]
        assert 0 < output.image_gates.min() < output.image_gates.max() < 1
        assert torch.equal(output.logits, expected.logits)  # to the bit


@pytest.mark.parametrize("name", ["quality_scores", "relevance_scores"])
def test_a_missing_score_equals_the_mean_exactly(make_lively_model, make_tensors, name):
    model, batch = make_lively_model(mean_quality_score=0.63, mean_relevance_score=0.21), make_tensors([3, 2])
    mean = {"quality_scores": 0.63, "relevance_scores": 0.21}[name]
    one_missing, one_mean = batch[name].clone(), batch[name].clone()
    one_missing[0, 1], one_mean[0, 1] = math.nan, mean
    missing, explicit = run(model, batch | {name: one_missing}), run(model, batch | {name: one_mean})
    assert torch.equal(missing.logits, explicit.logits)
    assert torch.equal(missing.image_gates, explicit.image_gates)
    assert not torch.equal(missing.logits, run(model, batch).logits)
    all_mean = run(model, batch | {name: torch.full_like(batch[name], mean)})
    for absent in (None, torch.full_like(batch[name], math.nan)):
        assert torch.equal(run(model, batch | {name: absent}).logits, all_mean.logits)


def test_all_scores_missing_is_equal_weights_and_not_an_ablation(make_lively_model, make_tensors):
    batch = make_tensors([3, 2, 1]) | {"quality_scores": None, "relevance_scores": None}
    output = run(make_lively_model(), batch)
    expected = [[1 / 9] * 3, [1 / 4] * 2 + [0], [1, 0, 0]]  # 1/N for each of the two factors
    torch.testing.assert_close(output.image_weights, torch.tensor(expected))
    ablated = make_lively_model(use_quality=False, use_relevance=False)
    assert run(ablated, batch).image_weights.tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("fields", "inputs"),
    [
        ({}, 2 * 32 + 2),
        ({"use_quality": False}, 2 * 32 + 1),
        ({"use_relevance": False}, 2 * 32 + 1),
        ({"use_gate": False}, None),
        ({"use_quality": False, "use_relevance": False}, None),
    ],
)
def test_an_ablated_score_is_gone_from_the_weights_and_from_the_gate(make_lively_model, make_tensors, fields, inputs):
    model, batch = make_lively_model(**fields), make_tensors([3])
    gate = model.model.image_weighting.gate
    assert inputs == (gate and gate[0].in_features)
    names = [name for name, _ in model.named_parameters()]
    for switch, scale in (("use_quality", "quality_scale"), ("use_relevance", "relevance_scale")):
        is_used = fields.get(switch, True)
        assert (f"model.image_weighting.{scale}" in names) == is_used
        scores = switch.removeprefix("use_") + "_scores"
        changed = run(model, batch | {scores: batch[scores].flip(1)})
        assert torch.equal(changed.logits, run(model, batch).logits) != is_used


def test_both_ablated_is_plain_fusion(make_lively_model, make_tensors):
    batch = make_tensors([3, 2])
    model = make_lively_model(use_quality=False, use_relevance=False, use_gate=False)
    weighted_states = []
    model.model.image_weighting.register_forward_hook(
        lambda m, args, output: weighted_states.append((args[1], output[0]))
    )
    output = run(model, batch)
    assert torch.equal(*weighted_states[0])
    assert torch.equal(output.image_weights, batch["image_mask"].float())
    assert torch.equal(output.image_gates, batch["image_mask"].float())


def test_text_only_has_no_vision_and_reads_no_picture(make_lively_model, make_tensors):
    model, batch = make_lively_model(use_images=False), make_tensors([3, 2])
    assert not [name for name, _ in model.named_parameters() if "image" in name or "vision" in name or "cross" in name]
    output = run(model, batch)
    assert output.image_weights is None
    assert output.image_gates is None
    assert torch.equal(output.logits, run(model, {n: t for n, t in batch.items() if n not in IMAGE_KEYS}).logits)


def test_the_weights_and_gates_of_the_whole_model_by_hand(make_model, make_tensors):
    model, batch = (
        make_model(initial_quality_scale=2.0, initial_relevance_scale=4.0, initial_gate_bias=2.0),
        make_tensors([2]),
    )
    batch |= {"quality_scores": torch.tensor([[0.9, 0.4]]), "relevance_scores": torch.tensor([[0.3, 0.1]])}
    model.model.image_weighting.gate[-1].weight.data.zero_()
    output = run(model, batch)
    # Eq. 5: 2 * (0.9 - 0.4) = 1; Eq. 6: 4 * (0.3 - 0.1) = 0.8
    best = 1 / (1 + math.exp(-1)) * 1 / (1 + math.exp(-0.8))
    worst = 1 / (1 + math.exp(1)) * 1 / (1 + math.exp(0.8))
    assert output.image_weights[0].tolist() == pytest.approx([best, worst])
    assert output.image_gates[0].tolist() == pytest.approx([1 / (1 + math.exp(-2))] * 2)  # 0.88


def test_the_attention_prior_multiplies_the_attention_by_the_scale_of_equation_8(make_lively_model, make_tensors):
    batch, eager = make_tensors([3, 1, 0, 2]), {"attn_implementation": "eager", "initial_gate_bias": 1.0}
    plain, prior = make_lively_model(**eager), make_lively_model(attention_prior=True, **eager)
    asked = batch | {"output_attentions": True}
    before, after = run(plain, asked), run(prior, asked)
    scale = 1 - after.image_gates * (1 - after.image_weights)
    weighted = before.cross_attentions[0] * scale[:, None, None, :]
    weighted = weighted / weighted.sum(-1, keepdim=True).clamp(min=1e-9)
    torch.testing.assert_close(after.cross_attentions[0], weighted, rtol=0, atol=1e-6)
    assert not torch.allclose(before.cross_attentions[0], weighted, rtol=0, atol=1e-2)
    assert torch.equal(before.logits[1:3], after.logits[1:3])  # one image or none: nothing to prefer


# Batches without pictures


@pytest.mark.parametrize("fields", ABLATIONS)
def test_a_batch_without_pictures_is_the_same_however_it_is_said(make_lively_model, make_tensors, fields):
    model, batch = make_lively_model(**fields), make_tensors([0, 0, 0])
    text = {name: tensor for name, tensor in batch.items() if name not in IMAGE_KEYS}
    outputs = [
        run(model, batch),  # padded slots
        run(model, text),
        run(model, text | {"image_mask": batch["image_mask"], "quality_scores": batch["quality_scores"]}),
        run(model, text | {"pixel_values": batch["pixel_values"][:, :0], "image_mask": batch["image_mask"][:, :0]}),
    ]
    for output in outputs:
        assert output.logits.isfinite().all()
        torch.testing.assert_close(output.logits, outputs[0].logits, rtol=0, atol=1e-6)
        assert not output.image_weights.any()
    # and the same as that post beside one with pictures
    mixed = run(model, {n: torch.cat([t[:2], make_tensors([0, 0, 1])[n][2:]]) for n, t in batch.items()})
    torch.testing.assert_close(mixed.logits[:2], outputs[0].logits[:2], rtol=0, atol=1e-6)


def test_only_real_images_enter_the_vision_backbone(make_lively_model, make_tensors):
    model, seen = make_lively_model(), []
    model.model.vision_model.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    batch = make_tensors([2, 0, 3])
    run(model, batch)
    assert torch.equal(seen[0], batch["pixel_values"][batch["image_mask"]])  # five rows
    run(model, make_tensors([0, 0]))
    assert len(seen) == 1  # not run at all
    model.train()
    run(model, make_tensors([0, 0]))
    assert seen[1].tolist() == torch.zeros(1, 3, 16, 16).tolist()  # one dummy, for the other processes' sake


@pytest.mark.parametrize("num_images", [[3, 0, 2], [1], [0, 0]])
@pytest.mark.parametrize("training", [False, True])
def test_packed_images_are_the_padded_ones(make_lively_model, make_tensors, num_images, training):
    model, batch = make_lively_model(dropout=0.0).train(training), make_tensors(num_images)
    packed = batch | {"pixel_values": batch["pixel_values"][batch["image_mask"]]}
    outputs = []
    for inputs in (batch, packed):
        torch.manual_seed(0)  # the backbones' dropout
        outputs.append(model(**inputs))
    for name in ("loss", "logits", "image_weights", "image_gates"):
        assert torch.equal(outputs[0][name], outputs[1][name]), name
    if training:
        gradients = [torch.autograd.grad(output.loss, list(model.parameters())) for output in outputs]
        assert all(torch.equal(padded, alone) for padded, alone in zip(*gradients, strict=True))


def test_dropped_images_leave_packed_pixels_too(make_lively_model, make_tensors):
    model, batch = make_lively_model(dropout=0.0, image_dropout=0.5).train(), make_tensors([2, 1, 3, 1, 2, 1])
    packed = batch | {"pixel_values": batch["pixel_values"][batch["image_mask"]]}
    losses = []
    for inputs in (batch, packed):
        torch.manual_seed(3)
        losses.append(model(**inputs).loss)
    assert torch.equal(*losses)
    assert losses[0] != model.eval()(**batch).loss


def test_no_mask_means_that_all_images_and_sub_tokens_are_real(make_lively_model, make_tensors):
    model, batch = make_lively_model(), take(make_tensors([2, 2, 2, 2]), [3, 3])
    explicit = run(model, batch)
    implicit = run(model, {n: t for n, t in batch.items() if n not in ("attention_mask", "image_mask")})
    assert torch.equal(explicit.logits, implicit.logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pixel_values": torch.zeros(2, 3, 16, 16), "image_mask": None},
            r"`pixel_values` must be \(posts, images, .*for 2 posts, got \(2, 3",
        ),
        ({"pixel_values": torch.zeros(2, 3, 16, 16)}, r"for 2 posts with 2 marks, got \(2, 2\) with 3"),
        (
            {"pixel_values": torch.zeros(3, 3, 16, 16), "image_mask": torch.ones(3, 1).bool()},
            r"for 2 posts with 3 marks, got \(3, 1\)",
        ),
        ({"pixel_values": torch.zeros(3, 3, 16, 16, dtype=torch.uint8)}, "not normalised: call `processor.norm"),
        ({"pixel_values": torch.zeros(6, 1, 3, 16, 16)}, r"for 2 posts, got \(6, 1, 3, 16, 16\)"),
        ({"image_mask": torch.ones(2, 3).bool()}, r"`image_mask` must be \(posts, images\) = \(2, 2\).*got \(2, 3\)"),
        ({"pixel_values": None}, "`image_mask` marks images, but there are no `pixel_values`"),
        (
            {"quality_scores": torch.zeros(2, 3)},
            r"`quality_scores` must be \(posts, images\) = \(2, 2\), got \(2, 3\)",
        ),
        ({"relevance_scores": torch.zeros(2)}, r"`relevance_scores` must be \(posts, images\) = \(2, 2\), got \(2,\)"),
        ({"labels": torch.zeros(2, 2).long()}, r"`labels` must have the shape of `input_ids` \(2, 5\), got \(2, 2\)"),
        (
            {"word_mask": torch.ones(2, 4).bool()},
            r"`word_mask` must .*got \(2, 4\): one entry per sub-token, not per w",
        ),
        ({"output_attentions": True}, "type 'sdpa' returns no maps"),
    ],
)
def test_errors_say_what_was_wrong(make_lively_model, make_tensors, change, message):
    with pytest.raises(ValueError, match=message):
        make_lively_model()(**make_tensors([2, 1]) | change)


# What transformers expects of any model


@pytest.mark.parametrize("fields", ABLATIONS)
def test_eager_and_sdpa_agree(make_lively_model, make_tensors, fields):
    fast, slow = make_lively_model(**fields), make_lively_model(**fields, attn_implementation="eager")
    slow.load_state_dict(fast.state_dict())
    assert fast.config._attn_implementation == "sdpa"
    batch = make_tensors([3, 0, 1, 2])
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(run(fast, batch).logits[real], run(slow, batch).logits[real], rtol=1e-5, atol=1e-5)
    fast.set_attn_implementation("eager")
    assert torch.equal(run(fast, batch).logits, run(slow, batch).logits)


def test_hidden_states_and_attentions(make_lively_model, make_tensors):
    model = make_lively_model(attn_implementation="eager", num_self_attention_layers=2, num_cross_attention_layers=3)
    batch = make_tensors([2, 0, 3])
    output = run(model, batch | {"output_hidden_states": True, "output_attentions": True})
    num_posts, length = batch["input_ids"].shape
    assert [tuple(states.shape) for states in output.hidden_states] == [(num_posts, length, 32)] * (3 + 2 + 3)
    assert [tuple(m.shape) for m in output.attentions] == [(num_posts, 4, length, length)] * (2 + 2)
    assert [tuple(m.shape) for m in output.cross_attentions] == [(num_posts, 4, length, 3)] * 3
    for attention in output.attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
        assert not attention.transpose(1, 3)[batch["attention_mask"] == 0].any()
    for attention in output.cross_attentions:
        has_images = batch["image_mask"].any(1).float()[:, None, None].expand_as(attention[..., 0])
        torch.testing.assert_close(attention.sum(-1), has_images)
        assert not attention.transpose(1, 3)[~batch["image_mask"]].any()
    # the last state is what the classifier reads
    assert torch.equal(model.classifier(output.hidden_states[-1]), output.logits)
    text_only = run(
        make_lively_model(attn_implementation="eager", use_images=False), batch | {"output_attentions": True}
    )
    assert len(text_only.attentions) == 3
    assert text_only.cross_attentions is None
    assert text_only.hidden_states is None


def test_tuples_hold_the_fields_in_their_order(make_lively_model, make_tensors):
    model, batch = make_lively_model(), make_tensors([2, 0])
    output, as_tuple = model(**batch), model(**batch, return_dict=False)
    assert list(output) == ["loss", "logits", "predictions", "image_weights", "image_gates"]
    for left, right in zip(output.values(), as_tuple, strict=True):
        assert torch.equal(left, right)
    model.config.return_dict = False
    assert isinstance(model(**batch), tuple)


def test_the_base_model_gives_the_states_that_the_head_reads(make_lively_model, make_tensors):
    model, batch = make_lively_model(), make_tensors([2, 0])
    base = model.base_model
    assert isinstance(base, IQCRModel)
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "word_mask")}
    output = base(**inputs)
    assert torch.equal(model.classifier(output.last_hidden_state), run(model, batch).logits)
    assert tuple(output.image_states.shape) == (2, 2, 32)
    assert not output.image_states[1].any()
    assert isinstance(base(**inputs, return_dict=False), tuple)


def test_input_embeddings_can_be_read_replaced_and_resized(make_lively_model, make_tensors):
    model, batch = make_lively_model(), make_tensors([1, 0])
    embeddings = model.get_input_embeddings()
    assert embeddings is model.model.text_model.embeddings.word_embeddings
    before, old_size = run(model, batch).logits, embeddings.num_embeddings
    model.resize_token_embeddings(old_size + 3)
    assert model.get_input_embeddings().num_embeddings == old_size + 3
    assert model.config.text_config.vocab_size == old_size + 3
    assert torch.equal(run(model, batch).logits, before)
    fresh = torch.nn.Embedding(old_size, 32)
    model.set_input_embeddings(fresh)
    assert model.get_input_embeddings() is fresh is model.model.get_input_embeddings()
    assert not torch.equal(run(model, batch).logits, before)
    assert model.get_output_embeddings() is None


def test_fresh_weights_start_where_the_configuration_says(make_model):
    model = make_model(initial_quality_scale=3.5, initial_relevance_scale=-1.0, initial_gate_bias=2.0)
    weighting = model.model.image_weighting
    assert (weighting.quality_scale.item(), weighting.relevance_scale.item()) == (3.5, -1.0)
    assert weighting.gate[-1].bias.item() == 2.0
    assert weighting.gate[0].bias.abs().max() == 0
    assert make_model(initializer_range=0.5).classifier.weight.std().item() == pytest.approx(0.5, rel=0.2)
    for score in model.crf.parameters():
        assert -0.1 <= score.min() < score.max() <= 0.1


def test_image_dropout_hides_all_images_of_some_posts_in_training(make_lively_model, make_tensors, without_dropout):
    model, batch = without_dropout(make_lively_model(image_dropout=0.4)), make_tensors([2, 3] * 100)
    torch.manual_seed(0)
    seen = run(model, batch).image_weights > 0
    kept = seen.any(1)
    assert torch.equal(seen[kept], batch["image_mask"][kept])  # a post keeps all its images or none
    assert 90 <= kept.sum() <= 150  # 120 expected, standard deviation 7
    assert (run(model.eval(), batch).image_weights > 0).sum() == 500
    all_hidden = run(make_lively_model(image_dropout=1.0).train(), batch)
    assert not all_hidden.image_weights.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_close(make_lively_model, make_tensors, dtype):
    model, batch = make_lively_model(), make_tensors([3, 0, 1])
    exact = model(**batch)
    half = model.to(dtype)(**batch)
    assert half.logits.dtype == dtype
    assert half.image_weights.dtype == half.loss.dtype == torch.float32
    assert torch.equal(half.image_weights, exact.image_weights)
    assert half.loss.item() == pytest.approx(exact.loss.item(), rel=0.05)
    torch.testing.assert_close(half.logits.float(), exact.logits, rtol=0, atol=0.3)  # of a spread of 2 to 3


def test_double_precision_reaches_the_loss(make_lively_model, make_tensors):
    model, batch = make_lively_model(), make_tensors([3, 0, 1])
    exact = model(**batch)
    double = model.double()(**batch)
    assert double.logits.dtype == double.loss.dtype == torch.float64
    assert model.model.image_weighting.quality_scale.dtype == torch.float32
    assert double.loss.item() == pytest.approx(exact.loss.item(), rel=1e-5)
    assert double.loss.item() != pytest.approx(exact.loss.item(), rel=1e-12)


def test_a_model_built_under_another_default_dtype_keeps_its_scales(make_lively_model, make_tensors):
    torch.set_default_dtype(torch.float64)
    try:
        model = make_lively_model()
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.model.image_weighting.quality_scale.dtype == torch.float32
    assert model(**make_tensors([2, 0])).loss.dtype == torch.float64


def test_nothing_is_warned_about(make_lively_model, make_tensors, caplog, recwarn):
    logging.enable_propagation()
    try:
        make_lively_model().train()(**make_tensors([2, 0])).loss.backward()
    finally:
        logging.disable_propagation()
    assert not caplog.records
    assert not [warning for warning in recwarn if "modeling_iqcr" in str(warning.filename)]
