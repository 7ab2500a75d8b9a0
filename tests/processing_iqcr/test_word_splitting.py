"""Words against hand-split texts, the words of the published corpora, and properties that hold for any string."""

# ruff: noqa: RUF001 (tweets hold look-alikes of quotes and dashes)

import os
import re
import time
from html.entities import html5
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing_iqcr.word_splitting import Word, split_words

TWEETS = Path(os.environ.get("IQCR_MI_DATA", Path(__file__).parents[3] / "shared" / "data")) / "twitter2017"


def texts_of(text):
    return [word.text for word in split_words(text)]


def read_tweets(name):
    path = TWEETS / name
    if not path.is_file():
        pytest.skip(f"no tweets at {path}; set IQCR_MI_DATA to the folder that holds twitter2017/")
    posts = path.read_text(encoding="utf-8").split("IMGID:")[1:]
    return [[line.split("\t")[0] for line in post.split("\n")[1:] if line.strip()] for post in posts]


def glue(words):
    """Join words as people type them: no space before closing marks, after opening ones or around inner ones."""
    text = ""
    for before, word in zip(["", *words], words, strict=False):
        tight = (
            word in tuple(".,!?:;)]%…’'/-–—")
            or before in tuple("#@([$£'’‘“/-–—")
            or (before.isdigit() and word in ("st", "nd", "rd", "th", "pm", "am", "s", "ers"))
            or (len(before) == len(word) == 1 and ord(before) > 0x2000 and ord(word) > 0x2000)
        )
        text += word if tight or not text else " " + word
    return text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\r\n\u00a0\u3000", []),
        ("RT @NBA: #NBAFinals", "RT @ NBA : # NBAFinals"),
        ("@757_HS_Soccer #76ers #the1975", "@ 757 _HS_Soccer # 76 ers # the1975"),
        ("I'm, you’re, rock'n'roll", "I ' m , you ’ re , rock ' n ' roll"),
        ("at 7:30pm on May 21, 2016.", "at 7 : 30 pm on May 21, 2016 ."),
        ("$54,500 1,234,567.89 £9.30 07.05.16 13.5%", "$ 54,500 1,234,567.89 £ 9.30 07.05 . 16 13.5 %"),
        ("5th 3D-printed 20/20 co-host", "5 th 3 D - printed 20 / 20 co - host"),
        ("wait... what…?!", "wait . . . what … ? !"),
        ("yes :) no :( :-( ha :D RT:Don", "yes :) no :( :-( ha :D RT : Don"),
        ("A&amp;B &gt; C", "A &amp; B &gt; C"),
        ("don&#39;t &#X1f602;&Eacute;\u0301", "don &#39; t &#X1f602; &Eacute;\u0301"),
        ("a&b; &amp &AMP; &#;&#x;&foo;&#12345678;", "a & b ; & amp &AMP; & # ; & # x ; & foo ; & # 12345678 ;"),
        ("&amp;gt; &&gt;;", "&amp; gt ; & &gt; ;"),
        (
            "Beyoncé Dembe\u0301le\u0301 हिन्दी \u0645\u06cc\u200c\u062e",
            "Beyoncé Dembe\u0301le\u0301 हिन्दी \u0645\u06cc\u200c\u062e",
        ),
        ("so 😂😂❤\ufe0f", "so 😂 😂 ❤ \ufe0f"),
        ("👍🏽🇺🇸 👩\u200d👧", "👍 🏽 🇺 🇸 👩 \u200d 👧"),
        ("a\x00b \u202ec\u200bd", "a \x00 b \u202e c \u200b d"),
        ("See https://t.co/aB3-x9.", "See https://t.co/aB3-x9 ."),
        ("(HTTP://x.org/a_(b)?q=1&r=2#top), ok", "( HTTP://x.org/a_(b)?q=1&r=2#top ) , ok"),
        ("endhttps://t.co/a…www.nba.com/x! awww.no", "end https://t.co/a … www.nba.com/x ! awww . no"),
        ("http://x.org/?q=1&amp;r=2&amp;.", "http://x.org/?q=1&amp;r=2&amp; ."),
        ("&lt;http://x.org/a&gt;b &quot;www.x.org&quot;", "&lt; http://x.org/a &gt; b &quot; www.x.org &quot;"),
        ("http://x.org/?a=1&b;c=2;", "http://x.org/?a=1&b;c=2 ;"),
        ("pic.twitter.com/Ab1😂", "pic.twitter.com/Ab1 😂"),
        ("https:// www. nba.com", "https : / / www . nba . com"),
    ],
)
def test_hand_split_texts(text, words):
    assert texts_of(text) == (words.split(" ") if isinstance(words, str) else words)


