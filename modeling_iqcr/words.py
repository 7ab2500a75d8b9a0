"""From sub-tokens to words and back: the CRF runs over words, the encoder over sub-tokens."""

from typing import NamedTuple

import torch


class WordPositions(NamedTuple):
    """Where the words of each post stand.

    Attributes:
        index: Position of the k-th word's first sub-token, then the other positions: a permutation of ``0 .. T - 1``,
            ``(B, T)``.
        tag_mask: ``True`` for a word, left-aligned, ``(B, T)``, bool.
    """

    index: torch.LongTensor
    tag_mask: torch.BoolTensor


def find_words(word_mask: torch.Tensor) -> WordPositions:
    """Left-align the first sub-tokens of the words.

    The word axis keeps the length T: cutting it to the longest post would need its value on the host, one device
    synchronisation per step.

    Args:
        word_mask: ``True`` on the first sub-token of each word, ``(B, T)``, bool.

    Returns:
        The positions of the words and the mask of the real ones.
    """
    index = torch.argsort(~word_mask, dim=1, stable=True)
    return WordPositions(index, word_mask.gather(1, index))


def to_words(values: torch.Tensor, positions: WordPositions) -> torch.Tensor:
    """Values on sub-tokens, ``(B, T)`` or ``(B, T, C)``, brought to words, ``(B, W = T)`` or ``(B, W = T, C)``."""
    index = positions.index if values.dim() == 2 else positions.index[..., None].expand_as(values)
    return values.gather(1, index)


def to_sub_tokens(word_values: torch.Tensor, positions: WordPositions) -> torch.Tensor:
    """The inverse of `to_words` for ``(B, W = T)``: every position gets its value back."""
    return torch.empty_like(word_values).scatter_(1, positions.index, word_values)
