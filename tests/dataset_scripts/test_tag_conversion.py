from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOBES, Entities

from dataset_scripts.tag_conversion import spans_to_bio, to_bio
from dataset_scripts.tag_schemes import check_tags
from processing_iqcr.entities import tags_to_entities
from processing_iqcr.word_splitting import split_words

TYPES = ("PER", "geo-loc")


@st.composite
def segmented_posts(draw):
    """A post as a list of (length, type), the type None outside entities."""
    return draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([None, *TYPES])), min_size=1, max_size=6))


def entities_of(segments):
    entities, start = [], 0
    for length, entity_type in segments:
        if entity_type:
            entities.append((start, start + length, entity_type))
        start += length
    return entities


def write_tags(segments, single, begin, inside, end):
    tags = []
    for length, entity_type in segments:
        prefixes = [single] if length == 1 else [begin, *[inside] * (length - 2), end]
        tags += [f"{prefix}-{entity_type}" if entity_type else "O" for prefix in prefixes]
    return tags


def write_iob1(segments):
    tags, previous = [], None
    for length, entity_type in segments:
        first = "B" if entity_type == previous else "I"
        tags += [f"{prefix}-{entity_type}" if entity_type else "O" for prefix in [first, *"I" * (length - 1)]]
        previous = entity_type
    return tags


def strict_entities(tags, scheme):
    return [(entity.start, entity.end, entity.tag) for entity in Entities([tags], scheme).entities[0]]


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("bio", ["O", "B-PER", "I-PER", "I-LOC"], ["O", "B-PER", "I-PER", "I-LOC"]),
        ("bio", ["B-geo-loc", "I-geo-loc"], ["B-geo-loc", "I-geo-loc"]),
        ("iob1", ["I-PER", "I-PER", "O", "I-PER"], ["B-PER", "I-PER", "O", "B-PER"]),
        ("iob1", ["I-PER", "B-PER", "I-PER"], ["B-PER", "B-PER", "I-PER"]),
        ("iob1", ["I-PER", "I-LOC", "I-geo-loc"], ["B-PER", "B-LOC", "B-geo-loc"]),
        (
            "iobes",
            ["S-PER", "O", "B-geo-loc", "I-geo-loc", "E-geo-loc"],
            ["B-PER", "O", "B-geo-loc", "I-geo-loc", "I-geo-loc"],
        ),
        ("iobes", ["U-PER", "B-LOC", "L-LOC", "U-LOC"], ["B-PER", "B-LOC", "I-LOC", "B-LOC"]),
        ("iobes", ["B-PER", "I-PER", "O", "B-PER"], ["B-PER", "I-PER", "O", "B-PER"]),
        ("iobes", [], []),
    ],
)
def test_tags_by_hand(scheme, tags, expected):
    assert to_bio(tags, scheme, "here") == expected


@given(segmented_posts())
def test_entities_written_as_iob1_come_back(segments):
    tags = write_iob1(segments)
    assert tags_to_entities(to_bio(tags, "iob1", "here"), strict=True) == entities_of(segments)


@given(segmented_posts(), st.sampled_from([("SBIE", IOBES), ("UBIL", BILOU)]))
def test_entities_written_as_iobes_or_bilou_come_back_and_seqeval_agrees(segments, notation):
    letters, scheme = notation
    tags = write_tags(segments, *letters)
    assert strict_entities(tags, scheme) == entities_of(segments)
    assert tags_to_entities(to_bio(tags, "iobes", "here"), strict=True) == entities_of(segments)


@given(st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), min_size=1, max_size=8))
def test_iob1_reads_as_seqeval_reads_it_and_leaves_no_illegal_step(tags):
    converted = to_bio(tags, "iob1", "here")
    assert get_entities(converted) == get_entities(tags)
    assert check_tags(converted, len(tags), "here", illegal_tags="error")[0] == converted
    if not any(tag.startswith("B-") for tag in tags):
        entities = [(start, end + 1, entity_type) for entity_type, start, end in get_entities(tags)]
        assert strict_entities(tags, IOB1) == entities