def test_offsets_by_hand():
    assert split_words(" @NBA’s  😂!") == [
        Word("@", 1, 2),
        Word("NBA", 2, 5),
        Word("’", 5, 6),
        Word("s", 6, 7),
        Word("😂", 9, 10),
        Word("!", 10, 11),
    ]


def test_every_named_reference_of_html_is_one_word():
    for name in html5:
        words = texts_of(f"a&{name}b")
        if name.endswith(";"):
            assert words == ["a", f"&{name}", "b"]
        else:  # older names, which browsers read without the semicolon
            assert words == ["a", "&", f"{name}b"]


@pytest.mark.parametrize("name", ["train.txt", "valid.txt", "test.txt"])
def test_space_joined_tweets_give_the_words_of_the_corpus(name):
    posts = read_tweets(name)
    same = sum(texts_of(" ".join(words)) == words for words in posts)
    assert same >= 0.99 * len(posts)


def test_tweets_written_as_people_type_them_give_the_words_of_the_corpus():
    posts = read_tweets("train.txt")
    typed = [glue(words) for words in posts]
    same = sum(texts_of(text) == words for text, words in zip(typed, posts, strict=True))
    split_at_spaces = sum(text.split() == words for text, words in zip(typed, posts, strict=True))
    assert split_at_spaces < 0.2 * len(posts)  # or the test would prove nothing
    assert same >= 0.99 * len(posts)


PIECES = [
    *" \t\n#@:;()[]-_'’.,/?&%0123789abDé½²",
    *"\u0301\u0308\u093f\u20e3\u200b\u200c\u200d\u200e\u202e\ufeff\ufe0e\ufe0f\x00\x85\xa0\ud83d\udc4d\U000e0101\U000e0067",
    *"👍🏽🇺🇸❤漢ي",
    *("&amp;", "&lt;", "&nbsp;", "&#39;", "&#x27;", "gt;", "amp;", "#39;"),
    *("https://", "http://a", "www.", "www.b", "pic.twitter.com/", ":)", ":-D", "1,234", "21,", "9.3"),
]


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text(max_size=60)))
def test_any_text_is_split_without_loss(text):
    words = split_words(text)
    assert all(text[word.start : word.end] == word.text != "" for word in words)
    assert all(before.end <= after.start for before, after in pairwise(words))
    assert "".join(word.text for word in words) == "".join(text.split())
    assert texts_of(" ".join(word.text for word in words)) == [word.text for word in words]
    assert not any(re.search(r"\s", word.text) for word in words)


ADVERSARIES = [
    *(
        "a",
        "1",
        ".",
        "1,",
        "1,111",
        ":-",
        "\u0301",
        "a\u0301",
        "a\u200d",
        " ",
        "www.",
        ".www.",
        "h",
        "http",
        "https://",
    ),
    *("&", "&a", "&amp", "&amp;", "&amp;.", "&gt;", "&#1", "&CounterClockwiseContourIntegra"),
    *("https://a..", "pic.twitter.com/", "1.", "_", "\ud83d", "\x00", "👩\u200d"),
]


@pytest.mark.parametrize("piece", ADVERSARIES, ids=ascii)
def test_long_texts_take_linear_time(piece):
    text = "https://a" + piece * (50_000 // len(piece))
    start = time.perf_counter()
    words = split_words(text[9:]) + split_words(text)
    assert time.perf_counter() - start < 5  # about 0.2 s; anything quadratic takes minutes
    assert sum(len(word.text) for word in words) == 2 * len("".join(text.split())) - 9
