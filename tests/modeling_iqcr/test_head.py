"""The head of the tagger: loss, decoding and entity probabilities over words, against plain enumeration."""

import itertools
import math

import pytest
import torch
from seqeval.metrics.sequence_labeling import get_entities
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from modeling_iqcr import IQCRConfig, IQCRForTokenClassification
from modeling_iqcr.outputs import IQCRModelOutput

LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]


@pytest.fixture
def make_head(make_lively_model):
    """Function that makes a text-only tagger with large transitions."""

    def make(labels=LABELS, **fields):
        model = make_lively_model(use_images=False, id2label=dict(enumerate(labels)), **fields)
        for parameter in model.crf.parameters():
            parameter.data.normal_(generator=torch.Generator().manual_seed(1))
        return model

    return make


@pytest.fixture
def posts(make_tensors):
    """Text of four posts with 2 to 5 words, the second word of which starts with another sub-token."""
    batch = make_tensors([0] * 4, num_labels=5)
    batch["word_mask"][1:, 2] = False  # 2, 2, 3 and 4 words
    batch["labels"] = batch["labels"].where(batch["word_mask"], -100)
    return {name: batch[name] for name in ("input_ids", "attention_mask", "word_mask", "labels")}


def words_of(tensor, word_mask, post):
    """The entries on the words of one post, in plain Python."""
    return [entry for entry, is_word in zip(tensor[post].tolist(), word_mask[post].tolist(), strict=True) if is_word]


def path_score(crf, emissions, path):
    score = sum(emission[tag] for emission, tag in zip(emissions, path, strict=True))
    if crf.transitions is None:
        return score
    start, step, end = crf.start_transitions.tolist(), crf.transitions.tolist(), crf.end_transitions.tolist()
    return score + start[path[0]] + sum(step[i][j] for i, j in itertools.pairwise(path)) + end[path[-1]]


def all_paths(crf, emissions):
    return {p: path_score(crf, emissions, p) for p in itertools.product(range(crf.num_tags), repeat=len(emissions))}


def log_sum(scores):
    return math.log(math.fsum(map(math.exp, scores)))


def is_legal(path):
    return all(
        not LABELS[b].startswith("I-") or (a is not None and LABELS[a][1:] == LABELS[b][1:])
        for a, b in itertools.pairwise([None, *path])
    )


@pytest.mark.parametrize("use_crf", [True, False])
def test_loss_is_the_negative_log_likelihood_per_word(make_head, posts, use_crf):
    model = make_head(use_crf=use_crf)
    output = model(**posts)
    total = num_words = 0
    for post in range(4):
        emissions, gold = (words_of(t, posts["word_mask"], post) for t in (output.logits, posts["labels"]))
        paths = all_paths(model.crf, emissions)
        total += log_sum(paths.values()) - paths[tuple(gold)]
        num_words += len(gold)
    assert num_words == 11
    assert output.loss.item() == pytest.approx(total / num_words, rel=1e-5)
    # the denominator of a larger batch, as a number or a tensor
    for num_items in (40, torch.tensor(40)):
        assert model(**posts, num_items_in_batch=num_items).loss.item() == pytest.approx(total / 40, rel=1e-5)


def test_loss_is_that_of_the_crf_on_gathered_emissions(make_head, posts):
    model = make_head()
    output = model(**posts)
    log_likelihood = torch.zeros(())
    for post, mask in enumerate(posts["word_mask"]):
        tags = posts["labels"][post][mask][None]
        log_likelihood += model.crf.log_likelihood(
            output.logits[post][mask][None], tags, torch.ones_like(tags).bool()
        )[0]
    torch.testing.assert_close(output.loss, -log_likelihood / 11)


def test_loss_of_the_softmax_head_is_torchs_cross_entropy(make_head, posts):
    model = make_head(use_crf=False)
    assert not list(model.crf.parameters())
    output = model(**posts)
    expected = nn.functional.cross_entropy(output.logits.transpose(1, 2), posts["labels"])  # ignores -100, mean
    torch.testing.assert_close(output.loss, expected)


def test_words_are_where_the_labels_are_if_no_mask_says_so(make_head, posts):
    model = make_head()
    explicit = model(**posts)
    implicit = model(**{name: tensor for name, tensor in posts.items() if name != "word_mask"})
    assert torch.equal(explicit.loss, implicit.loss)
    assert torch.equal(explicit.predictions, implicit.predictions)
    assert model(posts["input_ids"]).predictions is None
    # the mask, and not the labels, says what is tagged
    some = posts["labels"].clone()
    some[0, 1] = -100
    assert torch.equal(model(**posts | {"labels": some}).predictions, explicit.predictions)


