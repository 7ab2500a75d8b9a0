"""UMT and UMT-MI: words and image regions attend to each other, and a branch over the text finds entities' borders.

Yu et al., Improving Multimodal NER via Entity Span Detection with Unified Multimodal Transformer, ACL 2020; UMT-MI, of
Huang et al., LREC-COLING 2024, puts the regions of several images side by side.
"""

import torch
from torch import nn

from modeling_iqcr import LinearChainCRF
from modeling_iqcr.backbones import FreezableBackbones, build_backbone
from modeling_iqcr.interaction import TransformerLayer
from modeling_iqcr.outputs import TaggerOutput
from modeling_iqcr.tagging_head import crf_loss

from ..base import ZooConfig, ZooForTokenClassification
from ..image_encoders import image_regions, num_special_states
from ..layers.boundary import BOUNDARY_TAGS, boundary_conversion, boundary_tags
from ..layers.slot_embedding import SlotEmbedding


class UMTConfig(ZooConfig):
    """UMT-MI; ``max_images=1`` is UMT. The layers have the heads and the inner width of the text encoder.

    Args:
        boundary_share: Share of the boundary branch in the scores of the tags, in ``[0, 1]``.
        boundary_loss_weight: Weight of the boundary branch's own loss, at least 0.
        slot_embedding: Add a learned vector to all regions of an image, by its place; the authors' images have none.
        kwargs: Fields of `ZooConfig`; `dropout` is that of the layers and of the text states.
    """

    model_type = "umt"
    default_vision_type = "resnet"
    use_images = True

    def __init__(
        self,
        boundary_share: float = 0.5,
        boundary_loss_weight: float = 0.5,
        slot_embedding: bool = False,
        **kwargs,
    ):
        self.boundary_share = boundary_share
        self.boundary_loss_weight = boundary_loss_weight
        self.slot_embedding = slot_embedding
        super().__init__(**kwargs)

    def check_fields(self) -> None:
        """Refuse values out of range, and a text encoder that names no sizes for the layers."""
        super().check_fields()
        self.check_switches(["slot_embedding"])
        num_special_states(self.vision_config)
        self.check_ranges({"boundary_share": (0, 1), "boundary_loss_weight": (0.0, float("inf"))})
        for name in ("num_attention_heads", "intermediate_size"):
            if not hasattr(self.text_config, name):
                raise ValueError(
                    f"A text encoder of type {self.text_config.model_type!r} has no `{name}`, which the layers of UMT "
                    "take over. Set it in `text_config`."
                )


class UMTBody(FreezableBackbones):
    """The two branches over the text, and the attention between words and regions.

    Args:
        config: The configuration.
    """

    def __init__(self, config: UMTConfig):
        super().__init__()
        size, self.vision_size = config.hidden_size, config.vision_hidden_size
        self.text_model = build_backbone(config.text_config)
        self.vision_model = build_backbone(config.vision_config)
        self.dropout = nn.Dropout(config.dropout)
        self.slots = SlotEmbedding(config.max_images, self.vision_size) if config.slot_embedding else None
        self.key_regions = nn.Linear(self.vision_size, size)
        self.query_regions = nn.Linear(self.vision_size, size)
        self.boundary_layer, self.text_layer, self.image_to_words, self.words_to_image, self.image_words_to_words = (
            TransformerLayer(
                size, config.text_config.num_attention_heads, config.text_config.intermediate_size, config.dropout
            )
            for _ in range(5)
        )
        self.gate = nn.Linear(2 * size, size)
        self.output_size = 2 * size

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor | None,
        image_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read a post.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``.
            pixel_values: As in `image_regions`.
            image_mask: ``True`` for a real image, ``(B, N)``, bool.

        Returns:
            The fused states of the words ``(B, T, 2 D)``, and those of the boundary branch ``(B, T, D)``.
        """
        text_mask = attention_mask.bool()
        text_states = self.dropout(self.text_model(input_ids=input_ids, attention_mask=attention_mask)[0])  # S
        boundary_states, _ = self.boundary_layer(text_states, None, text_mask)  # A
        word_states, _ = self.text_layer(text_states, None, text_mask)  # N

        regions = image_regions(self.vision_model, self.vision_size, pixel_values, image_mask)  # V, (B, N, P, Dv)
        if self.slots is not None:
            regions = regions + self.slots(image_mask)[:, None]
        region_mask = image_mask.repeat_interleave(regions.shape[2], dim=1)  # (B, N * P)
        regions = regions.flatten(1, 2)  # (B, N * P, Dv)

        image_aware, _ = self.image_to_words(word_states, self.key_regions(regions), region_mask)  # C
        text_aware, _ = self.words_to_image(self.query_regions(regions), word_states, text_mask)  # G
        word_aware, _ = self.image_words_to_words(word_states, text_aware, region_mask)  # D
        gate = self.gate(torch.cat([word_aware, image_aware], dim=-1)).sigmoid()  # g
        return torch.cat([word_aware, gate * image_aware], dim=-1), boundary_states


class UMTForTokenClassification(ZooForTokenClassification):
    """UMT or UMT-MI: emissions of the fused states, mixed with those of a branch that only finds entities' borders.

    Args:
        config: The configuration.

    Raises:
        ValueError: As `ZooForTokenClassification`, or if labels are not in BIO form, which have no borders.

    Source:
        Departs from the authors' code in its tags, which are those of words alone (no padding, continuation or special
        tags in either CRF), and in masking the regions of absent images.
    """

    config_class = UMTConfig
    body_class = UMTBody

    def __init__(self, config: UMTConfig):
        boundary_tags(config.labels)
        super().__init__(config)
        self.boundary_classifier = nn.Linear(config.hidden_size, len(BOUNDARY_TAGS))
        self.boundary_crf = LinearChainCRF(len(BOUNDARY_TAGS), learn_transitions=config.use_crf)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        word_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        return_predictions: bool = False,
    ) -> TaggerOutput:
        """Tag the words of a batch of posts.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``; ``None``: all are.
            word_mask: ``True`` on the first sub-token of each word, ``(B, T)``; ``None``: where `labels` are.
            pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, or of the real images alone, ``(R, 3, H, W)``.
            image_mask: ``True`` for a real image, ``(B, N)``, bool.
            labels: Tag ids on first sub-tokens, -100 elsewhere, ``(B, T)``.
            num_items_in_batch: Labelled words to divide the loss by, for ``loss_normalization="words"``.
            return_predictions: Decode in training as well.

        Returns:
            Loss, logits ``(B, T, C)``, the boundary branch's share included, and predictions ``(B, T)``.

        Raises:
            ValueError: If shapes do not fit together, or a post has too many images.
        """
        config = self.config
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        image_mask = self.check_images(pixel_values, image_mask, input_ids)
        fused_states, boundary_states = self.model(input_ids, attention_mask, pixel_values, image_mask)
        boundary_logits = self.boundary_classifier(boundary_states)  # e_a, (B, T, 3)
        tags = boundary_tags(config.labels).to(input_ids.device, non_blocking=True)
        conversion = boundary_conversion(tags).to(boundary_logits.dtype)
        share = config.boundary_share
        logits = (1 - share) * self.classifier(fused_states) + share * (boundary_logits @ conversion)  # e
        output = self.tag(logits, word_mask, labels, num_items_in_batch, return_predictions)
        if labels is not None:
            boundary_labels = tags[labels.clamp(min=0)].where(labels != -100, -100)
            output.loss = output.loss + config.boundary_loss_weight * crf_loss(
                self.boundary_crf, boundary_logits, boundary_labels, num_items_in_batch, config.loss_normalization
            )
        return output
