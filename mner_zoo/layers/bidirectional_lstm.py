"""A bidirectional LSTM that padding does not touch, as two that read from left to right."""

import math

import torch
from torch import nn
from transformers import initialization as init


class BidirectionalLSTM(nn.Module):
    """One LSTM reads each sequence from its first step on, another from its last one back.

    The second one reads the sequence turned round within its own length. So padding stands behind what is real for
    both, and needs no packing, which would ask the device for the lengths and is slower on a CPU.

    Args:
        input_size: Width of the input.
        hidden_size: Width H of each direction.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.forward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read a batch of sequences.

        Args:
            states: The sequences, left-aligned, ``(B, T, D)``.
            lengths: Real steps of each, 0 to T, ``(B,)``.

        Returns:
            The state of each step, first the direction from left to right, 0 on padding, ``(B, T, 2H)``; and what each
            direction knows at its end, 0 for a sequence without steps, ``(B, 2H)``.
        """
        steps = torch.arange(states.shape[1], device=states.device)
        mask = steps < lengths[:, None]  # (B, T)
        turned = torch.where(mask, lengths[:, None] - 1 - steps, steps)  # (B, T), its own inverse
        for lstm in (self.forward_lstm, self.backward_lstm):
            lstm.flatten_parameters()  # weights that were loaded or moved lie apart, which cuDNN warns of
        from_left, _ = self.forward_lstm(states)
        from_right, _ = self.backward_lstm(_turn(states, turned))
        last = (lengths - 1).clamp(min=0)[:, None]  # (B, 1), where both have read the whole sequence
        ends = torch.cat([_turn(from_left, last), _turn(from_right, last)], dim=-1).squeeze(1)  # (B, 2H)
        both = torch.cat([from_left, _turn(from_right, turned)], dim=-1)  # (B, T, 2H)
        return both.masked_fill(~mask[..., None], 0), ends.masked_fill(lengths[:, None] == 0, 0)


def _turn(states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The states ``(B, T, D)`` of the given steps ``(B, S)``, ``(B, S, D)``."""
    return states.gather(1, steps[..., None].expand(-1, -1, states.shape[-1]))


def initialize_lstm(lstm: nn.LSTM) -> None:
    """Start an LSTM as Ma and Hovy do: each gate's matrices uniform after Glorot, forget biases 1, the others 0.

    Args:
        lstm: The LSTM. Weights that were loaded stay as they are.

    Source:
        Ma and Hovy, ACL 2016, Section 3.1.
    """
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight"):
            bound = math.sqrt(6 / (lstm.hidden_size + parameter.shape[1]))  # the four gates lie in one matrix
            init.uniform_(parameter, -bound, bound)
        else:
            bias = torch.zeros_like(parameter)
            if name.startswith("bias_ih"):  # torch adds two biases: one of them is enough
                bias[lstm.hidden_size : 2 * lstm.hidden_size] = 1  # the gates' order is input, forget, cell, output
            init.copy_(parameter, bias)
