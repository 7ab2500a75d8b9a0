"""The tags of one post, checked against the tag set."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from .features import TAG_NAMES

IllegalTags = Literal["error", "repair", "keep"]

# What the releases call an entity type, and what it is called here.
TYPE_ALIASES = {"OTHER": "MISC", "MIS": "MISC"}


def check_tags(
    tags: Sequence[str],
    num_words: int,
    where: str,
    tag_names: Sequence[str] = TAG_NAMES,
    illegal_tags: IllegalTags = "keep",
) -> tuple[list[str], list[int]]:
    """Check the tags of one post, and write aliases of entity types as the tag set has them.

    An ``I-X`` is illegal if the tag before it is neither ``B-X`` nor ``I-X``. Under ``repair`` the words marked as
    entities stay the same ones: the step becomes ``B-X``, which is how seqeval and conlleval read it.

    Args:
        tags: Tags as the file has them.
        num_words: Words in the post.
        where: The post and its place (file and line), put in front of every message.
        tag_names: The tag set. `TYPE_ALIASES` apply to tags that it lacks.
        illegal_tags: What to do with an illegal ``I-X``: ``error``, ``repair`` it into ``B-X``, or ``keep`` it.

    Returns:
        The tags, and the positions of those that were illegal (also when they were repaired).

    Raises:
        ValueError: If the numbers of words and tags differ, a tag is not in the set, or a step is illegal under
            ``error``.
    """
    if illegal_tags not in get_args(IllegalTags):
        raise ValueError(f"`illegal_tags` must be one of {get_args(IllegalTags)}, got {illegal_tags!r}.")
    if len(tags) != num_words:
        raise ValueError(f"{where}: {num_words} words and {len(tags)} tags. Give every word one tag.")
    checked: list[str] = []
    illegal: list[int] = []
    for position, raw in enumerate(tags):
        tag = _normalize(raw, tag_names)
        if tag not in tag_names:
            raise ValueError(
                f"{where}: word {position} has the tag {raw!r}, which is not in the tag set ({', '.join(tag_names)}). "
                "Correct the tag, or pass the tag set that the file uses."
            )
        if tag.startswith("I-") and not _continues(tag, checked[-1] if checked else "O"):
            illegal.append(position)
            if illegal_tags == "error":
                raise ValueError(
                    f"{where}: word {position} has {tag!r}, but no {tag[2:]} entity is open before it. Correct the "
                    "tag, or pass illegal_tags='repair' (makes it a B-) or 'keep'."
                )
            if illegal_tags == "repair":
                tag = f"B-{tag[2:]}"
        checked.append(tag)
    return checked, illegal


def find_entities(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Find the entities of one post.

    Read leniently, as by seqeval and conlleval: an illegal ``I-X`` begins an entity.

    Args:
        tags: Checked tags.

    Yields:
        First word, the one after the last, and type of each entity.
    """
    start = None
    for position, tag in enumerate([*tags, "O"]):
        if start is not None and not (tag.startswith("I-") and _continues(tag, tags[position - 1])):
            yield start, position, tags[start][2:]
            start = None
        if start is None and tag != "O":
            start = position


def count_entities(tags: Sequence[str]) -> Counter[str]:
    """Count the entities of one post by type, as `find_entities` finds them.

    Args:
        tags: Checked tags.

    Returns:
        Entities per type; types that do not occur are left out.
    """
    return Counter(entity_type for _, _, entity_type in find_entities(tags))


def _continues(tag: str, previous: str) -> bool:
    """Whether an ``I-X`` continues the entity of the tag before it."""
    return previous in (tag, f"B-{tag[2:]}")


def _normalize(tag: str, tag_names: Sequence[str]) -> str:
    """Replace an entity type by the name it has here, unless the tag set knows it as it is."""
    prefix, separator, entity_type = tag.partition("-")
    return tag if tag in tag_names else prefix + separator + TYPE_ALIASES.get(entity_type, entity_type)
