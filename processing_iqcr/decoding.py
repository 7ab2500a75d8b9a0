"""The one place where predictions become entities: scores of windows to tags, entities and their probabilities."""

from collections.abc import Sequence
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
    """
    emissions, tag_mask = merge_windows(logits, word_mask, windows)  # (P, W, C), (P, W)
    labels = model.config.id2label
    predictions = []
    for first in range(0, len(emissions), POSTS_AT_ONCE):
        num_words = tag_mask[first : first + POSTS_AT_ONCE].sum(dim=1)
        longest = int(num_words.max())
        chunk = emissions[first : first + POSTS_AT_ONCE, :longest].to(model.device)
        mask = tag_mask[first : first + POSTS_AT_ONCE, :longest].to(model.device)
        tag_ids = model.decode(chunk, mask).tolist()
        tags = [
            [labels[tag] for tag in ids[:count]] for ids, count in zip(tag_ids, num_words.tolist(), strict=True)
        ]
        entities = [tags_to_entities(post_tags) for post_tags in tags]
        log_probabilities = model.entity_log_probability(chunk, mask, entities)
        predictions.extend(
            # rounding may leave a certain entity a hair above 1
            PostPrediction(post_tags, post_entities, log_p.exp().clamp(max=1.0).tolist())
            for post_tags, post_entities, log_p in zip(tags, entities, log_probabilities, strict=True)
        )
    return predictions