@given(
    st.lists(
        st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC"))]),
        min_size=1,
        max_size=8,
    )
)
def test_any_iobes_tags_read_as_seqeval_reads_them_or_are_refused(tags):
    if any(left[0] in "ES" and right[0] in "IE" and left[2:] == right[2:] for left, right in pairwise(tags)):
        with pytest.raises(ValueError, match="before it has ended the entity"):
            to_bio(tags, "iobes", "here")
    else:
        assert get_entities(to_bio(tags, "iobes", "here")) == get_entities(tags)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["E-PER"], ["I-PER"]),
        (["O", "I-PER", "E-PER"], ["O", "I-PER", "I-PER"]),
        (["B-LOC", "E-PER"], ["B-LOC", "I-PER"]),
        (["S-PER", "O", "L-PER"], ["B-PER", "O", "I-PER"]),
        (["S-LOC", "I-PER", "L-PER"], ["B-LOC", "I-PER", "I-PER"]),
    ],
)
def test_stray_iobes_step_stays_for_the_one_policy(tags, expected):
    assert to_bio(tags, "iobes", "here") == expected
    with pytest.raises(ValueError, match="no PER entity is open before it"):
        check_tags(expected, len(tags), "here", illegal_tags="error")


@pytest.mark.parametrize("ending", "ELSU")
@pytest.mark.parametrize("step", "IEL")
def test_step_after_the_end_of_its_entity_is_refused_but_not_that_of_another(ending, step):
    with pytest.raises(ValueError, match=rf"word 1 has the tag '{step}-PER', but '{ending}-PER' before it has ended"):
        to_bio([f"{ending}-PER", f"{step}-PER"], "iobes", "here")
    assert to_bio([f"{ending}-LOC", f"{step}-PER"], "iobes", "here")[1] == "I-PER"


def test_step_after_the_end_of_its_entity_names_post_word_and_both_tags():
    with pytest.raises(
        ValueError, match=r"a\.txt:7, post '3': word 2 has the tag 'I-LOC', but 'E-LOC' before it.*S-LOC"
    ):
        to_bio(["B-LOC", "E-LOC", "I-LOC"], "iobes", "a.txt:7, post '3'")


@pytest.mark.parametrize("scheme", ["bio", "iob1", "iobes"])
@pytest.mark.parametrize(
    "tag", ["X", "", "b-PER", "B-", "PER", "I_PER", "M-PER", "-PER", "O-PER", "o", "B-a b", "B-\n"]
)
def test_unknown_tag_names_post_word_and_tag(scheme, tag):
    with pytest.raises(ValueError, match=r"a\.txt:7: word 1 has the tag .* Expected O, B-TYPE.*Correct") as error:
        to_bio(["O", tag], scheme, "a.txt:7")
    assert repr(tag) in str(error.value)
    assert "--tag-scheme" not in str(error.value)


@pytest.mark.parametrize("scheme", ["bio", "iob1"])
@pytest.mark.parametrize("tag", ["S-PER", "E-PER", "L-PER", "U-PER"])
def test_iobes_tag_in_another_scheme_names_the_option(scheme, tag):
    with pytest.raises(ValueError, match=rf"a\.txt:7: word 0 has the tag '{tag}'.*--tag-scheme iobes"):
        to_bio([tag], scheme, "a.txt:7")


def test_unknown_scheme_is_an_error():
    with pytest.raises(ValueError, match=r"'bio', 'iob1', 'iobes'.*'bilou'"):
        to_bio(["O"], "bilou", "here")


def convert(text, *entities):
    return spans_to_bio(text, split_words(text), entities, "a.jsonl:7, post '3'")


def test_spans_by_hand():
    text = "Kobe Bryant in L.A.!"
    tags, repairs = convert(text, (15, 19, "geo-loc"), (0, 11, "PER"))
    assert tags == ["B-PER", "I-PER", "O", "B-geo-loc", "I-geo-loc", "I-geo-loc", "I-geo-loc", "O"]
    assert repairs == []
    assert convert(text) == (["O"] * 8, [])


@pytest.mark.parametrize(
    ("span", "sentence"),
    [
        ((4, 9), "The entity (4, 9, 'PER'), ' Kobe', was trimmed to whole words: (5, 9), 'Kobe'."),
        ((5, 10), "The entity (5, 10, 'PER'), 'Kobe ', was trimmed to whole words: (5, 9), 'Kobe'."),
        ((6, 8), "The entity (6, 8, 'PER'), 'ob', was widened to whole words: (5, 9), 'Kobe'."),
        ((4, 8), "The entity (4, 8, 'PER'), ' Kob', was trimmed and widened to whole words: (5, 9), 'Kobe'."),
    ],
)
def test_repair_is_told_in_a_sentence(span, sentence):
    assert convert("Dear Kobe !", (*span, "PER")) == (["O", "B-PER", "O"], [sentence])


