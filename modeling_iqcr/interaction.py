"""Transformer layers inside and across the modalities (Eq. 9 to 11)."""

import math

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_layers import GradientCheckpointingLayer


class MultiHeadAttention(nn.Module):
    """Multi-head attention with a mask and an optional prior over the keys.

    Args:
        hidden_size: Width D of the states.
        num_heads: Heads; must divide `hidden_size`.
        dropout: Probability on the attention map.
    """

    def __init__(self, hidden_size: int, num_heads: int, dropout: float):
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"`hidden_size` {hidden_size} is not a multiple of `num_heads` {num_heads}.")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        query_states: torch.Tensor,
        key_value_states: torch.Tensor,
        key_mask: torch.Tensor,
        key_prior: torch.Tensor | None = None,
        eager: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend.

        Args:
            query_states: ``(B, Q, D)``.
            key_value_states: ``(B, K, D)``.
            key_mask: ``True`` for a key that may be attended to, ``(B, K)``, bool.
            key_prior: Added to the logits of each key, ``(B, K)``.
            eager: Compute the map in the open, so that it can be returned.

        Returns:
            The states, 0 for a post whose keys are all masked, ``(B, Q, D)``; the map ``(B, heads, Q, K)`` if `eager`,
            else ``None``.
        """
        query = self._split_heads(self.query(query_states))  # (B, heads, Q, D / heads)
        key = self._split_heads(self.key(key_value_states))  # (B, heads, K, D / heads)
        value = self._split_heads(self.value(key_value_states))
        has_keys = key_mask.any(dim=-1)[:, None, None, None]  # (B, 1, 1, 1)
        # A softmax over nothing is NaN: a post without keys attends to its padding, and the result is set to 0 below.
        allowed = key_mask[:, None, None, :] | ~has_keys  # (B, 1, 1, K)
        bias = torch.zeros(allowed.shape, dtype=query.dtype, device=query.device)
        if key_prior is not None:
            bias = bias + key_prior[:, None, None, :].to(query.dtype)
        bias = bias.masked_fill(~allowed, torch.finfo(query.dtype).min)
        dropout = self.dropout if self.training else 0.0
        attention = None
        if eager:
            logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
            at_least_float32 = torch.promote_types(query.dtype, torch.float32)
            attention = logits.softmax(-1, dtype=at_least_float32).to(query.dtype) * has_keys  # (B, heads, Q, K)
            states = nn.functional.dropout(attention, dropout) @ value
        else:
            states = scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout) * has_keys
        # The output's bias is taken away as well where there is nothing to attend to: "zero" means zero.
        states = self.output(states.transpose(1, 2).flatten(2)) * has_keys[..., 0]  # (B, Q, D)
        return states, attention

    def _split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """``(B, L, D)`` to ``(B, heads, L, D / heads)``."""
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class TransformerLayer(GradientCheckpointingLayer):
    """One Transformer encoder layer, for self-attention and for cross-attention.

    Args:
        hidden_size: Width D of the states.
        num_heads: Attention heads.
        intermediate_size: Width of the feed-forward part.
        dropout: Probability on the attention map and on both residual branches.
        norm_first: Pre-norm instead of the post-norm of BERT and UMT.

    Source:
        Vaswani et al., Attention Is All You Need, 2017; the cross-modal form: Tsai et al., Multimodal Transformer for
        Unaligned Multimodal Language Sequences, 2019. IQCR-MI, Eq. 9 to 11.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, intermediate_size: int, dropout: float, norm_first: bool = False
    ):
        super().__init__()
        self.norm_first = norm_first
        self.attention = MultiHeadAttention(hidden_size, num_heads, dropout)
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden_size, intermediate_size),
            nn.GELU(),
            nn.Linear(intermediate_size, hidden_size),
        )
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query_states: torch.Tensor,
        key_value_states: torch.Tensor | None,
        key_mask: torch.Tensor,
        key_prior: torch.Tensor | None = None,
        eager: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the layer; `key_value_states` ``None`` means self-attention. Shapes as in `MultiHeadAttention`."""
        if self.norm_first:
            normed = self.attention_norm(query_states)
            keys = normed if key_value_states is None else key_value_states
            attended, attention = self.attention(normed, keys, key_mask, key_prior, eager)
            states = query_states + self.dropout(attended)
            return states + self.dropout(self.feed_forward(self.feed_forward_norm(states))), attention
        keys = query_states if key_value_states is None else key_value_states
        attended, attention = self.attention(query_states, keys, key_mask, key_prior, eager)
        states = self.attention_norm(query_states + self.dropout(attended))
        return self.feed_forward_norm(states + self.dropout(self.feed_forward(states))), attention
