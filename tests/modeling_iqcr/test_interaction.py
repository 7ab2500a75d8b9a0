"""The interaction layers against those of torch with the same weights, and the prior against its definition."""

import pytest
import torch
from torch import nn

from modeling_iqcr.interaction import MultiHeadAttention, TransformerLayer

D, HEADS, WIDTH = 12, 3, 20
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Give torch's attention our weights."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def make_layer(norm_first: bool) -> tuple[TransformerLayer, nn.TransformerEncoderLayer]:
    """Our layer and torch's with the same weights, norms and biases included, in float64."""
    torch.manual_seed(0)
    ours = TransformerLayer(D, HEADS, WIDTH, dropout=0.0, norm_first=norm_first).double()
    for parameter in ours.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    theirs = nn.TransformerEncoderLayer(D, HEADS, WIDTH, 0.0, "gelu", batch_first=True, norm_first=norm_first).double()
    copy_attention(ours.attention, theirs.self_attn)
    theirs.norm1.load_state_dict(ours.attention_norm.state_dict())
    theirs.norm2.load_state_dict(ours.feed_forward_norm.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[2].state_dict())
    return ours, theirs


def states(length: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(3, length, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_self_attention_layer_equals_torch(norm_first, eager):
    ours, theirs = make_layer(norm_first)
    x = states(5)
    expected = theirs(x, src_key_padding_mask=~MASK)
    actual, attention = ours(x, None, MASK, eager=eager)
    torch.testing.assert_close(actual[MASK], expected[MASK], rtol=0, atol=1e-12)
    assert (attention is not None) == eager
    expected[MASK].sum().backward()
    actual[MASK].sum().backward()
    torch.testing.assert_close(ours.attention.output.weight.grad, theirs.self_attn.out_proj.weight.grad)
    torch.testing.assert_close(ours.feed_forward[0].weight.grad, theirs.linear1.weight.grad)


@pytest.mark.parametrize("eager", [True, False])
def test_cross_attention_equals_torch(eager):
    ours, _ = make_layer(False)
    theirs = nn.MultiheadAttention(D, HEADS, batch_first=True).double()
    copy_attention(ours.attention, theirs)
    queries, keys = states(4, seed=2), states(5, seed=3)
    expected, maps = theirs(queries, keys, keys, key_padding_mask=~MASK, average_attn_weights=False)
    actual, attention = ours.attention(queries, keys, MASK, eager=eager)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    if eager:
        torch.testing.assert_close(attention, maps, rtol=0, atol=1e-12)
        assert not attention.transpose(1, 3)[~MASK].any()


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_cross_layer_is_residual_norm_and_feed_forward_around_the_attention(norm_first, eager):
    ours, theirs = make_layer(norm_first)
    queries, keys = states(4, seed=2), states(5, seed=3)
    query = theirs.norm1(queries) if norm_first else queries
    attended, _ = theirs.self_attn(query, keys, keys, key_padding_mask=~MASK)
    attended[2] = 0  # the post without keys below
    x = queries + attended
    x = x if norm_first else theirs.norm1(x)
    fed = theirs.linear2(nn.functional.gelu(theirs.linear1(theirs.norm2(x) if norm_first else x)))
    expected = x + fed if norm_first else theirs.norm2(x + fed)
    mask = MASK.clone()
    mask[2] = False
    actual, _ = ours(queries, keys, mask, eager=eager)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("num_keys", [0, 2])
def test_a_post_without_keys_gets_zero_and_no_nan(eager, num_keys):
    attention = make_layer(False)[0].attention
    mask = torch.zeros(3, num_keys, dtype=torch.bool)
    mask[0] = True
    queries, keys = states(4).requires_grad_(), states(num_keys).requires_grad_()
    attended, attention_map = attention(queries, keys, mask, eager=eager)
    assert attended[0].any() == (num_keys > 0)
    assert not attended[1:].any()
    assert not eager or not attention_map[1:].any()
    attended.square().sum().backward()
    for tensor in (queries, keys, *attention.parameters()):
        assert tensor.grad.isfinite().all()
    assert not keys.grad[1:].any()
    assert not queries.grad[1:].any()


@pytest.mark.parametrize("eager", [True, False])
def test_a_prior_of_log_s_multiplies_the_attention_by_s(eager):
    attention = make_layer(False)[0].attention
    queries, keys = states(4, seed=2), states(5, seed=3)
    s = torch.rand(3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    _, plain = attention(queries, keys, MASK, eager=True)
    weighted = plain * s[:, None, None, :]
    weighted = weighted / weighted.sum(-1, keepdim=True)
    value = attention.value(keys).unflatten(-1, (HEADS, -1)).transpose(1, 2)
    expected = attention.output((weighted @ value).transpose(1, 2).flatten(2))
    actual, _ = attention(queries, keys, MASK, key_prior=s.log(), eager=eager)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_eager_and_sdpa_agree_in_every_dtype(dtype):
    layer = make_layer(False)[0].to(dtype)
    mask = MASK.clone()
    mask[2] = False
    x, prior = states(5).to(dtype), torch.full((3, 5), -80.0)
    prior[:, 1] = 0
    eager, _ = layer(x, None, mask, prior, eager=True)
    fast, _ = layer(x, None, mask, prior, eager=False)
    assert fast.isfinite().all()
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(eager, fast, rtol=0, atol=tolerance)


@pytest.mark.parametrize("eager", [True, False])
def test_dropout_works_in_training_alone(eager):
    layer = TransformerLayer(D, HEADS, WIDTH, dropout=0.5).double()
    x = states(5)
    first, second = (layer.attention(x, x, MASK, eager=eager)[0] for _ in range(2))
    assert not torch.equal(first, second)
    layer.eval()
    assert torch.equal(*(layer(x, None, MASK, eager=eager)[0] for _ in range(2)))


def test_heads_that_do_not_divide_the_width_are_an_error():
    with pytest.raises(ValueError, match="`hidden_size` 12 is not a multiple of `num_heads` 5"):
        MultiHeadAttention(12, 5, 0.0)
