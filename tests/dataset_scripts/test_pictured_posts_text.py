import numpy as np

from dataset_scripts.pictured_posts_text import COLOURS, FRAMES, NAMES, draw_sentence

# The Twitter words for a sign, an emoji or a capital that names nothing must all occur.
EXPECTED_WORDS = {"#", "@", "🔥", "!", "Monday", "Friday", "\ufe0f"}


def draw(count):
    rng = np.random.default_rng(11)
    return [draw_sentence(rng) for _ in range(count)]


def test_sentences_are_short_and_hold_one_name_and_one_colour():
    for sentence in draw(5000):
        assert 6 <= len(sentence.words) <= 16
        assert sentence.words[sentence.start : sentence.end] in NAMES
        assert [word for word in sentence.words if word in COLOURS] == [sentence.colour]


def test_every_name_frame_and_colour_occurs():
    sentences = draw(5000)
    assert {sentence.words[sentence.start : sentence.end] for sentence in sentences} == set(NAMES)
    assert {sentence.colour for sentence in sentences} == set(COLOURS)
    assert {word for sentence in sentences for word in sentence.words} >= EXPECTED_WORDS
    assert 35 <= len(set(FRAMES)) == len(FRAMES)
    assert 35 <= len(set(NAMES)) == len(NAMES)
    assert {len(name) for name in NAMES} == {1, 2, 3}


def test_a_capital_is_neither_needed_nor_enough_to_find_the_name():
    outside = [
        sentence for sentence in draw(1000) if any(word[0].isupper() for word in sentence.words[sentence.end :])
    ]
    before = [
        sentence for sentence in draw(1000) if any(word[0].isupper() for word in sentence.words[: sentence.start])
    ]
    assert len(outside) > 50
    assert len(before) > 100
    # A longer name begins with a shorter one, so where a name ends is a matter of the words after it.
    assert sum(name[:1] in NAMES for name in NAMES if len(name) > 1) >= 3


def test_no_word_of_a_sentence_would_be_split_by_its_spaces():
    assert all(word == word.strip() and " " not in word for sentence in draw(500) for word in sentence.words)