def test_offsets_count_code_points():
    assert convert("\U0001f600 Kobe", (2, 6, "PER")) == (["O", "B-PER"], [])


texts = st.text(alphabet="ab1.# \n\u00a0\u0301\U0001f600", min_size=1, max_size=14)


@given(texts, st.data())
def test_span_is_the_words_that_it_touches(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    words = split_words(text)
    touched = [i for i, word in enumerate(words) if set(range(word.start, word.end)) & set(range(start, end))]
    if not touched:
        with pytest.raises(ValueError, match="holds no word"):
            convert(text, (start, end, "X"))
        return
    tags, repairs = convert(text, (start, end, "X"))
    assert [(entity.start, entity.end) for entity in tags_to_entities(tags, strict=True)] == [
        (touched[0], touched[-1] + 1)
    ]
    assert len(repairs) == ((start, end) != (words[touched[0]].start, words[touched[-1]].end))


@given(segmented_posts(), st.randoms())
def test_spans_of_whole_words_come_back_in_any_order(segments, random):
    num_words = sum(length for length, _ in segments)
    text = " ".join(["ab"] * num_words)
    spans = [(3 * start, 3 * end - 1, label) for start, end, label in entities_of(segments)]
    random.shuffle(spans)
    tags, repairs = convert(text, *spans)
    assert tags_to_entities(tags, strict=True) == entities_of(segments)
    assert repairs == []


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([(4, 5, "X")], r"the entity \(4, 5, 'X'\) holds no word, only ' '"),
        ([(0, 0, "X")], r"the entity \(0, 0, 'X'\) is empty, reversed or leaves the text of 11 characters"),
        ([(4, 0, "X")], r"\(4, 0, 'X'\) is empty, reversed"),
        ([(-4, 4, "X")], r"\(-4, 4, 'X'\) is empty, reversed or leaves"),
        ([(5, 12, "X")], r"\(5, 12, 'X'\) is empty, reversed or leaves"),
        ([(11, 12, "X")], r"\(11, 12, 'X'\) is empty, reversed or leaves"),
        ([(False, 4, "X")], r"\(False, 4, 'X'\) has a bound that is no whole number"),
        ([(0, True, "X")], r"\(0, True, 'X'\) has a bound"),
        ([(0, 4.0, "X")], r"\(0, 4\.0, 'X'\) has a bound"),
        ([("0", 4, "X")], r"\('0', 4, 'X'\) has a bound"),
        ([(0, None, "X")], r"\(0, None, 'X'\) has a bound"),
        ([(0, 4, "")], r"\(0, 4, ''\) has a label that is no name"),
        ([(0, 4, "A B")], r"\(0, 4, 'A B'\) has a label"),
        ([(0, 4, "A\n")], r"has a label"),
        ([(0, 4, 3)], r"\(0, 4, 3\) has a label"),
        ([(0, 4, None)], r"\(0, 4, None\) has a label"),
        ([(0, 9, "X"), (5, 9, "Y")], r"\(5, 9, 'Y'\) and the entity \(0, 9, 'X'\) have a word in common in 'Kobe'"),
        ([(5, 9, "Y"), (0, 9, "X")], r"\(0, 9, 'X'\) and the entity \(5, 9, 'Y'\) have a word in common"),
        ([(5, 9, "X"), (5, 9, "X")], r"have a word in common"),
        ([(5, 7, "X"), (7, 9, "Y")], r"\(7, 9, 'Y'\) and the entity \(5, 7, 'X'\) have a word in common in 'Kobe'"),
    ],
)
def test_impossible_span_names_post_and_span(entities, message):
    with pytest.raises(ValueError, match=rf"^a\.jsonl:7, post '3': .*{message}"):
        convert("Dear Kobe !", *entities)


def test_spans_that_only_share_white_space_do_not_overlap():
    tags, repairs = convert("Dear Kobe !", (0, 5, "X"), (4, 9, "Y"))
    assert tags == ["B-X", "B-Y", "O"]
    assert len(repairs) == 2
