"""What is read of a word, by hand and against `html.unescape`, and which kind it is of."""

import html
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing_iqcr.text_normalization import normalize_word, word_kind
from processing_iqcr.word_splitting import split_words


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("https://t.co/aB3-x9", "http"),
        ("HTTP://x.org/?q=1&amp;r=2#top", "http"),
        ("www.nba.com", "http"),
        ("pic.twitter.com/Ab1", "http"),
        ("https://t.co/aB3.", "https://t.co/aB3."),  # a URL and more is no URL
        ("endhttps://t.co/aB3", "endhttps://t.co/aB3"),
        ("https://", "https://"),
        ("http", "http"),
        ("&amp;", "&"),
        ("&gt;", ">"),
        ("&quot;", '"'),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#128514;", "😂"),
        ("&#150;", "–"),  # a browser's reading, of Windows-1252  # noqa: RUF001
        ("R&amp;B", "R&B"),
        ("&lt;3&lt;3", "<3<3"),
        ("&amp;gt;", "&gt;"),  # once
        ("&ampgt;", "&ampgt;"),
        ("&notit;", "&notit;"),  # html.unescape reads its first four characters
        ("&copy2", "&copy2"),
        ("AT&T;", "AT&T;"),
        ("&;", "&;"),
        ("Tom&nbsp;Hanks", "Tom Hanks"),
        ("&nbsp;Paris&nbsp;", "Paris"),
        ("&nbsp;", "&nbsp;"),
        ("&#32;&#11;", "&#32;&#11;"),  # a space and nothing
        ("&#0;", "\ufffd"),
        ("&#xD800;", "\ufffd"),
        ("&zwj;", "\u200d"),
        ("@NBA", "@NBA"),
        ("#NBAFinals2017", "#NBAFinals2017"),
        ("@", "@"),
        ("", ""),
        (" ", " "),
        ("two  words", "two  words"),
    ],
)
def test_what_is_read_by_hand(word, read):
    assert normalize_word(word) == read


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("https://t.co/aB3?a&amp;b", "url"),
        ("www.nba.com", "url"),
        ("www.", None),
        ("http", None),
        ("&amp;", "html"),
        ("&#x27;", "html"),
        ("R&amp;B", "html"),
        ("&foo;", None),
        ("&", None),
        ("@NBA", "mention"),
        ("@757_HS", "mention"),
        ("@NBA's", "mention"),
        ("#NBAFinals", "hashtag"),
        ("#हिन्दी", "hashtag"),
        ("@", None),
        ("#", None),
        ("@@", None),
        ("#\ufe0f\u20e3", None),  # the keycap
        ("me@nba.com", None),
        ("Paris", None),
        ("", None),
    ],
)
def test_kind_by_hand(word, kind):
    assert word_kind(word) == kind


# &#38; gives an & that a following "gt;" would make a reference: only text without one may be compared whole.
references = st.one_of(
    st.sampled_from(["&lt;", "&gt;", "&quot;", "&hearts;", "&eacute;", "&fjlig;", "&nbsp;", "&ensp;", "&Tab;"]),
    st.integers(0, 0x110000).filter(lambda code: code != 38).map(lambda code: f"&#{code};"),
    st.integers(0, 0x110000).filter(lambda code: code != 38).map(lambda code: f"&#x{code:x};"),
)
plain = st.text(st.characters(exclude_characters="&", exclude_categories=["Z", "Cc", "Cs"]), max_size=6)


@given(st.lists(st.one_of(references, plain), max_size=5).map("".join))
def test_decodes_as_pythons_html_library_and_reads_white_space_as_spaces(word):
    if word_kind(word) == "html":
        assert normalize_word(word) == (" ".join(html.unescape(word).split()) or word)


@given(st.text(max_size=20))
def test_words_without_url_or_reference_stay_and_all_are_read_as_something(word):
    if word_kind(word) not in ("url", "html"):
        assert normalize_word(word) == word
    assert bool(normalize_word(word).strip()) == bool(word.strip())


mixed = st.lists(
    st.one_of(references, plain, st.sampled_from(["&amp;", "&#38;", "https://a/?", "www.b", "@", "#", " ", "gt;"])),
    max_size=12,
).map("".join)


@given(mixed)
def test_words_of_any_text_keep_number_and_stay_once_normalized(text):
    words = [word.text for word in split_words(text)]
    once = [normalize_word(word) for word in words]
    assert all(read.strip() for read in once)
    assert [normalize_word(read) for read in once] == once


def test_numbers_of_any_length_neither_fail_nor_are_read():
    word = f"&#{'9' * (sys.get_int_max_str_digits() + 1)};"  # html.unescape fails here
    assert normalize_word(word) == word
    assert word_kind(word) is None
