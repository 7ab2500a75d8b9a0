r"""What the model reads of a word: one policy for URLs, names and HTML entities, shared by training and inference.

The words of a post, their number and their offsets stay as they are, so tags, predictions and entities speak of the
text as it was written. Only what the tokenizer is given of a word changes:

- a URL is read as ``http``, as the Twitter RoBERTa models read it: the letters of a link say nothing, and would cost
  ten sub-tokens and more;
- HTML character references are decoded: ``&amp;`` is read as ``&``, ``R&amp;B`` as ``R&B``;
- half a surrogate pair, which broken JSON leaves behind and no tokenizer takes, is read as U+FFFD;
- mentions and hashtags are read as they are. Raw text is split between the sign and the name, as in Twitter-2017; a
  corpus that was split otherwise may hold ``@name`` as one word.
"""

import html
import re
from typing import Literal

from .word_splitting import HTML_REFERENCE, URL

WordKind = Literal["url", "mention", "hashtag", "html"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_SIGNED_NAME = re.compile(r"[@#]\w")


def normalize_word(word: str) -> str:
    """What the model reads of a word.

    Args:
        word: A word, from `split_words` or of a corpus that was split otherwise.

    Returns:
        ``http`` for a URL. Half a surrogate pair is read as U+FFFD. A word with HTML character references has them
        decoded once, so ``&amp;gt;`` gives ``&gt;``; white space among them (``&nbsp;``) is a space between letters,
        and falls away at the ends. Where that would leave nothing, and for all other words, the word itself: what
        could be read before still can.
    """
    if URL.fullmatch(word):
        return "http"
    if _SURROGATE.search(word):
        word = word.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")  # two halves become one again
    decoded, references = HTML_REFERENCE.subn(lambda match: html.unescape(match.group()), word)
    return (" ".join(decoded.split()) if references else "") or word


def word_kind(word: str) -> WordKind | None:
    """Which of the kinds that the policy names a word is of.

    Args:
        word: A word. A bare ``@`` or ``#`` is of no kind: whether a name follows, only the next word tells.

    Returns:
        ``url``; ``html`` for a word that holds an HTML character reference; ``mention`` and ``hashtag`` for one that
        begins with the sign and a letter, digit or underscore, whatever follows (``@NBA's``); ``None`` for all others.
    """
    if URL.fullmatch(word):
        return "url"
    if HTML_REFERENCE.search(word):
        return "html"
    if _SIGNED_NAME.match(word):
        return "mention" if word[0] == "@" else "hashtag"
    return None
