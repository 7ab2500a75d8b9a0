"""Reading tags is compared with seqeval, over every short tag sequence and over long random ones, legal or not."""

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Tokens

from processing_iqcr.entities import Entity, entities_to_tags, parse_tag, tags_to_entities

TWO_TYPES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ODD_TYPES = ["PER", "geo-loc", "O", "B", "I-x", "жанр", "a b"]
MANY_TAGS = ["O", *(f"{prefix}-{name}" for prefix in "BI" for name in ODD_TYPES)]


def lenient_by_seqeval(tags: list[str]) -> list[tuple[int, int, str]]:
    return [(start, last + 1, name) for name, start, last in get_entities(tags)]


def strict_by_seqeval(tags: list[str]) -> list[tuple[int, int, str]]:
    return [(entity.start, entity.end, entity.tag) for entity in Tokens(tags, IOB2).entities]


def test_every_short_sequence_reads_as_in_seqeval():
    sequences = [list(tags) for length in range(6) for tags in product(TWO_TYPES, repeat=length)]
    assert len(sequences) == sum(5**length for length in range(6))
    for tags in sequences:
        assert tags_to_entities(tags) == lenient_by_seqeval(tags), tags
        assert tags_to_entities(tags, strict=True) == strict_by_seqeval(tags), tags


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(MANY_TAGS), max_size=40))
def test_long_sequences_read_as_in_seqeval(tags):
    assert tags_to_entities(tags) == lenient_by_seqeval(tags)
    assert tags_to_entities(tags, strict=True) == strict_by_seqeval(tags)


def test_the_two_readings_by_hand():
    tags = ["I-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-ORG", "I-ORG", "B-ORG", "B-ORG"]
    strict = [(3, 5, "LOC"), (7, 8, "ORG"), (8, 9, "ORG")]
    assert tags_to_entities(tags, strict=True) == strict
    assert tags_to_entities(tags) == [(0, 2, "PER"), (3, 5, "LOC"), (5, 7, "ORG"), (7, 8, "ORG"), (8, 9, "ORG")]
    entity = tags_to_entities(["O", "I-geo-loc"])[0]
    assert (entity.start, entity.end, entity.type) == (1, 2, "geo-loc")


@st.composite
def posts_with_entities(draw):
    borders = sorted(draw(st.lists(st.integers(0, 30), unique=True, max_size=20)))
    spans = [span for span in pairwise(borders) if draw(st.booleans())]
    entities = [Entity(start, end, draw(st.sampled_from(["PER", "LOC", "geo-loc"]))) for start, end in spans]
    num_words = (entities[-1].end if entities else 0) + draw(st.integers(0, 5))
    return entities, num_words


@settings(max_examples=500, deadline=None)
@given(posts_with_entities(), st.booleans(), st.randoms(use_true_random=False))
def test_writing_entities_is_undone_by_either_reading(post, strict, random):
    entities, num_words = post
    shuffled = random.sample(entities, len(entities))
    tags = entities_to_tags(shuffled, num_words)
    assert len(tags) == num_words
    assert tags_to_entities(tags, strict=strict) == entities


def test_entities_as_tags_by_hand():
    entities = [(3, 4, "LOC"), (0, 2, "PER"), (2, 3, "PER")]
    assert entities_to_tags(entities, 5) == ["B-PER", "I-PER", "B-PER", "B-LOC", "O"]
    assert entities_to_tags([], 2) == ["O", "O"]
    assert entities_to_tags([], 0) == []


NOT_BIO = ["PER", "S-PER", "E-PER", "B-", "I-", "B", "I", "BPER", "b-PER", "o", "", "PER-B", None, 3]


@pytest.mark.parametrize("label", NOT_BIO)
def test_a_label_that_is_not_bio_is_named(label):
    with pytest.raises(ValueError, match="is not a BIO tag") as caught:
        tags_to_entities(["O", "B-PER", label])
    assert repr(label) in str(caught.value)
    assert "Word 2" in str(caught.value)
    with pytest.raises(ValueError, match="expected 'O', 'B-TYPE' or 'I-TYPE'"):
        parse_tag(label)


@pytest.mark.parametrize("start_end", [(-1, 1), (1, 1), (2, 1), (2, 4), (3, 4)])
def test_an_entity_outside_its_post_is_refused(start_end):
    with pytest.raises(ValueError, match="does not fit a post of 3 words"):
        entities_to_tags([(*start_end, "PER")], 3)


@pytest.mark.parametrize("second", [(1, 2, "LOC"), (0, 1, "LOC"), (0, 4, "LOC"), (2, 4, "LOC"), (0, 3, "PER")])
def test_overlapping_entities_are_refused(second):
    with pytest.raises(ValueError, match=r"Entity .*'(LOC|PER)'\) overlaps"):
        entities_to_tags([(0, 3, "PER"), second], 4)


def test_an_entity_without_a_type_is_refused():
    with pytest.raises(ValueError, match="has no type"):
        entities_to_tags([(0, 1, "")], 1)
