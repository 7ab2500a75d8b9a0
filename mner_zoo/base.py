"""What the systems of the zoo share: configuration, head, and starting from pretrained encoders."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from modeling_iqcr import LinearChainCRF
from modeling_iqcr.backbones import start_from_backbones
from modeling_iqcr.image_slots import check_image_mask
from modeling_iqcr.interaction import TransformerLayer
from modeling_iqcr.outputs import TaggerOutput
from modeling_iqcr.tagger_config import TaggerConfig, to_config
from modeling_iqcr.tagging_head import TaggingHead

LOSS_NORMALIZATIONS = ("words", "posts", "sum")


class ZooConfig(TaggerConfig):
    """The encoders of a system, and how its authors normalise the loss.

    Args:
        text_config: Configuration of the text encoder, as an object or a dict. Default: that of `default_text_type`.
        vision_config: Configuration of the vision encoder, likewise; a system without images has none.
        loss_normalization: What the CRF's loss of a batch is divided by: its ``words``, as IQCR-MI's, its ``posts``,
            as pytorch-crf's ``mean`` (a long post counts once for each of its windows), or nothing (``sum``). Over
            accumulated batches and processes only ``words`` gives the loss of one large batch; of the others the
            Trainer takes the mean.
        kwargs: Fields of `TaggerConfig`.

    Raises:
        ValueError: If a value is out of range.

    Attributes:
        reads_words: Whether the system reads whole words and their letters, from an LSTM's vocabulary; of its class.
        use_images: Whether the system reads images; of its class, not of a checkpoint.
        use_quality: Whether it reads their quality scores, likewise.
        use_relevance: Whether it reads their relevance scores, likewise.
    """

    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}  # noqa: RUF012 - transformers reads a dict
    default_text_type = "bert"
    default_vision_type = "vit"
    reads_words = False
    use_images = False
    use_quality = False
    use_relevance = False

    def __init__(
        self,
        text_config: dict | PreTrainedConfig | None = None,
        vision_config: dict | PreTrainedConfig | None = None,
        loss_normalization: str = "posts",
        **kwargs,
    ):
        # Backbone configurations first: the parent hands `attn_implementation` down to what is there by then.
        self.text_config = to_config(text_config, self.default_text_type)
        self.vision_config = to_config(vision_config, self.default_vision_type) if self.use_images else None
        self.loss_normalization = loss_normalization
        super().__init__(**kwargs)
        self.check_fields()

    def check_fields(self) -> None:
        """Refuse values out of range, as `TaggerConfig.check_fields`."""
        super().check_fields()
        if self.loss_normalization not in LOSS_NORMALIZATIONS:
            raise ValueError(
                f"`loss_normalization` must be one of {', '.join(LOSS_NORMALIZATIONS)}, got "
                f"{self.loss_normalization!r}."
            )


class ZooForTokenClassification(TaggingHead, PreTrainedModel):
    """A system of the zoo: its body, then dropout, a linear layer, and a CRF over the words or a softmax on each.

    A subclass names its ``config_class`` and its ``body_class``, and writes its own ``forward``, which names the
    tensors that the system reads.

    Args:
        config: The configuration.

    Raises:
        ValueError: If a field is out of range, or ``constrain_decoding=True`` meets labels that are not BIO.

    Attributes:
        body_class: Makes the body of a configuration: a `FreezableBackbones` with ``text_model``, with images
            ``vision_model``, and ``output_size``, the width of what the classifier reads.
    """

    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    body_class: Callable[[ZooConfig], nn.Module]

    def __init__(self, config: ZooConfig):
        config.check_fields()
        super().__init__(config)
        # The Trainer then passes `num_items_in_batch`; a loss that is divided otherwise is averaged over the batches.
        self.accepts_loss_kwargs = config.loss_normalization == "words"
        self.model = self.body_class(config)
        # Layers that are kept whole, under FSDP2 too; transformers would ask the direct children alone.
        layers = [getattr(module, "_no_split_modules", None) or () for module in self.model.modules()]
        self.model._no_split_modules = {TransformerLayer.__name__}.union(*layers)
        self.add_head(config, self.model.output_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LinearChainCRF):
            module.reset_parameters()

    @classmethod
    def from_backbones(
        cls,
        text: str | PreTrainedModel,
        vision: str | PreTrainedModel | None = None,
        text_revision: str | None = None,
        vision_revision: str | None = None,
        **config,
    ) -> "ZooForTokenClassification":
        """Start from pretrained encoders, with fresh heads.

        Args:
            text: The text encoder: a Hub id, a folder, or a model.
            vision: The vision encoder, likewise; only for a system that reads images.
            text_revision: Commit, branch or tag of a text encoder from the Hub.
            vision_revision: Likewise for the vision encoder.
            config: Fields of the system's configuration.

        Returns:
            The model, in ``eval()`` mode like everything that transformers loads.

        Raises:
            ValueError: If a vision encoder is missing, or not wanted.
        """
        if cls.config_class.use_images != (vision is not None):
            raise ValueError(
                f"{cls.__name__} reads {'images: give' if cls.config_class.use_images else 'no images: leave out'} "
                f"`vision`, got {vision!r}."
            )
        return start_from_backbones(cls, text, vision, text_revision, vision_revision, config)

    def check_images(
        self, pixel_values: torch.Tensor | None, image_mask: torch.Tensor | None, input_ids: torch.Tensor
    ) -> torch.Tensor:
        """The mask of the real images, as `check_image_mask`; no post may have more than `max_images`.

        Raises:
            ValueError: If one has, or as `check_image_mask`.
        """
        image_mask = check_image_mask(pixel_values, image_mask, input_ids)
        most = self.config.max_images
        if image_mask.shape[1] > most and image_mask[:, most:].any():
            raise ValueError(
                f"A post of this batch has more images than the model's `max_images`, {most}. Give the processor the "
                "same `max_images`."
            )
        return image_mask

    def freeze_backbones(self, text: bool = False, vision: bool = False) -> None:
        """Keep an encoder as it is; see `FreezableBackbones.freeze_backbones`."""
        self.model.freeze_backbones(text=text, vision=vision)

    def get_input_embeddings(self) -> nn.Module:
        """The text encoder's word embeddings."""
        return self.model.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the text encoder's word embeddings."""
        self.model.text_model.set_input_embeddings(value)

    def tag(
        self,
        logits: torch.Tensor,
        word_mask: torch.Tensor | None,
        labels: torch.Tensor | None,
        num_items_in_batch: torch.Tensor | int | None = None,
        return_predictions: bool = False,
    ) -> TaggerOutput:
        """As `TaggingHead.tag`, with the loss as the system's authors normalise it."""
        normalization = self.config.loss_normalization
        return super().tag(logits, word_mask, labels, num_items_in_batch, return_predictions, normalization)
