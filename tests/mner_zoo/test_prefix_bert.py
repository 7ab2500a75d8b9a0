"""PrefixBert against the backbones of transformers, and its prefix against attention written out by hand."""

import math

import pytest
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, BertConfig

from mner_zoo.layers.prompt_mlp import PromptMlp
from mner_zoo.prefix_bert import PREFIX_TYPES, PrefixBert

B, T, P, D, HEADS, LAYERS = 3, 7, 4, 12, 3, 2
LENGTHS = [7, 4, 2]
PAD = 1
FIELDS = {
    "vocab_size": 50,
    "hidden_size": D,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 20,
    "max_position_embeddings": 40,
    "pad_token_id": PAD,
}


def make(model_type: str, enliven, **switches):
    """A backbone of transformers and ours with the same weights, which matter."""
    fields = FIELDS | ({"embedding_size": D} if model_type == "electra" else {})
    torch.manual_seed(0)
    config = CONFIG_MAPPING[model_type](**fields)
    has_pooler = model_type != "electra"
    theirs = enliven(AutoModel.from_config(config, **({"add_pooling_layer": False} if has_pooler else {})).eval())
    ours = PrefixBert(config, **switches).eval()
    ours.load_state_dict(theirs.state_dict())  # strict: the names are the same
    return theirs, ours


@pytest.fixture
def text() -> dict[str, torch.Tensor]:
    """Three posts with padding."""
    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(4, 50, (B, T), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids.where(mask, PAD), "attention_mask": mask.long()}


def no_prefix(num_posts: int = B) -> tuple[list, torch.Tensor]:
    empty = torch.zeros(num_posts, HEADS, 0, D // HEADS)
    return [(empty, empty)] * LAYERS, torch.zeros(num_posts, 0, dtype=torch.bool)


def random_prefix(seed: int = 2, length: int = P) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(B, HEADS, length, D // HEADS, generator=generator) for _ in range(2)) for _ in range(LAYERS)
    ]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", PREFIX_TYPES)
def test_without_a_prefix_it_is_the_backbone(enliven, text, model_type, attention):
    theirs, ours = make(model_type, enliven)
    theirs.set_attn_implementation(attention)
    expected = theirs(**text).last_hidden_state
    actual = ours(**text, prefix=no_prefix()[0], prefix_mask=no_prefix()[1])
    real = text["attention_mask"].bool()
    torch.testing.assert_close(actual[real], expected[real], rtol=0, atol=1e-5)
    # so it is where there is a prefix, but no post has any of it
    hidden = torch.zeros(B, P, dtype=torch.bool)
    masked = ours(**text, prefix=random_prefix(), prefix_mask=hidden)
    torch.testing.assert_close(masked[real], expected[real], rtol=0, atol=1e-5)


def test_the_gradient_is_that_of_the_backbone(enliven, text):
    theirs, ours = make("bert", enliven)
    real = text["attention_mask"].bool()
    theirs(**text).last_hidden_state[real].square().sum().backward()
    prefix, mask = no_prefix()
    ours(**text, prefix=prefix, prefix_mask=mask)[real].square().sum().backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-4)


def layer_by_hand(layer, states, keys, values, allowed):
    """One BERT layer, head by head and post by post, from its weights."""

    def linear(x, module):
        return x @ module.weight.T + module.bias

    def norm(x, module):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias

    attention, width = layer.attention, D // HEADS
    rows = []
    for post in range(B):
        heads = []
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            query, key, value = (
                linear(states[post], getattr(attention.self, name))[:, part] for name in ("query", "key", "value")
            )
            seen = torch.cat([keys[post, head], key])[allowed[post]]
            weights = (query @ seen.T / math.sqrt(width)).exp()
            heads.append(
                weights / weights.sum(-1, keepdim=True) @ torch.cat([values[post, head], value])[allowed[post]]
            )
        rows.append(torch.cat(heads, dim=-1))
    states = norm(states + linear(torch.stack(rows), attention.output.dense), attention.output.LayerNorm)
    inner = nn.functional.gelu(linear(states, layer.intermediate.dense))
    return norm(states + linear(inner, layer.output.dense), layer.output.LayerNorm)


