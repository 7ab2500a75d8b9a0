"""Entities of posts, counted: how many are right, predicted and gold, of each post and of each kind."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from processing_iqcr.entities import Entity, tags_to_entities


def read_posts(tags: Iterable[Sequence[str]], strict: bool = False) -> list[set[Entity]]:
    """The entities of each post (see `tags_to_entities`)."""
    return [set(tags_to_entities(of_post, strict)) for of_post in tags]


def count_posts(gold: Sequence[set[Entity]], predicted: Sequence[set[Entity]]) -> np.ndarray:
    """Count the entities of each post.

    Args:
        gold: The gold entities of each post.
        predicted: The predicted ones.

    Returns:
        Correct, predicted and gold entities, ``(posts, 3)``, int.
    """
    counts = [(len(one & other), len(other), len(one)) for one, other in zip(gold, predicted, strict=True)]
    return np.array(counts, int).reshape(-1, 3)


def count_kinds(
    gold: Sequence[set[Entity]], predicted: Sequence[set[Entity]], kind_of: Callable[[int, Entity], str]
) -> dict[str, np.ndarray]:
    """Count the entities of each kind.

    Args:
        gold: The gold entities of each post.
        predicted: The predicted ones.
        kind_of: The kind of an entity, from the number of its post and itself. A predicted entity is of its own kind
            and not of that of the gold one it missed; a correct one is of the same kind both times.

    Returns:
        By kind correct, predicted and gold entities, ``(3,)``, int.
    """
    correct, found, wanted = Counter(), Counter(), Counter()
    for post, (one, other) in enumerate(zip(gold, predicted, strict=True)):
        correct.update(kind_of(post, entity) for entity in one & other)
        found.update(kind_of(post, entity) for entity in other)
        wanted.update(kind_of(post, entity) for entity in one)
    return {kind: np.array([correct[kind], found[kind], wanted[kind]]) for kind in wanted | found}
