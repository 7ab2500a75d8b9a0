"""The CRF against the enumeration of all tag sequences, against pytorch-crf, and against torch's cross-entropy.

Longer than most files: one place holds every proof of the one file that all else rests on.
"""

import itertools
import math

import pytest
import torch
from seqeval.metrics.sequence_labeling import get_entities
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torchcrf import CRF

from modeling_iqcr.crf import AllowedTransitions, LinearChainCRF, bio_transitions

LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
LABEL_SETS = [LABELS, ["I-X", "O", "B-X"], ["O", "B-X"], ["O", "I-X", "B-Y"], ["B-X", "I-X"]]


def make_batch(num_tags, lengths, learn_transitions=True, dtype=torch.float64, seed=0):
    """A CRF with large transitions, emissions, gold tags and a left-aligned mask; -100 and noise off the mask."""
    generator = torch.Generator().manual_seed(seed)
    crf = LinearChainCRF(num_tags, learn_transitions).to(dtype)
    for parameter in crf.parameters():
        parameter.data.normal_(generator=generator)
    shape = (len(lengths), max(max(lengths), 1))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    emissions = torch.randn(*shape, num_tags, generator=generator, dtype=torch.float64).mul(2).to(dtype)
    tags = torch.randint(num_tags, shape, generator=generator).where(mask, -100)
    return crf, emissions, tags, mask


def all_paths(crf, emissions, length):
    """Every tag sequence of one post with its score, in plain Python."""
    scores, num_tags = emissions.tolist(), crf.num_tags
    if crf.transitions is None:
        start, step, end = [0.0] * num_tags, [[0.0] * num_tags] * num_tags, [0.0] * num_tags
    else:
        start, step, end = crf.start_transitions.tolist(), crf.transitions.tolist(), crf.end_transitions.tolist()
    paths = {}
    for path in itertools.product(range(num_tags), repeat=length):
        score = sum(scores[word][tag] for word, tag in enumerate(path))
        score += sum(step[i][j] for i, j in itertools.pairwise(path))
        paths[path] = score + (start[path[0]] + end[path[-1]] if path else 0.0)
    return paths


def log_sum(scores):
    """The log of the summed exponentials, -inf of nothing."""
    scores = list(scores)
    highest = max(scores, default=-math.inf)
    return highest + math.log(math.fsum(math.exp(s - highest) for s in scores)) if scores else -math.inf


def is_legal(labels):
    """Whether every I-X follows B-X or I-X."""
    before = ["O", *labels]
    return all(now[0] != "I" or previous[1:] == now[1:] for previous, now in zip(before, labels, strict=False))


@pytest.mark.parametrize("learn_transitions", [True, False])
@pytest.mark.parametrize(("num_tags", "lengths"), [(5, [5, 3, 0, 1, 4, 2]), (3, [0, 5, 2]), (1, [3, 1]), (4, [1, 0])])
def test_equals_enumeration(num_tags, lengths, learn_transitions):
    crf, emissions, tags, mask = make_batch(num_tags, lengths, learn_transitions)
    log_likelihood, decoded = crf.log_likelihood(emissions, tags, mask), crf.decode(emissions, mask)
    marginals = crf.marginals(emissions, mask)
    for post, length in enumerate(lengths):
        paths = all_paths(crf, emissions[post], length)
        gold, normalizer = tuple(tags[post, :length].tolist()), log_sum(paths.values())
        assert log_likelihood[post].item() == pytest.approx(paths[gold] - normalizer, abs=1e-9)
        assert tuple(decoded[post, :length].tolist()) == max(paths, key=paths.get)
        assert (decoded[post, length:] == -100).all()
        for word, tag in itertools.product(range(length), range(num_tags)):
            expected = math.exp(log_sum(s for path, s in paths.items() if path[word] == tag) - normalizer)
            assert marginals[post, word, tag].item() == pytest.approx(expected, abs=1e-9)
    assert marginals.sum(-1) == pytest.approx(mask.double(), abs=1e-12)


