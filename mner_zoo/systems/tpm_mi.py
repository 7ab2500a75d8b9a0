"""TPM-MI: the images of a post, taken for frames of a film, become a prefix in every layer of BERT.

Huang et al., MNER-MI: A Multi-image Dataset for Multimodal Named Entity Recognition in Social Media, LREC-COLING 2024.
"""

import torch
from torch import nn

from modeling_iqcr.backbones import FreezableBackbones, build_backbone
from modeling_iqcr.outputs import TaggerOutput

from ..base import ZooConfig, ZooForTokenClassification
from ..image_encoders import image_vectors, pooling_of
from ..layers.prompt_mlp import PromptMlp
from ..layers.slot_embedding import SlotEmbedding
from ..prefix_bert import PrefixBert


class TPMConfig(ZooConfig):
    """TPM-MI, with one image or more.

    Args:
        frame_heads: Heads of the layer across a post's images; must divide the vision encoder's width.
        frame_intermediate_size: Width of its feed-forward part.
        frame_dropout: Its dropout.
        prompt_size: Width between the two maps from an image to its prefix.
        positions_after_prefix: Count the text's positions from `max_images` on, as the authors' code does, whose every
            post has that many slots. They count against the text encoder's positions.
        dropout: Before the classifier, where the authors have none.
        kwargs: Fields of `ZooConfig`. The posts' places for images are `max_images`.
    """

    model_type = "tpm_mi"
    use_images = True

    def __init__(
        self,
        frame_heads: int = 8,
        frame_intermediate_size: int = 2048,
        frame_dropout: float = 0.1,
        prompt_size: int = 1024,
        positions_after_prefix: bool = False,
        dropout: float = 0.0,
        **kwargs,
    ):
        self.frame_heads = frame_heads
        self.frame_intermediate_size = frame_intermediate_size
        self.frame_dropout = frame_dropout
        self.prompt_size = prompt_size
        self.positions_after_prefix = positions_after_prefix
        super().__init__(dropout=dropout, **kwargs)

    def check_fields(self) -> None:
        """Refuse values out of range, and a vision encoder that the layer across images does not fit."""
        super().check_fields()
        self.check_switches(["positions_after_prefix"])
        counts = ("frame_heads", "frame_intermediate_size", "prompt_size")
        self.check_ranges({"frame_dropout": (0, 1)} | {name: (1, float("inf")) for name in counts})
        pooling_of(self.vision_config)
        if self.vision_hidden_size % self.frame_heads:
            raise ValueError(
                f"The vision encoder's width {self.vision_hidden_size} is not a multiple of `frame_heads` "
                f"{self.frame_heads}. Choose heads that divide it."
            )


class TPMBody(FreezableBackbones):
    """Image states, related to each other, as the prefix of a BERT.

    Args:
        config: The configuration.
    """

    def __init__(self, config: TPMConfig):
        super().__init__()
        self.vision_size = config.vision_hidden_size
        self.pooling = pooling_of(config.vision_config)
        self.text_model = PrefixBert(
            config.text_config, first_position=config.max_images if config.positions_after_prefix else 0
        )
        self.vision_model = build_backbone(config.vision_config)
        self.slots = SlotEmbedding(config.max_images, self.vision_size)
        self.frame_layer = nn.TransformerEncoderLayer(
            self.vision_size,
            config.frame_heads,
            config.frame_intermediate_size,
            config.frame_dropout,
            activation="relu",
            batch_first=True,
        )
        self.prompts = PromptMlp(
            self.vision_size,
            config.prompt_size,
            config.text_config.num_hidden_layers,
            config.text_config.num_attention_heads,
            config.hidden_size,
        )
        self.output_size = config.hidden_size

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor | None,
        image_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Read a post.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``.
            pixel_values: As in `image_vectors`.
            image_mask: ``True`` for a real image, ``(B, N)``, bool.

        Returns:
            The states of the text, ``(B, T, D)``; of a post without images those of the text alone.
        """
        frames = image_vectors(self.vision_model, self.vision_size, self.pooling, pixel_values, image_mask)  # v
        frames = frames + self.slots(image_mask)
        prefix = self.prompts(self.relate_images(frames, image_mask))  # Z, for each layer keys and values
        return self.text_model(input_ids, attention_mask, prefix, image_mask)  # S

    def relate_images(self, frames: torch.Tensor, image_mask: torch.Tensor) -> torch.Tensor:
        """Attention over the images of each post.

        Args:
            frames: ``(B, N, Dv)``.
            image_mask: ``(B, N)``, bool.

        Returns:
            The states u, ``(B, N, Dv)``; what stands at an empty slot means nothing.
        """
        # A softmax over nothing is NaN: a post without images attends to all its slots, and none is in its prefix.
        hidden = ~image_mask & image_mask.any(dim=1, keepdim=True)
        return self.frame_layer(frames, src_key_padding_mask=hidden)


class TPMForTokenClassification(ZooForTokenClassification):
    """A CRF over the states of a BERT that has a post's images in its prefix.

    Args:
        config: The configuration.

    Source:
        Departs from the authors' code where that is at odds with the paper or with the checkpoints: attention runs
        over the images of one post (the code's, over the posts of the batch), absent images are masked there and in
        the prefix, an image's state is the class token (the code's pooler has no weights in the checkpoint), and tags
        are those of words alone.
    """

    config_class = TPMConfig
    body_class = TPMBody

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
            Loss, logits ``(B, T, C)`` and predictions ``(B, T)``.

        Raises:
            ValueError: If shapes do not fit together, or a post has too many images.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        image_mask = self.check_images(pixel_values, image_mask, input_ids)
        states = self.model(input_ids, attention_mask, pixel_values, image_mask)  # (B, T, D)
        logits = self.classifier(self.dropout(states))
        return self.tag(logits, word_mask, labels, num_items_in_batch, return_predictions)
