r"""Raw text into words with character offsets, the way the Twitter corpora are split.

The rules were read off the training tweets of Twitter-2017, whose words must come back from the space-joined text:

- a run of letters, digits and underscores is a word: ``NBAFinals2017``, ``NFL_Bandit``;
- digits in front are a word of their own: ``5 th``, ``7 pm``, ``3 D``. A number keeps its decimals, its groups of
  thousands and a comma right after it (``10,000``, ``9.30``, ``21,``: 36 commas of 37), but not a second dot
  (``07.05 . 16``), colon or full stop;
- the emoticons ``:)``, ``:(``, ``:D`` and their forms with a nose are one word;
- every other character is a word by itself, be it ``#``, ``@``, an apostrophe (``I ' m``), each of several full stops
  or each code point of an emoji: variation selectors, joiners, skin tones and the two halves of a flag always stand
  alone in the corpus, and a model must meet at inference what it met in training.

Three rules are ours:

- a URL is one word; these tweets hold none;
- an HTML character reference with its semicolon (``&amp;``, ``&#39;``, ``&#x27;``) is one word, left as it is written.
  The corpus was decoded before it was split, but for 32 ``&gt;`` that stand there as three words. In a URL ``&amp;``
  is a part of it, and any other reference is its end, as the bracket or quote would be that it stands for;
- a combining mark stays with its base (Python's ``\w`` leaves marks out and would cut Hindi or decomposed accents to
  pieces).

What the model reads of a URL or a reference is decided elsewhere, by `normalize_word`: words are never changed here.
"""

import re
import unicodedata
from collections.abc import Sequence
from html.entities import html5
from typing import NamedTuple


class Word(NamedTuple):
    """A word and where it stands in its text."""

    text: str
    """Its characters, ``text[start:end]`` of the whole."""
    start: int
    """Offset of its first character, in code points from 0."""
    end: int
    """Offset after its last character."""


def _combining_marks() -> str:
    """Every combining mark but the two selectors that style an emoji, as the inside of a character class."""
    # Beyond U+1FFFF the only marks are the variation selectors supplement, so an eighth of the code points will do.
    codes = [*range(0x300, 0xFE0E), *range(0xFE10, 0x20000), *range(0xE0100, 0xE01F0)]
    return "".join(mark for mark in map(chr, codes) if unicodedata.category(mark).startswith("M"))


MARKS = _combining_marks()
"""Combining marks as the inside of a character class: what ``\\w`` leaves out of a word."""

# The names that HTML knows with a semicolon, and numbers up to the last code point.
_NAMES = "|".join(name.removesuffix(";") for name in html5 if name.endswith(";"))
HTML_REFERENCE = re.compile(rf"&(?:{_NAMES}|\#[0-9]{{1,7}}|\#[xX][0-9a-fA-F]{{1,6}});")
"""An HTML character reference with its semicolon."""

# A URL may hold any of these characters, and ends in one of the second set: the full stop after it is not its own.
URL = re.compile(
    rf"(?i:https?://|(?<!\w)www\.|pic\.twitter\.com/)\w"
    rf"(?:[\w{MARKS}\-.~:/?#\[\]@!$'()*+,;=%]|&amp;|&(?!{HTML_REFERENCE.pattern[1:]}))*"
    rf"(?:(?<=[\w{MARKS}/#=&+~%-])|(?<=&amp;))"
)
"""A URL, where it stands in a text or as a whole word."""

_WORD = re.compile(
    rf"""(?: {HTML_REFERENCE.pattern}
          | \d+ (?:,\d{{3}}(?!\d))* (?:\.\d+|,)?                    # 2017   10,000   9.30   21,
          | [^\W\d] (?: [\w{MARKS}] | [\u200c\u200d](?=\w) )*       # letters; a joiner inside a word belongs to it
          | :-? (?: [()] | D(?!\w) )                                 # emoticons, but not the colon of "RT:Don"
          | \S ) [{MARKS}]*""",
    re.VERBOSE,
)


def split_words(text: str) -> list[Word]:
    """Split a text into words, in time linear in its length.

    Args:
        text: Any text, with or without spaces between its words.

    Returns:
        The words in order. They do not overlap, ``text[start:end]`` is each one's own text, and together they hold
        every character that is not white space. Splitting the words joined by spaces gives the same words.
        An empty list for a text without any.
    """
    words = []
    position = 0
    for url in URL.finditer(text):
        words += _split_plain(text, position, url.start())
        words.append(Word(url.group(), *url.span()))
        position = url.end()
    return words + _split_plain(text, position, len(text))


def join_words(words: Sequence[str]) -> tuple[str, list[Word]]:
    """Join words by spaces.

    Args:
        words: The words, each any string.

    Returns:
        The text, and the words with their offsets in it.
    """
    located, position = [], 0
    for word in words:
        located.append(Word(word, position, position + len(word)))
        position += len(word) + 1
    return " ".join(words), located


def _split_plain(text: str, start: int, end: int) -> list[Word]:
    """The words of a stretch of text that holds no URL."""
    return [Word(match.group(), *match.span()) for match in _WORD.finditer(text, start, end)]
