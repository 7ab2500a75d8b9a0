"""The one place where tags become entities, and entities become tags again.

Tags are BIO: ``O`` outside, ``B-X`` the first word of an entity of type X, ``I-X`` a further one. Real annotation and
models both write an ``I-X`` that continues nothing, and there are two ways to read it:

- lenient, as ``conlleval`` and seqeval's default: it begins an entity of its own. It is the reading behind nearly all
  published numbers of this field, and the default here: no marked word is lost.
- strict IOB2: only ``B-X`` begins an entity, so a stray ``I-X`` belongs to none.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Entity(NamedTuple):
    """A typed span of words.

    Attributes:
        start: Its first word, counted from 0.
        end: The word after its last one.
        type: What it names, such as ``PER``.
    """

    start: int
    end: int
    type: str


def parse_tag(tag: str) -> tuple[str, str]:
    """Split a BIO tag into its prefix and its type.

    Args:
        tag: ``O``, ``B-X`` or ``I-X``. The type may contain hyphens.

    Returns:
        ``B`` or ``I`` and the type, or ``("O", "")``.

    Raises:
        ValueError: If `tag` is none of the three forms.
    """
    if tag == "O":
        return "O", ""
    if isinstance(tag, str) and tag[:2] in ("B-", "I-") and len(tag) > 2:
        return tag[0], tag[2:]
    raise ValueError(
        f"{tag!r} is not a BIO tag: expected 'O', 'B-TYPE' or 'I-TYPE'. Convert other schemes to BIO first."
    )


def tags_to_entities(tags: Sequence[str], strict: bool = False) -> list[Entity]:
    """Read the entities of one post from its tags.

    Args:
        tags: One BIO tag per word.
        strict: What to do with an ``I-X`` that follows neither ``B-X`` nor ``I-X``. ``False``: it begins an entity.
            ``True``: it belongs to none, and neither does an ``I-X`` that follows it.

    Returns:
        The entities from left to right, without overlaps.

    Raises:
        ValueError: If a tag is not BIO.
    """
    entities = []
    start, open_type = 0, None
    for position, tag in enumerate(tags):
        try:
            prefix, entity_type = parse_tag(tag)
        except ValueError as error:
            raise ValueError(f"Word {position}: {error}") from None
        if prefix == "I" and entity_type == open_type:
            continue
        if open_type is not None:
            entities.append(Entity(start, position, open_type))
        begins = prefix == "B" or (prefix == "I" and not strict)
        start, open_type = position, entity_type if begins else None
    if open_type is not None:
        entities.append(Entity(start, len(tags), open_type))
    return entities


def entities_to_tags(entities: Iterable[Entity], num_words: int) -> list[str]:
    """Write entities as BIO tags, which either reading of `tags_to_entities` turns back into the same entities.

    Args:
        entities: The entities of one post as ``(start, end, type)``, in any order.
        num_words: Words in the post, 0 or more.

    Returns:
        One tag per word.

    Raises:
        ValueError: If an entity is empty, leaves the post or has no type, or if two overlap.
    """
    tags = ["O"] * num_words
    for start, end, entity_type in entities:
        where = f"Entity ({start}, {end}, {entity_type!r})"
        if not 0 <= start < end <= num_words:
            raise ValueError(
                f"{where} does not fit a post of {num_words} words: expected 0 <= start < end <= {num_words} "
                "(end is the word after the last)."
            )
        if not entity_type:
            raise ValueError(f"{where} has no type: BIO tags need one.")
        if any(tag != "O" for tag in tags[start:end]):
            raise ValueError(f"{where} overlaps another entity: BIO tags hold one entity per word.")
        tags[start:end] = [f"B-{entity_type}"] + [f"I-{entity_type}"] * (end - start - 1)
    return tags
