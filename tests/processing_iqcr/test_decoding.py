"""Decoding against every tag sequence counted out, and whole posts against their windows."""

import itertools

import pytest
import torch

from processing_iqcr import decoding
from processing_iqcr.decoding import decode_posts
from processing_iqcr.entities import Entity, tags_to_entities
from processing_iqcr.windows import Window

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.fixture(params=[True, False], ids=["crf", "softmax"])
def model(request, make_model):
    """A text-only tagger in float64 with a head that has opinions about neighbours."""
    model = make_model(use_images=False, id2label=dict(enumerate(LABELS)), use_crf=request.param).double()
    generator = torch.Generator().manual_seed(5)
    for parameter in model.crf.parameters():
        parameter.data.normal_(generator=generator)
    return model


def scores(words: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(words, len(LABELS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(emissions: list[torch.Tensor], gap: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Emissions of windows as logits on sub-tokens, `gap` of them per word, and the word mask; noise off the words."""
    length = 1 + gap * max(len(emission) for emission in emissions)
    logits = torch.full((len(emissions), length, len(LABELS)), 99.0, dtype=emissions[0].dtype)
    mask = torch.zeros(len(emissions), length, dtype=torch.bool)
    for row, emission in enumerate(emissions):
        positions = 1 + gap * torch.arange(len(emission))
        logits[row, positions] = emission
        mask[row, positions] = True
    return logits, mask


def all_sequences(model, emission: torch.Tensor) -> dict[tuple[str, ...], float]:
    """The probability of each tag sequence, from its score written out."""
    crf, use_crf = model.crf.requires_grad_(False), model.config.use_crf
    weights = {}
    for path in itertools.product(range(len(LABELS)), repeat=len(emission)):
        score = sum(float(emission[word, tag]) for word, tag in enumerate(path))
        if use_crf:
            score += float(crf.start_transitions[path[0]] + crf.end_transitions[path[-1]])
            score += sum(float(crf.transitions[a, b]) for a, b in itertools.pairwise(path))
        weights[tuple(LABELS[tag] for tag in path)] = torch.tensor(score, dtype=torch.float64).exp().item()
    total = sum(weights.values())
    return {path: weight / total for path, weight in weights.items()}


def is_legal(tags: tuple[str, ...]) -> bool:
    return all(tag[0] != "I" or previous[1:] == tag[1:] for previous, tag in itertools.pairwise(("O", *tags)))


@pytest.mark.parametrize("seed", range(4))
def test_tags_and_probabilities_equal_enumeration(model, seed):
    emission = scores(4, seed)
    (prediction,) = decode_posts(model, *rows([emission]), [Window(0, 0, 4)])
    probabilities = all_sequences(model, emission)
    assert prediction.tags == list(max(filter(is_legal, probabilities), key=probabilities.get))
    assert prediction.entities == tags_to_entities(prediction.tags) != []
    expected = [
        sum(p for path, p in probabilities.items() if entity in tags_to_entities(path))
        for entity in prediction.entities
    ]
    assert prediction.probabilities == pytest.approx(expected, abs=1e-9)


def test_posts_of_one_window_equal_each_post_alone(model, monkeypatch):
    monkeypatch.setattr(decoding, "POSTS_AT_ONCE", 2)
    emissions = [scores(words, seed=words) for words in (3, 9, 1, 5, 2)]
    windows = [Window(post, 0, len(emission)) for post, emission in enumerate(emissions)]
    together = decode_posts(model, *rows(emissions), windows)
    for emission, prediction in zip(emissions, together, strict=True):
        (alone,) = decode_posts(model, *rows([emission], gap=1), [Window(0, 0, len(emission))])
        assert prediction.tags == alone.tags
        assert prediction.entities == alone.entities
        assert prediction.probabilities == pytest.approx(alone.probabilities, abs=1e-9)
    assert any(prediction.entities for prediction in together)


def test_windows_of_a_post_are_decoded_as_one_chain(model):
    emission, other = scores(10, seed=1), scores(3, seed=2)
    windows = [Window(1, 0, 6), Window(0, 0, 3), Window(1, 4, 10)]
    # Words 4 and 5 are in both windows; word 4 has more context in the first, word 5 in the second.
    first, second = emission[0:6].clone(), emission[4:10].clone()
    first[5] += 50
    second[0] -= 50
    predictions = decode_posts(model, *rows([first, other, second]), windows)
    (whole,) = decode_posts(model, *rows([emission]), [Window(0, 0, 10)])
    (short,) = decode_posts(model, *rows([other]), [Window(0, 0, 3)])
    assert [prediction.tags for prediction in predictions] == [short.tags, whole.tags]
    assert predictions[1].entities == whole.entities
    assert predictions[1].probabilities == pytest.approx(whole.probabilities, abs=1e-9)


def test_rounding_makes_nothing_more_than_certain(model, monkeypatch):
    emission = torch.full((3, len(LABELS)), -200.0, dtype=torch.float64)
    emission[0, 1] = emission[1, 2] = emission[2, 0] = 200.0
    (prediction,) = decode_posts(model, *rows([emission]), [Window(0, 0, 3)])
    assert prediction.entities == [Entity(0, 2, "PER")]
    assert prediction.probabilities == pytest.approx([1], abs=1e-9)
    monkeypatch.setattr(model, "entity_log_probability", lambda *_: [torch.tensor([1e-6])])
    (prediction,) = decode_posts(model, *rows([emission]), [Window(0, 0, 3)])
    assert prediction.probabilities == [1.0]
