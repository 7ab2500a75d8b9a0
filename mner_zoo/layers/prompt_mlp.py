"""States that become the keys and values of a prefix, for every layer of a BERT."""

import torch
from torch import nn


class PromptMlp(nn.Module):
    """Linear, tanh, Linear, to keys and values for each layer and each head.

    Args:
        input_size: Width of the states.
        inner_size: Width between the two maps.
        num_layers: Layers that get a prefix.
        num_heads: Their attention heads; must divide `hidden_size`.
        hidden_size: Their width D.

    Source:
        Li and Liang, Prefix-Tuning, ACL 2021. In HVPNeT, VisualPT-MoE, TPM-MI and GIFR images take the place of
        learned states; HVPNeT's code splits the heads in another order than it splits those of the text.
    """

    def __init__(self, input_size: int, inner_size: int, num_layers: int, num_heads: int, hidden_size: int):
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"`hidden_size` {hidden_size} is not a multiple of `num_heads` {num_heads}.")
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.inner = nn.Linear(input_size, inner_size)
        self.output = nn.Linear(inner_size, num_layers * 2 * hidden_size)

    def forward(self, states: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Make the prefix.

        Args:
            states: One for each of P places, ``(B, P, input_size)``.

        Returns:
            For each layer keys and values, ``(B, heads, P, D / heads)``: head h has the h-th slice of each row of D.
        """
        rows = self.output(torch.tanh(self.inner(states)))
        rows = rows.unflatten(-1, (self.num_layers, 2, self.num_heads, -1))  # (B, P, layers, 2, heads, D / heads)
        layers = rows.permute(2, 3, 0, 4, 1, 5)  # (layers, 2, B, heads, P, D / heads)
        return [(keys, values) for keys, values in layers]
