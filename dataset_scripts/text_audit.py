"""What the text of a corpus is like, beside the raw text that a model meets later: links, names, splitting, casing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from processing_iqcr.text_normalization import word_kind
from processing_iqcr.word_splitting import HTML_REFERENCE, split_words

from .tag_schemes import find_entities

# Each kind, and the forms in which it may stand in a post.
_FORMS = {
    "url": ("urls_joined", "urls_split"),
    "mention": ("mentions_joined", "mentions_split"),
    "hashtag": ("hashtags_joined", "hashtags_split"),
    "html": ("html_joined", "html_split"),
}

# In the order in which they are read; what never occurs is a 0.
_COUNTS = (
    *("posts", "words"),
    *(f"posts_with_{kind}" for kind in _FORMS),
    *(form for forms in _FORMS.values() for form in forms),
    "posts_split_otherwise",
    *("posts_cased", "posts_all_lower", "posts_all_upper"),
    *("words_lower", "words_title", "words_upper", "words_mixed"),
    *("entities", "entities_cased", "entities_capitalised"),
)


@dataclass
class TextAudit:
    """Counts over the posts of a corpus, added one by one."""

    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, tokens: Sequence[str], tags: Sequence[str]) -> None:
        """Count one post.

        Args:
            tokens: Its words.
            tags: One BIO tag per word.

        Raises:
            ValueError: If there are more or fewer tags than words.
        """
        if len(tags) != len(tokens):
            raise ValueError(f"{len(tokens)} words and {len(tags)} tags. Give every word one tag.")
        forms = Counter(_find_forms(tokens))
        text = " ".join(tokens)
        self._counts.update(["posts", *(f"posts_with_{kind}" for kind in _FORMS if forms.keys() & _FORMS[kind])])
        self._counts.update(forms)
        self._counts["words"] += len(tokens)
        self._counts["posts_split_otherwise"] += [word.text for word in split_words(text)] != list(tokens)
        if _is_cased(text):
            self._counts["posts_cased"] += 1
            self._counts["posts_all_lower"] += text == text.lower()
            self._counts["posts_all_upper"] += text == text.upper()
        self._counts.update(f"words_{_casing(token)}" for token in tokens if _is_cased(token))
        for token in (tokens[start] for start, _, _ in find_entities(tags)):
            self._counts["entities"] += 1
            if _is_cased(token[:1]):
                self._counts["entities_cased"] += 1
                self._counts["entities_capitalised"] += token[0] != token[0].lower()

    def counts(self) -> dict[str, Any]:
        """What was counted so far, as plain numbers.

        Returns:
            ``posts`` and ``words``, and:

            - ``posts_with_url``, ``posts_with_mention``, ``posts_with_hashtag`` and ``posts_with_html``, in any form;
            - ``urls_joined``, ``mentions_joined``, ``hashtags_joined`` and ``html_joined``: words of each kind, see
              `word_kind`; ``mentions_split`` and ``hashtags_split``: a sign that is a word, and the name the next one
              (``# 1`` is counted too, since a name may begin with a digit); ``html_split`` and ``urls_split``: in
              pieces, such as ``& gt ;``, ``& # 39 ;`` or ``https : //t.co/x``;
            - ``posts_split_otherwise``: `split_words` makes other words of their words joined by spaces;
            - ``posts_cased``: with a letter that has two cases; of them ``posts_all_lower`` and ``posts_all_upper``;
            - ``words_lower``, ``words_title`` (``Paris``, ``I``), ``words_upper`` and ``words_mixed``, of the words
              with such a letter;
            - ``entities``, read as `count_entities` does; ``entities_cased``: the first word begins with such a
              letter; ``entities_capitalised``: it is a capital.
        """
        return {name: self._counts[name] for name in _COUNTS}


def _find_forms(tokens: Sequence[str]) -> Iterator[str]:
    """The forms of every URL, mention, hashtag and character reference in a post."""
    for position, token in enumerate(tokens):
        kind = word_kind(token)
        if kind is not None:
            yield _FORMS[kind][0]
        elif token.lower() in ("http", "https") and "".join(tokens[position + 1 : position + 4]).startswith("://"):
            yield "urls_split"
        elif _is_split_reference(tokens, position):
            yield "html_split"
        elif token in ("@", "#") and not _is_split_reference(tokens, max(0, position - 1)):  # the # of & # 39 ;
            kind = word_kind(token + "".join(tokens[position + 1 : position + 2]))
            if kind in ("mention", "hashtag"):
                yield _FORMS[kind][1]


def _is_split_reference(tokens: Sequence[str], position: int) -> bool:
    """Whether an HTML character reference starts here, its letters and signs as words of their own."""
    return tokens[position] == "&" and any(
        HTML_REFERENCE.fullmatch("".join(tokens[position : position + length])) for length in (2, 3, 4)
    )


def _is_cased(text: str) -> bool:
    """Whether there is a letter with two cases."""
    return text.lower() != text.upper()


def _casing(word: str) -> str:
    """How a word with a cased letter is written; one capital alone is a title's."""
    if word == word.lower():
        return "lower"
    if word == word.capitalize():
        return "title"
    return "upper" if word == word.upper() else "mixed"
