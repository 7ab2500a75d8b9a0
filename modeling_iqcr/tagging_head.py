"""The head of a tagger: from states to the loss, the best tags, and how probable an entity is."""

from collections.abc import Sequence

import torch
from torch import nn

from .crf import LinearChainCRF, bio_transitions
from .outputs import TaggerOutput
from .tagger_config import TaggerConfig
from .words import find_words, to_sub_tokens, to_words


def crf_loss(
    crf: LinearChainCRF,
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    normalization: str = "words",
) -> torch.Tensor:
    """The negative log-likelihood of a batch's tags under a CRF over its words.

    Args:
        crf: The CRF.
        logits: Emission scores, ``(B, T, C)``.
        labels: Tag ids on first sub-tokens, -100 elsewhere, ``(B, T)``.
        num_items_in_batch: What ``words`` divides by; ``None``: the labelled words of this batch.
        normalization: Divide the sum over the batch by its labelled ``words``, by its ``posts``, or by nothing:
            ``sum``. A post of several windows counts once for each.

    Returns:
        The loss, ``()``.
    """
    positions = find_words(labels != -100)
    log_likelihood = crf.log_likelihood(to_words(logits, positions), to_words(labels, positions), positions.tag_mask)
    if normalization == "sum":
        return -log_likelihood.sum()
    if normalization == "posts":
        num_items_in_batch = len(labels)
    elif num_items_in_batch is None:
        num_items_in_batch = positions.tag_mask.sum()
    # at least 1, or a batch of empty posts would turn every weight into NaN
    return -log_likelihood.sum() / torch.as_tensor(num_items_in_batch).clamp(min=1)


class TaggingHead(nn.Module):
    """What every tagger with a CRF head offers; a mixin.

    Attributes:
        config: The configuration.
        dropout: Before the classifier.
        classifier: From states to emission scores.
        crf: The `LinearChainCRF`; one without transitions is a softmax on each word.
    """

    def add_head(self, config: TaggerConfig, hidden_size: int) -> None:
        """Make dropout, classifier and CRF.

        Args:
            config: The configuration.
            hidden_size: Width of the states that the classifier reads.

        Raises:
            ValueError: If ``constrain_decoding=True`` meets labels that are not BIO.
        """
        if config.constrain_decoding and bio_transitions(config.labels) is None:
            raise ValueError(
                f"`constrain_decoding` needs BIO labels, each I- label with its B- label, got {config.labels}. Set it "
                "to false."
            )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(hidden_size, config.num_labels)
        self.crf = LinearChainCRF(config.num_labels, learn_transitions=config.use_crf)

    def tag(
        self,
        logits: torch.Tensor,
        word_mask: torch.Tensor | None,
        labels: torch.Tensor | None,
        num_items_in_batch: torch.Tensor | int | None = None,
        return_predictions: bool = False,
        normalization: str = "words",
    ) -> TaggerOutput:
        """From emission scores to loss and tags.

        Args:
            logits: Emission scores, ``(B, T, C)``.
            word_mask: ``True`` on the first sub-token of each word, ``(B, T)``, bool. ``None``: where `labels` are.
            labels: Tag ids on first sub-tokens, -100 elsewhere, ``(B, T)``; ``None``: no loss.
            num_items_in_batch: As in `crf_loss`.
            return_predictions: Decode in training as well.
            normalization: As in `crf_loss`.

        Returns:
            Loss, logits and predictions.

        Raises:
            ValueError: If labels or mask are not one per sub-token.
        """
        for name, tensor in (("labels", labels), ("word_mask", word_mask)):
            if tensor is not None and tensor.shape != logits.shape[:2]:
                raise ValueError(
                    f"`{name}` must have the shape of `input_ids` {tuple(logits.shape[:2])}, got "
                    f"{tuple(tensor.shape)}: one entry per sub-token, not per word."
                )
        if word_mask is None and labels is not None:
            word_mask = labels != -100
        loss = None
        if labels is not None:  # Eq. 13 with the sign of a loss
            loss = crf_loss(self.crf, logits, labels, num_items_in_batch, normalization)
        predictions = None
        if word_mask is not None and (return_predictions or not self.training):
            predictions = self.decode(logits, word_mask)
        return TaggerOutput(loss=loss, logits=logits, predictions=predictions)

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
