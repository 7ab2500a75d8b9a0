"""Eq. 5 to 8 against numbers worked by hand."""

import math

import pytest
import torch

from modeling_iqcr.image_weighting import ImageWeighting, normalize_scores

D = 2
QUALITY = [0.2, 0.9, 0.4]
RELEVANCE = [0.31, 0.22, 0.18]
# Eq. 5 with alpha = 10: exp(2), exp(9), exp(4) over their sum. Eq. 6 with beta = 20: exp(6.2), exp(4.4), exp(3.6).
W_QUAL = [math.exp(x) / (math.exp(2) + math.exp(9) + math.exp(4)) for x in (2, 9, 4)]
W_CORR = [math.exp(x) / (math.exp(6.2) + math.exp(4.4) + math.exp(3.6)) for x in (6.2, 4.4, 3.6)]


def make(use_quality=True, use_relevance=True, scales=(10.0, 20.0), **fields):
    """The module with alpha and beta set, as a model's initialisation does."""
    torch.manual_seed(0)
    module = ImageWeighting(D, dropout=0.0, use_quality=use_quality, use_relevance=use_relevance, **fields)
    for scale, value in zip((module.quality_scale, module.relevance_scale), scales, strict=True):
        if scale is not None:
            scale.data.fill_(value)
    return module


def inputs(num_images=(3,), dtype=torch.float32):
    """Posts with the scores above, padded to 3 slots with scores that would win; all states 1, 2, 3, ..."""
    mask = torch.arange(3) < torch.tensor(num_images)[:, None]
    shape = (len(num_images), 3)
    states = torch.arange(1.0, len(num_images) * 3 * D + 1).reshape(*shape, D)
    return {
        "text_state": torch.full((len(num_images), D), 0.5, dtype=dtype),
        "image_states": states.to(dtype),
        "image_mask": mask,
        "quality_scores": torch.tensor(QUALITY).expand(shape).where(mask, 1.0),
        "relevance_scores": torch.tensor(RELEVANCE).expand(shape).where(mask, 1.0),
    }


def test_equation_5_and_6_by_hand():
    scores, mask = torch.tensor([QUALITY, QUALITY, QUALITY]), torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0]]).bool()
    weights = normalize_scores(scores, torch.tensor(10.0), mask)
    assert weights[0].tolist() == pytest.approx(W_QUAL)
    assert W_QUAL[1] == pytest.approx(0.992408, abs=1e-6)  # 8103.084 / (7.389 + 8103.084 + 54.598)
    assert weights[1].tolist() == pytest.approx([1 / (1 + math.exp(7)), 1 / (1 + math.exp(-7)), 0])
    assert weights[2].tolist() == [0, 1, 0]
    relevance = normalize_scores(torch.tensor([RELEVANCE]), torch.tensor(20.0), torch.ones(1, 3).bool())
    assert relevance[0].tolist() == pytest.approx(W_CORR)


def test_scores_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"\(1, 3\), got \(1, 2\): one score per image"):
        normalize_scores(torch.zeros(1, 2), torch.tensor(1.0), torch.ones(1, 3).bool())


@pytest.mark.parametrize(
    ("fields", "weights", "num_scores"),
    [
        ({}, [q * c for q, c in zip(W_QUAL, W_CORR, strict=True)], 2),
        ({"use_quality": False}, W_CORR, 1),
        ({"use_relevance": False}, W_QUAL, 1),
        ({"use_quality": False, "renormalize_weights": True}, W_CORR, 1),
        (
            {"renormalize_weights": True},
            # the product's exponents add up: 2 + 6.2, 9 + 4.4, 4 + 3.6
            [math.exp(x) / (math.exp(8.2) + math.exp(13.4) + math.exp(7.6)) for x in (8.2, 13.4, 7.6)],
            2,
        ),
    ],
)
def test_equation_7_and_8_by_hand(fields, weights, num_scores):
    module, batch = make(**fields), inputs()
    assert module.gate[0].in_features == 2 * D + num_scores  # an ablated score is no input of the gate
    # All weights 0 and a last bias of ln 3: G = 1 / (1 + 1/3) = 0.75 for every image.
    for parameter in module.gate.parameters():
        parameter.data.zero_()
    module.gate[-1].bias.data.fill_(math.log(3))
    states, actual_weights, gates = module(**batch)
    assert actual_weights[0].tolist() == pytest.approx(weights)
    assert gates[0].tolist() == pytest.approx([0.75] * 3)
    expected = [[(0.75 * w + 0.25) * h for h in row] for w, row in zip(weights, [[1, 2], [3, 4], [5, 6]], strict=True)]
    assert states[0].flatten().tolist() == pytest.approx([h for row in expected for h in row])


def test_the_gate_by_hand():
    module, batch = make(), inputs()
    first, last = module.gate[0], module.gate[-1]
    # columns: h_text (2), h_img (2), Q, C
    first.weight.data.copy_(torch.tensor([[0.1, 0.2, 0.3, -0.4, 1.0, 2.0], [-0.5, 0.6, -0.1, 0.2, -2.0, 4.0]]))
    first.bias.data.copy_(torch.tensor([0.05, -0.05]))
    last.weight.data.copy_(torch.tensor([[1.5, -0.7]]))
    last.bias.data.fill_(0.3)
    _, _, gates = module(**batch)
    for image, (h, q, c) in enumerate(zip([(1, 2), (3, 4), (5, 6)], QUALITY, RELEVANCE, strict=True)):
        a = 0.1 * 0.5 + 0.2 * 0.5 + 0.3 * h[0] - 0.4 * h[1] + 1.0 * q + 2.0 * c + 0.05
        b = -0.5 * 0.5 + 0.6 * 0.5 - 0.1 * h[0] + 0.2 * h[1] - 2.0 * q + 4.0 * c - 0.05
        gelu_a, gelu_b = (x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in (a, b))
        expected = 1 / (1 + math.exp(-(1.5 * gelu_a - 0.7 * gelu_b + 0.3)))
        assert gates[0, image].item() == pytest.approx(expected, abs=1e-6)


