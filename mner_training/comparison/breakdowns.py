"""Parts of a test split that are also measured apart: types, pictures, their scores, entities seen in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mner_training.comparison.results import DatasetResults, Run
from processing_iqcr.entities import Entity

MANY_PICTURES = 4
"""From so many pictures on, posts are of one group."""
THIRDS = ("low", "middle", "high")
NO_SCORE = "no score"
SEEN, UNSEEN = "seen", "unseen"


@dataclass(frozen=True)
class Breakdown:
    """How the entities of a split fall into groups.

    Attributes:
        name: ``type``, ``pictures``, ``quality``, ``relevance`` or ``novelty``.
        group_of: The group of an entity, from the number of its post and itself.
        groups: The groups, in the order in which they are shown.
        facts: What is to be known of a group by its name, such as ``posts`` or the borders ``from`` and ``to``.
        source: The folder of the run whose record of pictures and scores was taken; ``None`` where none is needed.
    """

    name: str
    group_of: Callable[[int, Entity], str]
    groups: list[str]
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    source: str | None = None


def make_breakdowns(
    dataset: DatasetResults, gold: Sequence[set[Entity]], predicted: Sequence[Sequence[set[Entity]]], reference: str
) -> tuple[list[Breakdown], dict[str, str]]:
    """Find the groups of a data set.

    Args:
        dataset: The runs on it.
        gold: The gold entities of each post.
        predicted: For each run the predicted entities of each post.
        reference: The system whose record of pictures and scores is preferred. Of text-only runs there is none, and
            that of a negative control is wrong on purpose.

    Returns:
        The breakdowns, and by name the reason why one cannot be made.
    """
    made, missing = [_by_type(gold, predicted)], {}
    order = [reference, *(name for name in dataset.runs if name != reference)]
    runs = [run for name in order for run in dataset.runs.get(name, []) if not run.is_control]
    source = next((run for run in runs if any(run.images)), None)
    if source is None:
        missing["pictures"] = "no run that is done has pictures"
    else:
        made.append(_by_pictures(source))
    for kind in ("quality", "relevance"):
        source = next((run for run in runs if any(_scores(images, kind) for images in run.images)), None)
        if source is None:
            missing[kind] = f"no run that is done has scores of {kind}"
        else:
            made.append(_by_score(source, kind))
    if dataset.training_entities is None:
        missing["novelty"] = "the entities of the training split are not known"
    else:
        made.append(_by_novelty(dataset.words, dataset.training_entities))
    return made, missing


def _by_type(gold: Sequence[set[Entity]], predicted: Sequence[Sequence[set[Entity]]]) -> Breakdown:
    """By the type of the entity; types that some run has made up come last."""
    known = sorted({entity.type for entities in gold for entity in entities})
    others = {entity.type for run in predicted for entities in run for entity in entities} - set(known)
    return Breakdown("type", lambda _, entity: entity.type, [*known, *sorted(others)])


def _by_pictures(source: Run) -> Breakdown:
    """By the number of pictures that the post has, whether or not a system looks at all of them."""
    labels = [str(number) for number in range(MANY_PICTURES)] + [f"{MANY_PICTURES}+"]
    return _by_post("pictures", [labels[min(len(images), MANY_PICTURES)] for images in source.images], labels, source)


def _by_score(source: Run, kind: str) -> Breakdown:
    """By the mean score of the post's pictures, in thirds of the posts that have one."""
    means = [float(np.mean(found)) if (found := _scores(images, kind)) else None for images in source.images]
    known = [mean for mean in means if mean is not None]
    borders = np.quantile(known, [1 / 3, 2 / 3])
    # Equal scores are never parted, so that with many of them the thirds are no thirds.
    labels = [NO_SCORE if mean is None else THIRDS[int((mean > borders).sum())] for mean in means]
    breakdown = _by_post(kind, labels, [*THIRDS, NO_SCORE], source)
    for group in breakdown.groups:
        inside = [mean for mean, label in zip(means, labels, strict=True) if label == group and mean is not None]
        if inside:
            breakdown.facts[group] |= {"from": min(inside), "to": max(inside)}
    return breakdown


def _by_post(name: str, labels: Sequence[str], order: Sequence[str], source: Run) -> Breakdown:
    """By a property of the post; groups without a post are left out."""
    groups = [label for label in order if label in labels]
    facts = {group: {"posts": labels.count(group)} for group in groups}
    return Breakdown(name, lambda post, _: labels[post], groups, facts, source.folder)


def _by_novelty(words: Sequence[Sequence[str]], training: set[tuple[str, str]]) -> Breakdown:
    """By whether the training split has an entity of exactly these words and this type."""

    def group_of(post: int, entity: Entity) -> str:
        surface = " ".join(words[post][entity.start : entity.end])
        return SEEN if (surface, entity.type) in training else UNSEEN

    return Breakdown("novelty", group_of, [SEEN, UNSEEN])


def _scores(images: Sequence[dict[str, float | None]], kind: str) -> list[float]:
    """The scores of a post's pictures that are known."""
    return [image[kind] for image in images if image[kind] is not None]