@pytest.mark.parametrize("learn_transitions", [True, False])
@pytest.mark.parametrize("labels", LABEL_SETS, ids="-".join)
def test_entity_log_probability_equals_enumeration(labels, learn_transitions):
    lengths = [5, 1, 0, 3, 2]
    crf, emissions, _, mask = make_batch(len(labels), lengths, learn_transitions)
    types = sorted({label[2:] for label in labels} - {""})
    begin = {t: labels.index(f"B-{t}") if f"B-{t}" in labels else -1 for t in types}
    inside = {t: labels.index(f"I-{t}") if f"I-{t}" in labels else -1 for t in types}
    entities, expected = [], []
    for post, length in enumerate(lengths):
        paths = all_paths(crf, emissions[post], length)
        readings = {path: set(get_entities([labels[tag] for tag in path])) for path in paths}
        for first, after in itertools.combinations(range(length + 1), 2):
            for t in types:
                entities.append((post, first, after, t))
                having = (score for path, score in paths.items() if (t, first, after - 1) in readings[path])
                expected.append(log_sum(having) - log_sum(paths.values()))
    spans = torch.tensor([entity[:3] for entity in entities])
    begin_tags = torch.tensor([begin[entity[3]] for entity in entities])
    inside_tags = torch.tensor([inside[entity[3]] for entity in entities])
    actual = crf.entity_log_probability(emissions, mask, spans, begin_tags, inside_tags)
    assert actual.tolist() == pytest.approx(expected, abs=1e-9)
    # Whichever word an entity starts at, it ends somewhere: over all ends they add up to the probability of a start.
    first_words = (spans[:, 0] == 0) & (spans[:, 1] == 2) & (begin_tags == begin[types[0]])
    paths = all_paths(crf, emissions[0], 5)
    starts = (
        score
        for path, score in paths.items()
        if any(e[:2] == (types[0], 2) for e in get_entities([labels[tag] for tag in path]))
    )
    assert actual[first_words].exp().sum().item() == pytest.approx(
        math.exp(log_sum(starts) - log_sum(paths.values())), abs=1e-9
    )


@pytest.mark.parametrize("learn_transitions", [True, False])
@pytest.mark.parametrize("bribe", [0.0, 1e4])
def test_constrained_decoding_equals_enumeration_of_legal_sequences(learn_transitions, bribe):
    lengths = [5, 4, 0, 1, 2, 5, 3]
    crf, emissions, _, mask = make_batch(5, lengths, learn_transitions)
    emissions[..., [2, 4]] += bribe * torch.rand(*mask.shape, 2, generator=torch.Generator().manual_seed(1))
    decoded = crf.decode(emissions, mask, bio_transitions(LABELS))
    for post, length in enumerate(lengths):
        paths = all_paths(crf, emissions[post], length)
        legal = [path for path in paths if is_legal([LABELS[tag] for tag in path])]
        assert tuple(decoded[post, :length].tolist()) == max(legal, key=paths.get)


def test_bio_transitions():
    start, transitions = bio_transitions(LABELS)
    for size in (1, 2, 3):
        for path in itertools.product(range(5), repeat=size):
            allowed = bool(start[path[0]]) and all(transitions[i, j] for i, j in itertools.pairwise(path))
            assert allowed == is_legal([LABELS[tag] for tag in path])
    for other in (["LABEL_0", "LABEL_1"], ["O", "S-X", "B-X"], ["O", "B-"], ["O", "I-X"], ["O", "b-X"], ["O", ""]):
        assert bio_transitions(other) is None
    assert bio_transitions(["B-geo-loc", "I-geo-loc"]).transitions.tolist() == [[True, True], [True, True]]
    with torch.device("meta"):  # as inside `from_pretrained`
        assert bio_transitions(LABELS).start.tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
