"""What a word's letters say of it: a convolution with max-pooling, or a bidirectional LSTM."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from .bidirectional_lstm import BidirectionalLSTM


class CharacterCNN(nn.Module):
    """The strongest answer of each filter anywhere in a word.

    Args:
        vocab_size: Characters, padding (id 0) included.
        embedding_size: Width of a character's embedding.
        widths: Characters that each kind of filter sees, such as ``[3]``, or AdaCAN's ``[2, 3, 4]``.
        num_filters: Filters of each width.
        dense_sizes: Widths of linear layers behind the pooling, ReLU between them, such as AdaCAN's ``[100, 50]``.
        dropout: Probability, on the embeddings.

    Source:
        Ma and Hovy, ACL 2016, Section 2.1; with several widths and dense layers AdaCAN, Zhang et al., AAAI 2018.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int,
        widths: Sequence[int],
        num_filters: int,
        dense_sizes: Sequence[int] = (),
        dropout: float = 0.0,
    ):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, embedding_size, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_size, num_filters, width) for width in widths)
        sizes = [num_filters * len(widths), *dense_sizes]
        self.dense = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.output_size = sizes[-1]

    def forward(self, char_ids: torch.Tensor) -> torch.Tensor:
        """Read words letter by letter.

        Args:
            char_ids: Characters of each word, 0 behind its end, ``(B, W, K)``.

        Returns:
            A state per word, 0 for one without characters, ``(B, W, output_size)``.
        """
        mask = char_ids.flatten(0, 1) != 0  # (B * W, K)
        states = self.dropout(self.embeddings(char_ids.flatten(0, 1))) * mask[..., None]
        states = states.transpose(1, 2)  # (B * W, E, K)
        pooled = []
        for convolution in self.convolutions:
            (width,) = convolution.kernel_size
            padded = nn.functional.pad(states, ((width - 1) // 2, width // 2))  # an answer per character
            answers = convolution(padded)  # (B * W, F, K)
            pooled.append(answers.masked_fill(~mask[:, None], torch.finfo(answers.dtype).min).amax(dim=-1))
        is_empty = ~mask.any(dim=1, keepdim=True)
        # before the layers too: there the largest negative number overflows, and its gradient is NaN
        states = torch.cat(pooled, dim=-1).masked_fill(is_empty, 0)
        for number, layer in enumerate(self.dense):
            states = layer(states if number == 0 else states.relu())
        return states.masked_fill(is_empty, 0).unflatten(0, char_ids.shape[:2])


class CharacterLSTM(nn.Module):
    """What an LSTM knows of a word at its end, and another, which reads backwards, at its beginning.

    Args:
        vocab_size: Characters, padding (id 0) included.
        embedding_size: Width of a character's embedding.
        hidden_size: Width of each direction.

    Source:
        Lample et al., NAACL 2016, Section 4.1.
    """

    def __init__(self, vocab_size: int, embedding_size: int, hidden_size: int):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, embedding_size, padding_idx=0)
        self.lstm = BidirectionalLSTM(embedding_size, hidden_size)
        self.output_size = 2 * hidden_size

    def forward(self, char_ids: torch.Tensor) -> torch.Tensor:
        """Read words letter by letter; see `CharacterCNN.forward`."""
        words = char_ids.flatten(0, 1)  # (B * W, K)
        _, ends = self.lstm(self.embeddings(words), (words != 0).sum(dim=1))
        return ends.unflatten(0, char_ids.shape[:2])
