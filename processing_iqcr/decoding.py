"""The one place where predictions become entities: scores of windows to tags, entities and their probabilities."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch

from .entities import Entity, tags_to_entities
from .windows import Window, merge_windows

POSTS_AT_ONCE = 256


class PostPrediction(NamedTuple):
    """What a model says of one post.

    Attributes:
        tags: One BIO tag per word.
        entities: The entities that the tags spell.
        probabilities: For each entity the probability that exactly these words carry exactly this entity, in
            ``[0, 1]``, under all tag sequences.
    """

    tags: list[str]
    entities: list[Entity]
    probabilities: list[float]


@torch.no_grad()
def decode_posts(
    model, logits: torch.Tensor, word_mask: torch.Tensor, windows: Sequence[Window]
) -> list[PostPrediction]:
    """Tag posts from the scores of their windows.

    The scores are merged first and decoded then: a post of several windows is one chain, without seams.

    Args:
        model: A model with ``decode``, ``entity_log_probability`` and BIO labels.
        logits: Emission scores, ``(R, T, C)``.
        word_mask: ``True`` on the first sub-token of each word, ``(R, T)``, bool.
        windows: The window of each row.

    Returns:
        One prediction per post, in the order of the posts' numbers.

    Raises:
        ValueError: If a post has no window, or rows, masks and windows do not fit together.
    """
    labels = model.config.id2label
    predictions = []
    for emissions, mask in _merged_posts(model, logits, word_mask, windows):
        num_words = mask.sum(dim=1).tolist()
        tag_ids = model.decode(emissions, mask).tolist()
        tags = [[labels[tag] for tag in ids[:count]] for ids, count in zip(tag_ids, num_words, strict=True)]
        entities = [tags_to_entities(post_tags) for post_tags in tags]
        probabilities = _probabilities(model, emissions, mask, entities)
        predictions.extend(map(PostPrediction, tags, entities, probabilities))
    return predictions


@torch.no_grad()
def score_entities(
    model,
    logits: torch.Tensor,
    word_mask: torch.Tensor,
    windows: Sequence[Window],
    entities: Sequence[Sequence[Entity]],
) -> list[list[float]]:
    """The probability of given entities, which need not be those that the model would choose.

    Args:
        model: As in `decode_posts`.
        logits: Likewise.
        word_mask: Likewise.
        windows: Likewise.
        entities: For each post the entities to ask for.

    Returns:
        For each post one probability in ``[0, 1]`` per entity: that exactly these words carry exactly this entity.

    Raises:
        ValueError: As `decode_posts`; or if an entity is not inside its post, or of a type that the model has not.
    """
    probabilities = []
    for emissions, mask in _merged_posts(model, logits, word_mask, windows):
        asked = entities[len(probabilities) : len(probabilities) + len(mask)]
        probabilities.extend(_probabilities(model, emissions, mask, asked))
    return probabilities


def _merged_posts(
    model, logits: torch.Tensor, word_mask: torch.Tensor, windows: Sequence[Window]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Scores and mask of the words of whole posts, ``(P, W, C)`` and ``(P, W)``, on the model's device.

    A chunk of posts at a time: merged scores are as wide as the longest post, which should widen few others.
    """
    by_post = sorted(range(len(windows)), key=lambda row: windows[row])
    num_posts = 0
    for chunk_number, members in groupby(by_post, key=lambda row: windows[row].post // POSTS_AT_ONCE):
        rows, first = list(members), chunk_number * POSTS_AT_ONCE
        if first != num_posts:
            raise ValueError(f"Post {num_posts} has no window, though post {first} is to be tagged.")
        chunk_windows = [windows[row]._replace(post=windows[row].post - first) for row in rows]
        emissions, mask = merge_windows(logits[rows], word_mask[rows], chunk_windows)
        num_posts += len(mask)
        yield emissions.to(model.device), mask.to(model.device)


def _probabilities(
    model, emissions: torch.Tensor, mask: torch.Tensor, entities: Sequence[Sequence[Entity]]
) -> list[list[float]]:
    """For each post the probability of each entity; rounding may leave a certain one a hair above 1."""
    log_probabilities = model.entity_log_probability(emissions, mask, entities)
    return [of_post.exp().clamp(max=1.0).tolist() for of_post in log_probabilities]