def test_a_prefix_is_keys_and_values_before_the_text(enliven, text):
    theirs, ours = make("bert", enliven)
    prefix = random_prefix()
    prefix_mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]]).bool()
    states = theirs.embeddings(text["input_ids"])  # positions from 0
    allowed = torch.cat([prefix_mask, text["attention_mask"].bool()], dim=1)
    for layer, (keys, values) in zip(ours.encoder.layer, prefix, strict=True):
        states = layer_by_hand(layer, states, keys, values, allowed)
    actual = ours(**text, prefix=prefix, prefix_mask=prefix_mask)
    torch.testing.assert_close(actual, states, rtol=0, atol=1e-5)


def test_a_prefix_may_be_a_function_of_the_layer_and_what_it_reads(enliven, text):
    _, ours = make("bert", enliven)
    prefix, mask = random_prefix(), torch.ones(B, P, dtype=torch.bool)
    asked = []

    def give(layer, states, text_mask):
        assert torch.equal(text_mask, text["attention_mask"].bool())
        asked.append((layer, states))
        return prefix[layer]

    actual = ours(**text, prefix=give, prefix_mask=mask)
    assert torch.equal(actual, ours(**text, prefix=prefix, prefix_mask=mask))
    assert [layer for layer, _ in asked] == list(range(LAYERS))
    assert torch.equal(asked[0][1], ours.embeddings(text["input_ids"]))
    allowed = torch.cat([mask, text["attention_mask"].bool()], dim=1)
    expected = layer_by_hand(ours.encoder.layer[0], asked[0][1], *prefix[0], allowed)
    torch.testing.assert_close(asked[1][1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_positions_after_the_prefix_are_those_of_padding_in_its_place(enliven, text, model_type):
    theirs, ours = make(model_type, enliven, first_position=P)
    mask = torch.zeros(B, P, dtype=torch.bool)
    actual = ours(**text, prefix=random_prefix(), prefix_mask=mask)
    real = text["attention_mask"].bool()
    first = P if model_type == "bert" else P + PAD + 1
    expected = theirs(**text, position_ids=(torch.arange(T) + first).expand(B, T)).last_hidden_state
    torch.testing.assert_close(actual[real], expected[real], rtol=0, atol=1e-5)
    from_zero = theirs(**text).last_hidden_state
    assert (actual - from_zero)[real].abs().max() > 0.1


def test_other_posts_and_masked_parts_of_the_prefix_change_nothing(enliven, text):
    _, ours = make("roberta", enliven)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]]).bool()
    prefix = random_prefix()
    before = ours(**text, prefix=prefix, prefix_mask=mask)
    other = random_prefix(seed=5)
    gap = ~mask[:, None, :, None]
    changed = [
        tuple(a.where(~gap, b) for a, b in zip(*pairs, strict=True)) for pairs in zip(prefix, other, strict=True)
    ]
    torch.testing.assert_close(ours(**text, prefix=changed, prefix_mask=mask), before, rtol=0, atol=1e-6)
    swapped = [
        tuple(torch.cat([a[:1], b[1:]]) for a, b in zip(*pairs, strict=True))
        for pairs in zip(prefix, other, strict=True)
    ]
    after = ours(**text, prefix=swapped, prefix_mask=mask)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=1e-6)
    assert (after[1, :4] - before[1, :4]).abs().max() > 0.1


def test_the_order_of_the_prefix_does_not_matter(enliven, text):
    _, ours = make("bert", enliven)
    prefix, mask = random_prefix(), torch.tensor([[1, 1, 0, 1]] * B).bool()
    order = torch.tensor([2, 0, 3, 1])
    permuted = [tuple(tensor[:, :, order] for tensor in pair) for pair in prefix]
    torch.testing.assert_close(
        ours(**text, prefix=permuted, prefix_mask=mask[:, order]),
        ours(**text, prefix=prefix, prefix_mask=mask),
        rtol=0,
        atol=1e-6,
    )


