"""What the models return.

Dimension letters, used in every docstring of this package: B posts, T sub-tokens, W words, N images per post (padded
to the most in the batch), P patches, D hidden size, C tags.
"""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class IQCRModelOutput(ModelOutput):
    """States of a post after the fusion.

    Attributes:
        last_hidden_state: Text states that have seen the images (Eq. 11), ``(B, T, D)``.
        image_states: Image states after Eq. 10, 0 on padding, ``(B, N, D)``. ``None`` for a text-only model.
        image_weights: The weights W of Eq. 7, 0 on padding, ``(B, N)``, float32. ``None`` for a text-only model.
        image_gates: The gates G of Eq. 8 in ``(0, 1)``, 0 on padding, ``(B, N)``, float32. ``None`` likewise.
        hidden_states: On request: the text backbone's states, then one entry for each interaction layer of the text
            side (Eq. 9, then Eq. 11), each ``(B, T, D)``.
        attentions: On request, with eager attention: the text backbone's maps, then those of Eq. 9, each
            ``(B, heads, T, T)``.
        cross_attentions: On request, with eager attention: the maps of Eq. 11, each ``(B, heads, T, N)``; rows of a
            post without images are 0.
    """

    last_hidden_state: torch.FloatTensor | None = None
    image_states: torch.FloatTensor | None = None
    image_weights: torch.FloatTensor | None = None
    image_gates: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class IQCRTokenClassifierOutput(ModelOutput):
    """Tags of a post. Take the fields by name: which of them are present depends on the call.

    Attributes:
        loss: With `labels`: the negative log-likelihood of the batch over its number of labelled words, ``()``.
        logits: Emission scores; only those on first sub-tokens of words mean anything, ``(B, T, C)``.
        predictions: Tags of the best path on first sub-tokens, -100 elsewhere, ``(B, T)``. In ``eval()`` mode, or in
            training with ``return_predictions=True``; ``None`` if the words are not known.
        image_weights: The weights W of Eq. 7, 0 on padding, ``(B, N)``.
        image_gates: The gates G of Eq. 8, 0 on padding, ``(B, N)``.
        hidden_states: As in `IQCRModelOutput`.
        attentions: As in `IQCRModelOutput`.
        cross_attentions: As in `IQCRModelOutput`.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    predictions: torch.LongTensor | None = None
    image_weights: torch.FloatTensor | None = None
    image_gates: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class TaggerOutput(ModelOutput):
    """Tags of a post, by a model that says nothing else.

    Attributes:
        loss: With `labels`, ``()``.
        logits: Emission scores; only those on first sub-tokens of words mean anything, ``(B, T, C)``.
        predictions: Tags of the best path on first sub-tokens, -100 elsewhere, ``(B, T)``. In ``eval()`` mode, or in
            training with ``return_predictions=True``; ``None`` if the words are not known.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    predictions: torch.LongTensor | None = None
