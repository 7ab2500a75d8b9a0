"""A BERT whose attention sees a prefix of given keys and values before its text, in every layer."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig

from modeling_iqcr.backbones import build_backbone

# Encoders of BERT's form. They are listed by hand, each one tested, because an encoder that only looks like them
# (Nystroemformer, BigBird) would run without an error and compute something else.
PREFIX_TYPES = ("bert", "camembert", "data2vec-text", "electra", "ernie", "roberta", "xlm-roberta")

# Keys and values of one layer, (B, heads, P, D / heads) each.
KeysValues = tuple[torch.Tensor, torch.Tensor]
# What gives them: one pair per layer, or a function of the layer's number, its input (B, T, D) and the text's mask
# (B, T), bool.
Prefix = Sequence[KeysValues] | Callable[[int, torch.Tensor, torch.Tensor], KeysValues]


class PrefixBert(nn.Module):
    """A BERT or RoBERTa with a prefix of P keys and values in every layer; its weights have the names of BertModel's.

    Args:
        config: Configuration of the text backbone, of a type in `PREFIX_TYPES`.
        first_position: Where the text's positions begin: 0 as in HVPNeT, or behind the prefix, as transformers counts
            behind a cache and the code of TPM-MI, GIFR and VisualPT-MoE therefore did.

    Raises:
        ValueError: If the backbone is not of BERT's form.

    Source:
        Li and Liang, Prefix-Tuning, ACL 2021; Chen et al., HVPNeT, Findings of NAACL 2022, which gives an encoder a
        prefix of images.
    """

    def __init__(self, config: PreTrainedConfig, first_position: int = 0):
        super().__init__()
        if config.model_type not in PREFIX_TYPES:
            raise ValueError(
                f"A text backbone of type {config.model_type!r} takes no prefix. Types that do: "
                f"{', '.join(PREFIX_TYPES)}."
            )
        if getattr(config, "is_decoder", False):
            raise ValueError("A text backbone with `is_decoder` sees no later words. Set it to false.")
        backbone = build_backbone(config)
        unknown = [name for name, _ in backbone.named_children() if name not in ("embeddings", "encoder")]
        if unknown:
            raise ValueError(
                f"This text backbone of type {config.model_type!r} has {', '.join(unknown)} beside its embeddings and "
                "its layers, which a prefix cannot be led around. Take one whose embeddings have its layers' width."
            )
        self.config = config
        self.first_position = first_position
        self._no_split_modules = backbone._no_split_modules
        self.embeddings = backbone.embeddings
        self.encoder = backbone.encoder
        for layer in self.encoder.layer:
            layer.attention.self = PrefixSelfAttention(layer.attention.self)

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings."""
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        prefix: Prefix,
        prefix_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Read the text with its prefix.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``.
            prefix: Keys and values ``(B, heads, P, D / heads)`` for each layer: a list of pairs, or a function
                ``prefix(layer, states, text_mask)`` that is asked when the layer is reached.
            prefix_mask: ``True`` for a part of the prefix that is there, ``(B, P)``, bool. Where none is, a post is
                read as if there were no prefix; P may be 0.

        Returns:
            The states of the last layer, ``(B, T, D)``.

        Raises:
            ValueError: If the prefix does not fit the layers, the heads or `prefix_mask`.
        """
        if not callable(prefix) and len(prefix) != len(self.encoder.layer):
            raise ValueError(
                f"`prefix` has {len(prefix)} pairs for {len(self.encoder.layer)} layers. Give one per layer."
            )
        text_mask = attention_mask.bool()
        key_mask = torch.cat([prefix_mask, text_mask], dim=1)[:, None, None]  # (B, 1, 1, P + T)
        # Both are given: those that the embeddings keep for themselves are not part of a saved model.
        states = self.embeddings(
            input_ids=input_ids,
            token_type_ids=torch.zeros_like(input_ids),
            position_ids=self._positions(input_ids, self.first_position),
        )
        for number, layer in enumerate(self.encoder.layer):
            keys, values = prefix(number, states, text_mask) if callable(prefix) else prefix[number]
            # Each layer runs as a whole, with its own residual, norm, checkpointing and hooks.
            states = layer(states, key_mask, prefix_keys=keys, prefix_values=values)
        return states

    def _positions(self, input_ids: torch.Tensor, first: int) -> torch.Tensor:
        """The positions of the sub-tokens, counted from `first`, ``(B, T)`` or ``(1, T)``."""
        if hasattr(self.embeddings, "create_position_ids_from_input_ids"):  # RoBERTa's kin skip the padding
            return self.embeddings.create_position_ids_from_input_ids(input_ids, self.embeddings.padding_idx, first)
        return torch.arange(first, first + input_ids.shape[1], device=input_ids.device)[None]


class PrefixSelfAttention(nn.Module):
    """BERT's self-attention over a prefix and the text; takes the place of the one whose weights it takes over.

    Args:
        attention: The backbone's own, with `query`, `key`, `value`, `dropout` and `num_attention_heads`.
    """

    def __init__(self, attention: nn.Module):
        super().__init__()
        self.num_heads = attention.num_attention_heads
        self.query = attention.query
        self.key = attention.key
        self.value = attention.value
        self.dropout = attention.dropout

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        prefix_keys: torch.Tensor,
        prefix_values: torch.Tensor,
        **_,  # what the layer passes beside, for decoders
    ) -> tuple[torch.Tensor, None]:
        """Attend.

        Args:
            hidden_states: ``(B, T, D)``.
            attention_mask: ``True`` for a key that may be attended to, ``(B, 1, 1, P + T)``, bool.
            prefix_keys: ``(B, heads, P, D / heads)``.
            prefix_values: Likewise.

        Returns:
            The states ``(B, T, D)``, and no map.

        Raises:
            ValueError: If the prefix does not fit the heads or the mask.
        """
        query = self._split_heads(self.query(hidden_states))  # (B, heads, T, D / heads)
        key = self._split_heads(self.key(hidden_states))
        value = self._split_heads(self.value(hidden_states))
        expected = (*key.shape[:2], attention_mask.shape[-1] - key.shape[2], key.shape[3])
        if prefix_keys.shape != expected or prefix_values.shape != expected:
            raise ValueError(
                f"Keys and values of a prefix must be (posts, heads, prefix, width of a head) = {expected}, got "
                f"{tuple(prefix_keys.shape)} and {tuple(prefix_values.shape)}."
            )
        key = torch.cat([prefix_keys.to(key.dtype), key], dim=2)  # (B, heads, P + T, D / heads)
        value = torch.cat([prefix_values.to(value.dtype), value], dim=2)
        dropout = self.dropout.p if self.training else 0.0
        states = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, dropout_p=dropout)
        return states.transpose(1, 2).flatten(2), None

    def _split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """``(B, T, D)`` to ``(B, heads, T, D / heads)``."""
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