def test_attention_dropout_works_in_training_alone(text):
    torch.manual_seed(0)
    # no other dropout: what differs is the attention's
    ours = PrefixBert(BertConfig(**FIELDS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5))
    prefix, mask = random_prefix(), torch.ones(B, P, dtype=torch.bool)
    first, second = (ours.train()(**text, prefix=prefix, prefix_mask=mask) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (ours.eval()(**text, prefix=prefix, prefix_mask=mask) for _ in range(2))
    assert torch.equal(first, second)


def test_gradient_checkpointing_keeps_the_prefix_and_its_gradient(enliven, text):
    _, ours = make("bert", enliven)
    for module in ours.modules():  # as `attention_dropout` would make two passes differ
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    ours.train()
    mask = torch.ones(B, P, dtype=torch.bool)
    results = []
    for checkpointing in (False, True):
        for layer in ours.encoder.layer:
            layer.gradient_checkpointing = checkpointing
            layer._gradient_checkpointing_func = lambda function, *args: torch.utils.checkpoint.checkpoint(
                function, *args, use_reentrant=False
            )
        prefix = [tuple(tensor.requires_grad_() for tensor in pair) for pair in random_prefix()]
        states = ours(**text, prefix=prefix, prefix_mask=mask)
        states.square().sum().backward()
        results.append([states, *(tensor.grad for pair in prefix for tensor in pair)])
    assert all(tensor.abs().max() > 0.01 for tensor in results[0])
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=0, atol=1e-5)


def test_a_prefix_that_does_not_fit_is_an_error(enliven, text):
    _, ours = make("bert", enliven)
    mask = torch.ones(B, P, dtype=torch.bool)
    with pytest.raises(ValueError, match="`prefix` has 1 pairs for 2 layers"):
        ours(**text, prefix=random_prefix()[:1], prefix_mask=mask)
    with pytest.raises(
        ValueError, match=r"\(posts, heads, prefix, width of a head\) = \(3, 3, 4, 4\), got \(3, 3, 5, 4\)"
    ):
        ours(**text, prefix=random_prefix(length=5), prefix_mask=mask)
    one_head = [tuple(tensor.flatten(1, 2)[:, None] for tensor in pair) for pair in random_prefix()]
    with pytest.raises(ValueError, match=r"got \(3, 1, 12, 4\)"):
        ours(**text, prefix=one_head, prefix_mask=mask)


@pytest.mark.parametrize(
    ("model_type", "fields", "message"),
    [
        ("distilbert", {}, "type 'distilbert' takes no prefix. Types that do: bert, "),
        ("roberta-prelayernorm", {}, "type 'roberta-prelayernorm' takes no prefix"),
        ("bert", {"is_decoder": True}, "`is_decoder` sees no later words"),
        ("electra", {"embedding_size": 8}, "type 'electra' has embeddings_project beside its embeddings"),
    ],
)
def test_a_backbone_of_another_form_is_refused(model_type, fields, message):
    fields = fields if model_type == "distilbert" else FIELDS | fields
    with pytest.raises(ValueError, match=message):
        PrefixBert(CONFIG_MAPPING[model_type](**fields))


def test_prompts_of_a_layer_and_a_head_are_slices_of_one_row():
    torch.manual_seed(0)
    layers, heads, width = 12, 12, 64
    mlp = PromptMlp(20, 10, layers, heads, heads * width).double()
    states = torch.randn(2, P, 20, dtype=torch.float64)
    inner = (states @ mlp.inner.weight.T + mlp.inner.bias).tanh()
    rows = inner @ mlp.output.weight.T + mlp.output.bias  # layer by layer the keys' row, then the values' row
    prompts = mlp(states)
    assert len(prompts) == layers
    for layer, pair in enumerate(prompts):
        for kind, tensor in enumerate(pair):
            assert tensor.shape == (2, heads, P, width)
            start = (2 * layer + kind) * heads * width
            row = rows[:, :, start : start + heads * width]
            for head in (0, 1, 11):
                torch.testing.assert_close(tensor[:, head], row[:, :, 64 * head : 64 * head + 64])


def test_heads_that_do_not_divide_the_width_are_an_error():
    with pytest.raises(ValueError, match="`hidden_size` 12 is not a multiple of `num_heads` 5"):
        PromptMlp(4, 4, 1, 5, 12)