def test_without_a_learned_gate_the_weights_apply_in_full():
    module = make(use_gate=False)
    assert module.gate is None
    states, weights, gates = module(**inputs())
    assert gates.tolist() == [[1, 1, 1]]
    assert states[0, 2].tolist() == pytest.approx([5 * W_QUAL[2] * W_CORR[2], 6 * W_QUAL[2] * W_CORR[2]])
    assert weights.sum() < 1


@pytest.mark.parametrize("renormalize_weights", [False, True])
def test_both_ablated_is_plain_fusion(renormalize_weights):
    module = make(use_quality=False, use_relevance=False, renormalize_weights=renormalize_weights)
    assert not list(module.parameters())
    batch = inputs((3, 2, 0))
    states, weights, _ = module(**batch)
    assert torch.equal(weights, batch["image_mask"].float())
    assert torch.equal(states, batch["image_states"] * batch["image_mask"][..., None])


@pytest.mark.parametrize("initial_bias", [-3.0, 0.0, 0.37, 5.0])
@pytest.mark.parametrize("fields", [{}, {"use_quality": False}, {"use_gate": False}, {"renormalize_weights": True}])
def test_one_image_is_left_as_it_is_whatever_the_gate_says(fields, initial_bias):
    module, batch = make(**fields), inputs((1,))
    if module.gate is not None:
        module.gate[-1].bias.data.fill_(initial_bias)
    states, weights, _ = module(**batch)
    assert weights.tolist() == [[1, 0, 0]]
    assert torch.equal(states[:, :1], batch["image_states"][:, :1])  # to the bit


FIELDS = [{}, {"use_quality": False}, {"use_relevance": False}, {"use_gate": False}, {"renormalize_weights": True}]


@pytest.mark.parametrize("fields", FIELDS)
def test_padding_and_posts_without_images_are_zero_and_give_no_nan(fields):
    module, batch = make(**fields), inputs((3, 1, 0))
    batch["image_states"].requires_grad_()
    outputs = module(**batch)
    for output in outputs:
        assert output.isfinite().all()
        assert not output[~batch["image_mask"]].any()
    (outputs[0].square().sum() + outputs[1].sum() + outputs[2].sum()).backward()
    for tensor in (batch["image_states"], *module.parameters()):
        assert tensor.grad.isfinite().all()
    assert not batch["image_states"].grad[2].any()
    assert module.quality_scale is None or module.quality_scale.grad != 0


@pytest.mark.parametrize("fields", FIELDS)
def test_padding_changes_nothing(fields):
    module, short, long = make(**fields), inputs((2, 2)), inputs((2, 2))
    short = {k: v[:, :2] if v.shape[1:2] == (3,) else v for k, v in short.items()}
    for alone, padded in zip(module(**short), module(**long), strict=True):
        torch.testing.assert_close(alone, padded[:, :2], rtol=0, atol=1e-7)


def test_renormalized_weights_sum_to_one_even_where_the_product_underflows():
    module = make(renormalize_weights=True, scales=(400.0, 400.0))
    quality, relevance = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.001]])  # exp(-400) is 0 in float32
    weights = module.weigh(quality, relevance, torch.ones(1, 2).bool())
    assert weights[0].tolist() == pytest.approx([1 / (1 + math.exp(0.4)), 1 / (1 + math.exp(-0.4))], abs=1e-4)


def test_permuting_images_permutes_their_weights():
    module, batch = make(), inputs((3, 3))
    order = [2, 0, 1]
    permuted = {k: v if k == "text_state" else v[:, order] for k, v in batch.items()}
    for before, after in zip(module(**batch), module(**permuted), strict=True):
        torch.testing.assert_close(before[:, order], after, rtol=0, atol=1e-6)


@pytest.mark.parametrize("convert", [torch.nn.Module.half, torch.nn.Module.bfloat16, lambda m: m.to(torch.bfloat16)])
def test_scales_and_weights_stay_in_float32(convert):
    module, batch = make(scales=(10.001, 20.003)), inputs()
    exact = module.weigh(batch["quality_scores"], batch["relevance_scores"], batch["image_mask"])
    module.quality_scale.grad = torch.tensor([1e-3])
    module = convert(module)
    assert module.gate[0].weight.dtype != torch.float32
    assert (
        module.quality_scale.dtype == module.relevance_scale.dtype == module.quality_scale.grad.dtype == torch.float32
    )
    assert module.state_dict()["quality_scale"] == torch.tensor(10.001)  # 10 in bfloat16
    states, weights, gates = module(**inputs(dtype=module.gate[0].weight.dtype))
    assert torch.equal(weights, exact)
    assert weights.dtype == gates.dtype == torch.float32
    assert states.dtype == module.gate[0].weight.dtype


def test_autocast_leaves_the_weights_in_float32():
    module, batch = make(scales=(10.001, 20.003)), inputs()
    exact = module.weigh(batch["quality_scores"], batch["relevance_scores"], batch["image_mask"])
    with torch.autocast("cpu", torch.bfloat16):
        states, weights, gates = module(**batch)
    assert torch.equal(weights, exact)
    assert states.dtype == gates.dtype == torch.float32