def test_equals_pytorch_crf(dtype, tolerance):
    crf, emissions, tags, mask = make_batch(9, [12, 7, 1, 2, 11, 12, 3, 5], dtype=dtype)
    reference = CRF(9, batch_first=True).to(dtype)
    reference.load_state_dict(crf.state_dict())
    emissions.requires_grad_()
    weights = torch.linspace(-1, 2, len(tags), dtype=dtype)  # each post has a gradient of its own
    ours, theirs = crf.log_likelihood(emissions, tags, mask), reference(emissions, tags.clamp(0), mask, "none")
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    names = [name for name, _ in crf.named_parameters()]
    gradients = [
        torch.autograd.grad(value @ weights, [emissions, *(module.get_parameter(name) for name in names)])
        for value, module in ((ours, crf), (theirs, reference))
    ]
    torch.testing.assert_close(*gradients, atol=tolerance, rtol=tolerance)
    expected = [torch.tensor(path) for path in reference.decode(emissions, mask)]
    expected = torch.nn.utils.rnn.pad_sequence(expected, batch_first=True, padding_value=-100)
    assert torch.equal(crf.decode(emissions, mask), expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_softmax_head_equals_cross_entropy(dtype, tolerance):
    crf, emissions, tags, mask = make_batch(9, [30, 0, 7, 1], learn_transitions=False, dtype=dtype)
    assert not list(crf.parameters())
    emissions.requires_grad_()
    loss = -crf.log_likelihood(emissions, tags, mask).sum()
    expected = torch.nn.functional.cross_entropy(emissions.flatten(0, 1), tags.flatten(), reduction="sum")
    torch.testing.assert_close(loss, expected, atol=tolerance, rtol=tolerance)
    gradients = [torch.autograd.grad(value, emissions) for value in (loss, expected)]
    torch.testing.assert_close(*gradients, atol=tolerance, rtol=tolerance)
    assert torch.equal(crf.decode(emissions, mask), emissions.argmax(-1).where(mask, -100))
    probabilities = emissions.detach().softmax(-1) * mask[..., None]
    torch.testing.assert_close(crf.marginals(emissions, mask), probabilities, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("learn_transitions", [True, False])
def test_gradcheck(learn_transitions):
    crf, emissions, tags, mask = make_batch(4, [4, 0, 1, 2], learn_transitions)
    inputs = [emissions.requires_grad_(), *crf.parameters()]  # which gradcheck changes in place
    assert torch.autograd.gradcheck(lambda *_: crf.log_likelihood(emissions, tags, mask), inputs)


def test_a_second_derivative_is_refused_and_not_zero():
    crf, emissions, tags, mask = make_batch(4, [4, 2])
    log_likelihood = crf.log_likelihood(emissions.requires_grad_(), tags, mask).sum()
    with pytest.raises(RuntimeError, match="once, not twice"):
        torch.autograd.grad(log_likelihood, emissions, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_any_finite_emissions_have_finite_loss_and_gradient(dtype, size):
    crf, emissions, tags, mask = make_batch(9, [40, 0, 1, 17], dtype=dtype)
    emissions = (size * emissions.clamp(-1, 1)).requires_grad_()
    tags[0, 0] = 2  # starts inside an entity: a step that BIO forbids, and that real gold tags contain
    crf.log_likelihood(emissions, tags, mask).sum().backward()
    for gradient in (emissions.grad, *(parameter.grad for parameter in crf.parameters())):
        assert gradient.isfinite().all()
        assert gradient.dtype == dtype
    assert (emissions.grad[~mask] == 0).all()
    assert crf.log_likelihood(emissions, tags, mask).isfinite().all()


@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_is_raised_to_float32_and_other_types_stay(dtype, autocast):
    crf, emissions, tags, mask = make_batch(5, [6, 2, 0], dtype=dtype)
    wide = torch.promote_types(dtype, torch.float32)
    spans, begin, inside = torch.tensor([[0, 1, 3]]), torch.tensor([1]), torch.tensor([2])

    def outputs(crf, emissions):
        return (
            crf.log_likelihood(emissions, tags, mask).detach(),
            crf.marginals(emissions, mask),
            crf.entity_log_probability(emissions, mask, spans, begin, inside),
            crf.decode(emissions, mask),
        )

    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        actual = outputs(crf, emissions)
    assert [value.dtype for value in actual] == [wide] * 3 + [torch.long]
    torch.testing.assert_close(actual, outputs(crf.to(wide), emissions.to(wide)), rtol=0, atol=0)


@pytest.mark.parametrize("junk", [7.0, 1e30, math.inf, math.nan])
def test_nothing_off_the_mask_and_no_other_post_matters(junk):
    crf, emissions, tags, mask = make_batch(5, [6, 2, 0, 1, 4])
    spans, begin, inside = torch.tensor([[1, 0, 2], [1, 1, 2]]), torch.tensor([1, 3]), torch.tensor([2, 4])
    wide = torch.nn.functional.pad(emissions, (0, 0, 0, 3), value=junk)
    wide_tags, wide_mask = (torch.nn.functional.pad(x, (0, 3), value=v) for x, v in ((tags, 999), (mask, False)))
    wide = wide.masked_fill(~wide_mask[..., None], junk).requires_grad_()

    log_likelihood = crf.log_likelihood(wide, wide_tags, wide_mask)
    (gradient,) = torch.autograd.grad(log_likelihood.sum(), wide)
    assert (gradient[~wide_mask] == 0).all()
    entity = crf.entity_log_probability(wide, wide_mask, spans, begin, inside)
    for post, length in enumerate(mask.sum(1).tolist()):
        cut = max(length, 1)
        alone = [x[post : post + 1, :cut] for x in (emissions, tags, mask)]
        torch.testing.assert_close(log_likelihood[post : post + 1], crf.log_likelihood(*alone))
        torch.testing.assert_close(crf.marginals(wide, wide_mask)[post, :cut], crf.marginals(*alone[::2])[0])
        assert torch.equal(crf.decode(wide, wide_mask)[post, :cut], crf.decode(*alone[::2])[0])
        assert (crf.decode(wide, wide_mask)[post, length:] == -100).all()
        if post == 1:
            spans[:, 0] = 0
            torch.testing.assert_close(entity, crf.entity_log_probability(*alone[::2], spans, begin, inside))


def test_a_post_of_5000_words_is_precise_in_float32():
    crf, emissions, tags, mask = make_batch(9, [5000, 100], dtype=torch.float32)
    exact = LinearChainCRF(9).double()
    exact.load_state_dict(crf.state_dict())
    actual, expected = (c.log_likelihood(e, tags, mask) for c, e in ((crf, emissions), (exact, emissions.double())))
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=0)
    actual, expected = (c.marginals(e, mask) for c, e in ((crf, emissions), (exact, emissions.double())))
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-3)


def test_ties_are_broken_the_same_way_every_time():
    crf = LinearChainCRF(5, learn_transitions=False)
    mask = torch.ones(3, 4, dtype=torch.bool)
    assert (crf.decode(torch.zeros(3, 4, 5), mask) == 0).all()
    only_ones = AllowedTransitions(torch.arange(5) == 1, (torch.arange(5) == 1).expand(5, 5))
    assert (crf.decode(torch.zeros(3, 4, 5), mask, only_ones) == 1).all()


def test_likelihood_and_decoding_never_wait_for_the_device():
    """A tensor without values cannot be waited for: `.item()`, a branch on a value or `nonzero` raise there."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        crf, emissions = LinearChainCRF(5), torch.randn(3, 6, 5, requires_grad=True)
        tags, mask = torch.zeros(3, 6, dtype=torch.long), torch.ones(3, 6, dtype=torch.bool)
        crf.log_likelihood(emissions, tags, mask).sum().backward()
        assert emissions.grad.shape == (3, 6, 5)
        assert crf.decode(emissions, mask, bio_transitions(LABELS)).shape == (3, 6)
        with pytest.raises(DynamicOutputShapeException):
            emissions[mask]


def test_parameters():
    torch.manual_seed(0)
    crf = LinearChainCRF(30)
    assert {name: tuple(p.shape) for name, p in crf.state_dict().items()} == {
        "start_transitions": (30,),
        "end_transitions": (30,),
        "transitions": (30, 30),
    }
    assert not list(crf.buffers())
    assert crf.transitions.abs().max().item() == pytest.approx(0.1, abs=1e-3)
    assert crf.transitions.mean().item() == pytest.approx(0.0, abs=1e-2)
    with torch.device("meta"):
        assert LinearChainCRF(3).transitions.is_meta
    loaded = crf.transitions.detach().clone()
    crf.transitions._is_hf_initialized = True  # what `from_pretrained` sets on a parameter that it has loaded
    crf.reset_parameters()
    assert torch.equal(crf.transitions, loaded)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda crf, e, m: LinearChainCRF(0), "at least 1, got 0"),
        (lambda crf, e, m: crf.decode(e[..., :4], m), r"\(B, W, 5\).*got \(2, 3, 4\)"),
        (lambda crf, e, m: crf.decode(e[:, :0], m[:, :0]), "W at least 1.*Pad"),
        (lambda crf, e, m: crf.marginals(e, m[:, :2]), r"shape \(2, 3\).*got \(2, 2\)"),
        (lambda crf, e, m: crf.marginals(e, m.long()), "must be bool.*int64"),
        (lambda crf, e, m: crf.log_likelihood(e, m[:, :2].long(), m), r"`tags`.*\(2, 3\), got \(2, 2\)"),
        (lambda crf, e, m: crf.decode(e, m, bio_transitions(LABELS[:3])), r"fit 5 tags.*\(5,\), got \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(LinearChainCRF(5), torch.zeros(2, 3, 5), torch.tensor([[True, True, True], [True, False, False]]))


@pytest.mark.parametrize(
    ("span", "begin", "inside", "message"),
    [
        ((1, 0, 2), 1, 2, "Entity 1: words 0 to 2 .*post 1, which has 1 words"),
        ((0, 2, 2), 1, 2, "Entity 1: words 2 to 2"),
        ((0, -1, 2), 1, 2, "Entity 1: words -1 to 2"),
        ((2, 0, 1), 1, 2, "Entity 1: there is no post 2 in a batch of 2"),
        ((0, 0, 1), -1, -1, "Entity 1: begin tag -1 and inside tag -1"),
        ((0, 0, 1), 1, 5, "Entity 1: begin tag 1 and inside tag 5"),
    ],
)
def test_an_entity_that_cannot_be_is_named(span, begin, inside, message):
    mask = torch.tensor([[True, True, True], [True, False, False]])
    tags = torch.tensor([1, begin]), torch.tensor([2, inside])
    with pytest.raises(ValueError, match=message):
        LinearChainCRF(5).entity_log_probability(torch.zeros(2, 3, 5), mask, torch.tensor([(0, 0, 1), span]), *tags)


def test_no_entities_and_no_posts_are_fine():
    crf, none = LinearChainCRF(5), torch.zeros(0, dtype=torch.long)
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert crf.entity_log_probability(torch.zeros(2, 3, 5), mask, none.reshape(0, 3), none, none).shape == (0,)
    assert crf.decode(torch.zeros(0, 3, 5), mask[:0]).shape == (0, 3)
    assert crf.log_likelihood(torch.zeros(0, 3, 5), none.reshape(0, 3), mask[:0]).shape == (0,)
