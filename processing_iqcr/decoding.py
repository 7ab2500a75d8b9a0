"""The one place where predictions become entities: scores of windows to tags, entities and their probabilities."""

from collections.abc import Sequence
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
    by_post = sorted(range(len(windows)), key=lambda row: windows[row])
    predictions = []
    # A chunk of posts at a time: merged scores are as wide as the longest post, which should widen few others.
    for chunk_number, members in groupby(by_post, key=lambda row: windows[row].post // POSTS_AT_ONCE):
        rows, first = list(members), chunk_number * POSTS_AT_ONCE
        if first != len(predictions):
            raise ValueError(f"Post {len(predictions)} has no window, though post {first} is to be tagged.")
        chunk_windows = [windows[row]._replace(post=windows[row].post - first) for row in rows]
        emissions, mask = merge_windows(logits[rows], word_mask[rows], chunk_windows)  # (P, W, C), (P, W)
        chunk, mask = emissions.to(model.device), mask.to(model.device)
        num_words = mask.sum(dim=1)
        tag_ids = model.decode(chunk, mask).tolist()
        tags = [[labels[tag] for tag in ids[:count]] for ids, count in zip(tag_ids, num_words.tolist(), strict=True)]
        entities = [tags_to_entities(post_tags) for post_tags in tags]
        log_probabilities = model.entity_log_probability(chunk, mask, entities)
        predictions.extend(
            # rounding may leave a certain entity a hair above 1
            PostPrediction(post_tags, post_entities, log_p.exp().clamp(max=1.0).tolist())
            for post_tags, post_entities, log_p in zip(tags, entities, log_probabilities, strict=True)
        )
    return predictions
