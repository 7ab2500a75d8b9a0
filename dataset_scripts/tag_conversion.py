"""Other notations of entities, written as BIO: the tags of IOB1 and IOBES, and spans of characters."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Literal, get_args

from processing_iqcr.word_splitting import Word

TagScheme = Literal["bio", "iob1", "iobes"]

_PREFIXES = {"bio": "BI", "iob1": "BI", "iobes": "BIELSU"}

# Characters of a span that a message quotes.
_QUOTED = 60


def to_bio(tags: Sequence[str], scheme: TagScheme, where: str) -> list[str]:
    """Write the tags of one post as BIO.

    An entity ends where its own notation ends it. A step that continues nothing keeps its ``I-``, so that
    `check_tags` sees it, counts it and treats it as all others.

    Args:
        tags: ``O``, or a prefix, a dash and a type. The type may contain further dashes.
        scheme: ``bio``: the tags stay as they are. ``iob1``: ``I-`` begins an entity unless it continues one of its
            type, and ``B-`` begins one in any case. ``iobes``: ``S-`` is an entity of one word and ``E-`` the last
            word of one; ``U-`` and ``L-`` (BILOU) mean the same.
        where: The post and its place (file and line), put in front of every message.

    Returns:
        One tag per word: ``O``, ``B-X`` or ``I-X``.

    Raises:
        ValueError: If the scheme is unknown, a tag is none of its tags, or a tag continues an entity that ``E-``,
            ``L-``, ``S-`` or ``U-`` has just ended: as BIO it would lengthen that entity, and nobody would see it.
    """
    if scheme not in get_args(TagScheme):
        raise ValueError(f"The tag scheme must be one of {get_args(TagScheme)}, got {scheme!r}.")
    converted: list[str] = []
    ended = None  # the type of the entity that the tag before has ended
    for position, tag in enumerate(tags):
        prefix, entity_type = _split_tag(tag, scheme, f"{where}: word {position}")
        if prefix in ("I", "E", "L") and entity_type == ended:
            raise ValueError(
                f"{where}: word {position} has the tag {tag!r}, but {tags[position - 1]!r} before it has ended the "
                f"entity. Write B-{entity_type} or S-{entity_type} if another one begins here, or correct the tag "
                "before."
            )
        ended = entity_type if prefix in ("E", "L", "S", "U") else None
        continues = bool(converted) and converted[-1] in (f"B-{entity_type}", f"I-{entity_type}")
        if prefix == "O":
            converted.append("O")
        elif prefix in ("B", "S", "U") or (scheme == "iob1" and not continues):
            converted.append(f"B-{entity_type}")
        else:
            converted.append(f"I-{entity_type}")
    return converted


def spans_to_bio(
    text: str, words: Sequence[Word], entities: Sequence[tuple[Any, Any, Any]], where: str
) -> tuple[list[str], list[str]]:
    """Write entities given as spans of characters as one BIO tag per word.

    A span becomes the words that it touches: white space at its ends is trimmed, and a word that it holds in part
    counts as a whole. Either is reported.

    Args:
        text: The text of one post.
        words: Its words in order, as `split_words` gives them.
        entities: ``(start, end, label)`` in any order. Offsets are code points from 0, `end` is the one after the
            last.
        where: The post and its place (file and line), put in front of every message.

    Returns:
        The tags, and a sentence for every span that was trimmed or widened.

    Raises:
        ValueError: If a bound is no whole number, a label is not a string without white space, or a span is empty or
            reversed, leaves the text, holds no word or shares a word with another.
    """
    starts, ends = [word.start for word in words], [word.end for word in words]
    tags, repairs = ["O"] * len(words), []
    owners: list[str | None] = [None] * len(words)
    for start, end, label in entities:
        span = f"the entity ({start!r}, {end!r}, {label!r})"
        _check_span(start, end, label, len(text), f"{where}: {span}")
        first, last = bisect_right(ends, start), bisect_left(starts, end)  # the words first, ..., last - 1
        if first >= last:
            raise ValueError(
                f"{where}: {span} holds no word, only {text[start:end][:_QUOTED]!r}. Take it out or correct its "
                "offsets, which count code points from 0."
            )
        whole_start, whole_end = starts[first], ends[last - 1]
        other = next((owner for owner in owners[first:last] if owner), None)
        if other:
            raise ValueError(
                f"{where}: {span} and {other} have a word in common in {text[whole_start:whole_end][:_QUOTED]!r}. "
                "A word can have one entity: keep one of the two, or part them at the end of a word."
            )
        trimmed = start < whole_start or whole_end < end
        widened = whole_start < start or end < whole_end
        if trimmed or widened:
            done = "trimmed and widened" if trimmed and widened else "trimmed" if trimmed else "widened"
            repairs.append(
                f"The entity ({start}, {end}, {label!r}), {text[start:end][:_QUOTED]!r}, was {done} to whole words: "
                f"({whole_start}, {whole_end}), {text[whole_start:whole_end][:_QUOTED]!r}."
            )
        tags[first:last] = [f"B-{label}"] + [f"I-{label}"] * (last - first - 1)
        owners[first:last] = [span] * (last - first)
    return tags, repairs


def _split_tag(tag: str, scheme: TagScheme, word: str) -> tuple[str, str]:
    """The prefix and the type of a tag of the scheme."""
    if tag == "O":
        return "O", ""
    prefix, _, entity_type = tag.partition("-")
    is_tag = re.fullmatch(r"[A-Z]-\S+", tag) is not None
    if is_tag and prefix in _PREFIXES[scheme]:
        return prefix, entity_type
    cure = "Correct the tag"
    if is_tag and prefix in _PREFIXES["iobes"]:
        cure = "Pass --tag-scheme iobes if the file is in IOBES or BILOU, or correct the tag"
    expected = ", ".join(f"{known}-TYPE" for known in _PREFIXES[scheme])
    raise ValueError(f"{word} has the tag {tag!r}. Expected O, {expected}, a type without white space. {cure}.")


def _check_span(start: Any, end: Any, label: Any, num_characters: int, span: str) -> None:
    """Refuse a span that no text of this length can hold."""
    # A bool is an int to Python, but no offset.
    if type(start) is not int or type(end) is not int:
        raise ValueError(f"{span} has a bound that is no whole number. Write `start` and `end` as whole numbers.")
    if not isinstance(label, str) or not re.fullmatch(r"\S+", label):
        raise ValueError(f"{span} has a label that is no name. Write a string without white space, such as 'PER'.")
    if not 0 <= start < end <= num_characters:
        raise ValueError(
            f"{span} is empty, reversed or leaves the text of {num_characters} characters. Expected 0 <= start < end "
            f"<= {num_characters}, counted in code points, with `end` after the last."
        )
