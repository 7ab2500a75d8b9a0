"""Weights of a post's images by quality and relevance, and the gate that applies them (Eq. 5 to 8)."""

import torch
from torch import nn


def normalize_scores(scores: torch.Tensor, scale: torch.Tensor, image_mask: torch.Tensor) -> torch.Tensor:
    """Turn one kind of score into weights over the images of a post (Eq. 5 and 6).

    Args:
        scores: Quality in ``[0, 1]`` or relevance in ``[-1, 1]``, ``(B, N)``.
        scale: The trainable ``alpha`` or ``beta``, ``(1,)``.
        image_mask: ``True`` for a real image, ``(B, N)``, bool.

    Returns:
        Weights that sum to 1 over the real images, ``(B, N)``. Padded images get 0, and so does every image of a post
        that has none.

    Raises:
        ValueError: If `scores` and `image_mask` differ in shape.

    Source:
        IQCR-MI, Section 3.4, Eq. 5 and 6. Departs from the paper in masking padded images before the softmax.
    """
    if scores.shape != image_mask.shape:
        raise ValueError(
            f"Scores must have the shape of `image_mask` {tuple(image_mask.shape)}, got {tuple(scores.shape)}: "
            "one score per image."
        )
    logits = (scale * scores).masked_fill(~image_mask, torch.finfo(scores.dtype).min)
    return logits.softmax(dim=-1) * image_mask


class ImageWeighting(nn.Module):
    """Weigh the states of a post's images (Eq. 5 to 8).

    Args:
        hidden_size: Width D of the text and image states.
        dropout: Probability inside the gate's MLP.
        use_quality: Whether the quality takes part; without it the paper's "w/o IQW".
        use_relevance: Whether the relevance takes part; without it the paper's "w/o CMW".
        use_gate: Whether G is learned; without it G = 1. There is no gate to learn either if no factor takes part,
            since Eq. 8 is the identity then, whatever G says.
        renormalize_weights: Make the product of Eq. 7 sum to 1. Without a factor there is no product, and W stays 1.
        initial_quality_scale: Start of alpha.
        initial_relevance_scale: Start of beta.
        initial_gate_bias: Start of the last bias of the gate's MLP.

    Source:
        IQCR-MI, Section 3.4. The MLP of the gate is ours (``2D + scores -> D -> 1``, GELU): the paper names none.
    """

    def __init__(
        self,
        hidden_size: int,
        dropout: float,
        use_quality: bool = True,
        use_relevance: bool = True,
        use_gate: bool = True,
        renormalize_weights: bool = False,
        initial_quality_scale: float = 10.0,
        initial_relevance_scale: float = 20.0,
        initial_gate_bias: float = 0.0,
    ):
        super().__init__()
        self.renormalize_weights = renormalize_weights
        self.initial_quality_scale = initial_quality_scale
        self.initial_relevance_scale = initial_relevance_scale
        self.initial_gate_bias = initial_gate_bias
        # One dimension, for FSDP2 shards along the first; float32 by name, so that a model built under another default
        # type keeps them too.
        scale = {"size": (1,), "dtype": torch.float32}
        self.quality_scale = nn.Parameter(torch.empty(**scale)) if use_quality else None
        self.relevance_scale = nn.Parameter(torch.empty(**scale)) if use_relevance else None
        num_scores = use_quality + use_relevance
        self.gate = (
            nn.Sequential(
                nn.Linear(2 * hidden_size + num_scores, hidden_size),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_size, 1),
            )
            if use_gate and num_scores
            else None
        )

    def _apply(self, fn, *args, **kwargs):
        """Move with the model but stay in float32: 10 + 0.001 is 10 in bfloat16, and alpha would never learn."""
        scales = [scale for scale in (self.quality_scale, self.relevance_scale) if scale is not None]
        kept = {id(tensor) for scale in scales for tensor in (scale, scale.grad) if tensor is not None}

        def move(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if id(tensor) in kept and moved.dtype != tensor.dtype else moved

        return super()._apply(move, *args, **kwargs)

    def forward(
        self,
        text_state: torch.Tensor,
        image_states: torch.Tensor,
        image_mask: torch.Tensor,
        quality_scores: torch.Tensor,
        relevance_scores: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Apply Eq. 5 to 8.

        Args:
            text_state: One state for the whole text, ``(B, D)``.
            image_states: One state per image (Eq. 2), ``(B, N, D)``.
            image_mask: ``True`` for a real image, ``(B, N)``, bool.
            quality_scores: In ``[0, 1]``, none missing, ``(B, N)``, float32.
            relevance_scores: In ``[-1, 1]``, none missing, ``(B, N)``, float32.

        Returns:
            The weighted image states, 0 on padding, ``(B, N, D)``; the weights W and the gates G, both 0 on padding,
            ``(B, N)``, float32.
        """
        weights = self.weigh(quality_scores, relevance_scores, image_mask)
        gates = self._gates(text_state, image_states, quality_scores, relevance_scores) * image_mask
        # Eq. 8, H' = G * (W * H) + (1 - G) * H, in the float32 of the weights: one scale per image
        scale = gates * weights + (1 - gates)
        weighted_states = image_states * (scale * image_mask)[..., None].to(image_states.dtype)
        return weighted_states, weights, gates

    def weigh(
        self, quality_scores: torch.Tensor, relevance_scores: torch.Tensor, image_mask: torch.Tensor
    ) -> torch.Tensor:
        """Eq. 5 to 7: the product of the factors that take part, 0 on padding, ``(B, N)``, float32."""
        factors = []
        if self.quality_scale is not None:
            factors.append((quality_scores.float(), self.quality_scale))
        if self.relevance_scale is not None:
            factors.append((relevance_scores.float(), self.relevance_scale))
        if self.renormalize_weights and factors:
            # A product of softmaxes, made to sum to 1, is the softmax of the sum. The product itself might underflow.
            logits = sum(scale * scores for scores, scale in factors)
            return normalize_scores(logits, logits.new_ones(1), image_mask)
        weights = image_mask.float()
        for scores, scale in factors:
            weights = weights * normalize_scores(scores, scale, image_mask)
        return weights

    def _gates(
        self,
        text_state: torch.Tensor,
        image_states: torch.Tensor,
        quality_scores: torch.Tensor,
        relevance_scores: torch.Tensor,
    ) -> torch.Tensor:
        """``G = sigmoid(MLP([h_text; h_img; Q; C]))``, ``(B, N)``, float32."""
        if self.gate is None:
            return torch.ones_like(quality_scores)
        inputs = [text_state[:, None].expand_as(image_states), image_states]
        if self.quality_scale is not None:
            inputs.append(quality_scores[..., None].to(image_states.dtype))
        if self.relevance_scale is not None:
            inputs.append(relevance_scores[..., None].to(image_states.dtype))
        return self.gate(torch.cat(inputs, dim=-1)).squeeze(-1).float().sigmoid()  # (B, N)
