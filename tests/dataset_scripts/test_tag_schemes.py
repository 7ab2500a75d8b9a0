from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from dataset_scripts.features import TAG_NAMES
from dataset_scripts.tag_schemes import check_tags, count_entities, find_entities

tag_lists = st.lists(st.sampled_from(TAG_NAMES), min_size=1, max_size=12)


def strict_entities(tags):
    return [(entity.tag, entity.start, entity.end - 1) for entity in Entities([tags], IOB2).entities[0]]


@pytest.mark.parametrize(
    ("tags", "illegal", "repaired"),
    [
        (["O", "I-LOC", "I-LOC"], [1], ["O", "B-LOC", "I-LOC"]),
        (["B-LOC", "I-PER", "I-PER"], [1], ["B-LOC", "B-PER", "I-PER"]),
        (["I-ORG", "O", "I-ORG"], [0, 2], ["B-ORG", "O", "B-ORG"]),
        (["I-PER", "I-LOC", "I-PER"], [0, 1, 2], ["B-PER", "B-LOC", "B-PER"]),
        (["B-MISC", "I-MISC", "B-MISC"], [], ["B-MISC", "I-MISC", "B-MISC"]),
    ],
)
def test_illegal_steps_by_hand(tags, illegal, repaired):
    assert check_tags(tags, len(tags), "here") == (tags, illegal)
    assert check_tags(tags, len(tags), "here", illegal_tags="repair") == (repaired, illegal)


def test_illegal_step_is_an_error_that_names_post_word_and_cure():
    with pytest.raises(ValueError, match=r"a\.txt:7.*word 1 has 'I-LOC'.*illegal_tags='repair'"):
        check_tags(["O", "I-LOC"], 2, "a.txt:7", illegal_tags="error")
    assert check_tags(["B-LOC", "I-LOC"], 2, "here", illegal_tags="error") == (["B-LOC", "I-LOC"], [])


@given(tag_lists)
def test_repair_keeps_what_seqeval_reads_and_makes_it_strict(tags):
    repaired, illegal = check_tags(tags, len(tags), "here", illegal_tags="repair")
    assert get_entities(repaired) == get_entities(tags)
    assert sorted(strict_entities(repaired)) == sorted(get_entities(tags))
    assert check_tags(repaired, len(tags), "here", illegal_tags="error") == (repaired, [])
    assert illegal == [k for k, (a, b) in enumerate(zip(tags, repaired, strict=True)) if a != b]


@given(tag_lists)
def test_entities_are_counted_as_seqeval_does(tags):
    assert count_entities(tags) == Counter(entity_type for entity_type, _, _ in get_entities(tags))
    assert [(entity_type, start, end - 1) for start, end, entity_type in find_entities(tags)] == get_entities(tags)


def test_aliases_become_misc_unless_the_tag_set_has_them():
    assert check_tags(["B-OTHER", "I-OTHER", "B-MIS"], 3, "here")[0] == ["B-MISC", "I-MISC", "B-MISC"]
    assert check_tags(["B-OTHER"], 1, "here", tag_names=("O", "B-OTHER", "I-OTHER"))[0] == ["B-OTHER"]


@pytest.mark.parametrize("tag", ["B-GPE", "X", "", "b-PER", "B-", "PER", "I_PER"])
def test_unknown_tag_names_post_and_tag_set(tag):
    with pytest.raises(ValueError, match=rf"a\.txt:3, post '9': word 1 has the tag '{tag}'.*B-PER, I-PER, B-LOC"):
        check_tags(["O", tag], 2, "a.txt:3, post '9'")


def test_counts_that_differ_are_an_error():
    with pytest.raises(ValueError, match="post '9': 3 words and 2 tags"):
        check_tags(["O", "O"], 3, "post '9'")


def test_unknown_policy_is_an_error():
    with pytest.raises(ValueError, match=r"'error', 'repair', 'keep'.*'fix'"):
        check_tags(["O"], 1, "here", illegal_tags="fix")