def test_a_gold_path_that_bio_forbids_has_a_finite_loss(make_head, posts):
    model = make_head().train()
    illegal = torch.full_like(posts["labels"], LABELS.index("I-X")).where(posts["word_mask"], -100)
    loss = model(**posts | {"labels": illegal}).loss
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("num_items_in_batch", [None, 0, torch.tensor(0)])
def test_a_batch_without_labelled_words_has_no_loss_and_no_gradient(make_head, posts, num_items_in_batch):
    model = make_head().train()
    nothing = posts | {"labels": torch.full_like(posts["labels"], -100), "num_items_in_batch": num_items_in_batch}
    loss = model(**nothing).loss
    loss.backward()
    assert loss.item() == 0
    assert not any(parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("use_crf", [True, False])
@pytest.mark.parametrize("constrain_decoding", [None, True, False])
def test_predictions_equal_enumeration(make_head, posts, constrain_decoding, use_crf):
    model = make_head(constrain_decoding=constrain_decoding, use_crf=use_crf)
    with torch.no_grad():  # tempt it to start inside
        model.classifier.bias[LABELS.index("I-Y")] += 4
    output = model(**posts)
    illegal = 0
    for post in range(4):
        paths = all_paths(model.crf, words_of(output.logits, posts["word_mask"], post))
        best = max(paths, key=paths.get)
        legal = max(filter(is_legal, paths), key=paths.get)
        illegal += best != legal
        expected = best if constrain_decoding is False else legal
        assert words_of(output.predictions, posts["word_mask"], post) == list(expected)
    assert illegal  # or the constraint was not tested
    assert (output.predictions[~posts["word_mask"]] == -100).all()
    assert output.predictions.dtype == torch.long
    assert torch.equal(model.decode(output.logits, posts["word_mask"].long()), output.predictions)


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["O", "I-X", "B-Y"]])
def test_decoding_is_free_for_labels_that_are_not_bio(make_head, posts, labels):
    model = make_head(labels)
    posts.pop("labels")
    predictions = model(**posts).predictions
    for post in range(4):
        paths = all_paths(model.crf, words_of(model(**posts).logits, posts["word_mask"], post))
        assert words_of(predictions, posts["word_mask"], post) == list(max(paths, key=paths.get))
    with pytest.raises(ValueError, match="`constrain_decoding` needs BIO labels, each I- label with its B- label"):
        make_head(labels, constrain_decoding=True)


def test_training_decodes_only_if_asked(make_head, posts):
    model = make_head().train()
    assert model(**posts).predictions is None
    assert model(**posts, return_predictions=True).predictions is not None


@pytest.mark.parametrize("use_crf", [True, False])
def test_entity_log_probability_equals_enumeration(make_head, posts, use_crf):
    model = make_head(use_crf=use_crf)
    logits, entities, expected = model(**posts).logits, [], []
    for post in range(4):
        paths = all_paths(model.crf, words_of(logits, posts["word_mask"], post))
        num_words = len(next(iter(paths)))
        entities.append([(*span, t) for span in itertools.combinations(range(num_words + 1), 2) for t in "XY"])
        readings = {path: set(get_entities([LABELS[tag] for tag in path])) for path in paths}
        for start, end, entity_type in entities[-1]:
            having = [score for path, score in paths.items() if (entity_type, start, end - 1) in readings[path]]
            expected.append(log_sum(having) - log_sum(paths.values()))
    actual = model.entity_log_probability(logits, posts["word_mask"], entities)
    assert [len(post) for post in actual] == [len(post) for post in entities] == [6, 6, 12, 20]
    assert torch.cat(actual).tolist() == pytest.approx(expected, abs=1e-5)
    nothing = model.entity_log_probability(logits, posts["word_mask"], [[], [(0, 1, "Y")], [], []])
    assert [len(post) for post in nothing] == [0, 1, 0, 0]
    assert not torch.cat(actual).requires_grad


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_confidence_temperature_divides_every_score(make_head, posts, temperature):
    model = make_head()
    outputs = model(**posts)
    entities = [[(0, 1, "X")], [(0, 2, "Y")], [(1, 3, "X")], [(1, 4, "Y"), (0, 1, "X")]]
    plain = torch.cat(model.entity_log_probability(outputs.logits, posts["word_mask"], entities))
    model.config.confidence_temperature = temperature
    again = model(**posts)
    assert torch.equal(again.predictions, outputs.predictions)
    assert torch.equal(again.logits, outputs.logits)
    actual = torch.cat(model.entity_log_probability(outputs.logits, posts["word_mask"], entities))
    model.config.confidence_temperature = 1.0
    for scores in model.crf.parameters():
        scores.data /= temperature
    expected = torch.cat(model.entity_log_probability(outputs.logits / temperature, posts["word_mask"], entities))
    torch.testing.assert_close(actual, expected)
    assert not torch.allclose(actual, plain, atol=0.01)


@pytest.mark.parametrize(
    ("labels", "entities", "message"),
    [
        (LABELS, [[], [(0, 1, "Z")]], r"Post 1: no label of type 'Z' among \['O', 'B-X'"),
        (LABELS, [[], [(1, 3, "X")]], "words 1 to 3 .*no span of post 1, which has 2 words"),
        (LABELS, [[(1, 1, "X")]], "words 1 to 1 .*no span of post 0"),
        (LABELS, [[], [], [], [], [(0, 1, "X")]], "there is no post 4 in a batch of 4"),
        (["a", "b", "c", "d", "e"], [[(0, 1, "X")]], r"Entities need labels in BIO form, got \['a'"),
    ],
)
def test_entities_that_cannot_be_are_errors(make_head, posts, labels, entities, message):
    model = make_head(labels)
    with pytest.raises(ValueError, match=message):
        model.entity_log_probability(model(**posts).logits, posts["word_mask"], entities)


def test_the_head_does_not_wait_for_the_device(tiny_backbone_configs):
    class Encoder(nn.Module):
        def forward(self, input_ids, **kwargs):
            return IQCRModelOutput(last_hidden_state=torch.ones(*input_ids.shape, 32))

    config = IQCRConfig(text_config=tiny_backbone_configs()[0], use_images=False)
    model = IQCRForTokenClassification(config).train()
    model.model = Encoder()
    with FakeTensorMode(allow_non_fake_inputs=True):  # a fake tensor has no values that could be waited for
        ids = torch.zeros(3, 6, dtype=torch.long)
        output = model(
            ids, word_mask=ids == 0, labels=ids, num_items_in_batch=torch.tensor(9), return_predictions=True
        )
        output.loss.backward()
        assert output.predictions.shape == (3, 6)
        with pytest.raises(DataDependentOutputException):
            output.loss.item()
