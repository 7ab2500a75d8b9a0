"""The head of a tagger: the best tags, and how probable an entity is, from the emissions and the CRF alone."""

from collections.abc import Sequence

import torch

from .crf import bio_transitions
from .words import find_words, to_sub_tokens, to_words


class TaggingHead:
    """What every tagger with a CRF head offers; a mixin.

    Attributes:
        config: The configuration, with ``labels``, ``has_bio_labels``, ``constrain_decoding`` and
            ``confidence_temperature``.
        crf: The `LinearChainCRF`.
    """

    @torch.no_grad()
    def decode(self, logits: torch.Tensor, word_mask: torch.Tensor) -> torch.Tensor:
        """Tags of the best path (Viterbi), over legal BIO steps only if `constrain_decoding` says so.

        Args:
            logits: Emission scores, ``(B, T, C)``; scores on words, ``(B, W, C)``, serve as well.
            word_mask: ``True`` where a word's scores stand, ``(B, T)``, bool.

        Returns:
            Tag ids where `word_mask` is ``True``, -100 elsewhere, ``(B, T)``.
        """
        positions = find_words(word_mask.bool())
        constrained = self.config.constrain_decoding is not False
        allowed = bio_transitions(self.config.labels) if constrained else None
        tags = self.crf.decode(to_words(logits, positions), positions.tag_mask, allowed)
        return to_sub_tokens(tags, positions)

    @torch.no_grad()
    def entity_log_probability(
        self,
        logits: torch.Tensor,
        word_mask: torch.Tensor,
        entities: Sequence[Sequence[tuple[int, int, str]]],
    ) -> list[torch.Tensor]:
        """Log-probability that exactly these words carry exactly this entity, its right border included.

        All scores are divided by `confidence_temperature` first: it calibrates the probabilities and changes no tag.

        Args:
            logits: Emission scores, ``(B, T, C)``.
            word_mask: ``True`` where a word's scores stand, ``(B, T)``, bool.
            entities: For each post its ``(start, end, type)``, in words, end exclusive.

        Returns:
            For each post one log-probability per entity, ``(entities,)``.

        Raises:
            ValueError: If the labels are not in BIO form, a type is unknown, or a span is not inside its post.
        """
        if not self.config.has_bio_labels:
            raise ValueError(f"Entities need labels in BIO form, got {self.config.labels}.")
        label2id = {label: index for index, label in enumerate(self.config.labels)}
        spans, begin_tags, inside_tags = [], [], []
        for post, post_entities in enumerate(entities):
            for start, end, entity_type in post_entities:
                begin, inside = label2id.get(f"B-{entity_type}", -1), label2id.get(f"I-{entity_type}", -1)
                if begin == inside == -1:
                    raise ValueError(f"Post {post}: no label of type {entity_type!r} among {self.config.labels}.")
                spans.append((post, start, end))
                begin_tags.append(begin)
                inside_tags.append(inside)
        positions = find_words(word_mask.bool())
        device = logits.device
        log_probabilities = self.crf.entity_log_probability(
            to_words(logits, positions),
            positions.tag_mask,
            torch.tensor(spans, dtype=torch.long, device=device).reshape(-1, 3),
            torch.tensor(begin_tags, dtype=torch.long, device=device),
            torch.tensor(inside_tags, dtype=torch.long, device=device),
            self.config.confidence_temperature,
        )
        return list(log_probabilities.split([len(post_entities) for post_entities in entities]))
