"""IQCR-MI: named-entity recognition in posts with several images, weighted by quality and relevance (Eq. 1 to 13).

Longer than most files: the model and its head stay together, as in every model of transformers.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .backbones import FreezableBackbones, build_backbone, pixel_shape, start_from_backbones
from .configuration_iqcr import IQCRConfig
from .crf import LinearChainCRF
from .image_slots import check_image_mask, drop_images, encode_real_images
from .image_weighting import ImageWeighting
from .interaction import TransformerLayer
from .outputs import IQCRModelOutput, IQCRTokenClassifierOutput
from .tagging_head import TaggingHead


class IQCRPreTrainedModel(PreTrainedModel):
    """What the models of this file share: configuration, initialisation, and what transformers asks of a model."""

    config_class = IQCRConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["TransformerLayer"]  # noqa: RUF012 - transformers reads a list
    _keep_in_fp32_modules_strict = ["quality_scale", "relevance_scale"]  # noqa: RUF012 - likewise

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ImageWeighting):
            if module.quality_scale is not None:
                init.constant_(module.quality_scale, module.initial_quality_scale)
            if module.relevance_scale is not None:
                init.constant_(module.relevance_scale, module.initial_relevance_scale)
            if module.gate is not None:
                init.constant_(module.gate[-1].bias, module.initial_gate_bias)
        elif isinstance(module, LinearChainCRF):
            module.reset_parameters()


class IQCRModel(FreezableBackbones, IQCRPreTrainedModel):
    """The encoders, the weighting of the images and the interaction of the modalities (Eq. 1, 2 and 5 to 11).

    Quality (Eq. 3) and relevance (Eq. 4) come from frozen networks and are inputs.

    Args:
        config: The configuration.
    """

    def __init__(self, config: IQCRConfig):
        config.check_fields()
        super().__init__(config)
        self.text_model = build_backbone(config.text_config)
        self.vision_model = None
        self.image_projection = None
        self.image_weighting = None
        if config.use_images:
            self.vision_model = build_backbone(config.vision_config)
            if config.vision_hidden_size != config.hidden_size:
                self.image_projection = nn.Linear(config.vision_hidden_size, config.hidden_size)
            self.image_weighting = ImageWeighting(
                config.hidden_size,
                config.dropout,
                use_quality=config.use_quality,
                use_relevance=config.use_relevance,
                use_gate=config.use_gate,
                renormalize_weights=config.renormalize_weights,
                initial_quality_scale=config.initial_quality_scale,
                initial_relevance_scale=config.initial_relevance_scale,
                initial_gate_bias=config.initial_gate_bias,
            )
        num_self, num_cross = config.num_self_attention_layers, config.num_cross_attention_layers
        self.text_layers = self._interaction_layers(num_self)
        self.image_layers = self._interaction_layers(num_self if config.use_images else 0)
        self.cross_layers = self._interaction_layers(num_cross if config.use_images else 0)
        self.post_init()

    def _interaction_layers(self, num_layers: int) -> nn.ModuleList:
        config = self.config
        return nn.ModuleList(
            TransformerLayer(
                config.hidden_size,
                config.num_attention_heads,
                config.intermediate_size,
                config.dropout,
                norm_first=config.norm_first,
            )
            for _ in range(num_layers)
        )

    def get_input_embeddings(self) -> nn.Module:
        """The text backbone's word embeddings."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the text backbone's word embeddings."""
        self.text_model.set_input_embeddings(value)

    def encode_images(self, pixel_values: torch.Tensor | None, image_mask: torch.Tensor) -> torch.Tensor:
        """One state per image (Eq. 2); only real images enter the backbone, save in an exported graph.

        Args:
            pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, or those of the real images alone, one post after the
                other, ``(R, 3, H, W)``; ``None`` if no post has an image.
            image_mask: ``True`` for a real image, ``(B, N)``, bool.

        Returns:
            States at the text's width, 0 on padding, ``(B, N, D)``.
        """
        return encode_real_images(
            self._encode_pixels,
            self.vision_model,
            pixel_values,
            image_mask,
            state_shape=(self.config.hidden_size,),
            pixel_shape=pixel_shape(self.config.vision_config),
        ).to(self.dtype)

    def _encode_pixels(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """One state for each of R images ``(R, 3, H, W)``, ``(R, D)``."""
        patch_states = self.vision_model(pixel_values=pixel_values.to(self.dtype)).last_hidden_state
        if patch_states.dim() == 4:  # a convolutional backbone gives a map, (R, Dv, H, W)
            patch_states = patch_states.flatten(2).transpose(1, 2)  # (R, P, Dv)
        states = patch_states[:, 0] if self.config.vision_pooling == "cls" else patch_states.mean(dim=1)
        return states if self.image_projection is None else self.image_projection(states)  # (R, D)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        quality_scores: torch.Tensor | None = None,
        relevance_scores: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> IQCRModelOutput | tuple:
        """Fuse the text with its weighted images.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``; ``None``: all are.
            pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, or those of the real images alone, one post after the
                other, ``(R, 3, H, W)``; ``None``: no post has an image.
            image_mask: ``True`` for a real image, ``(B, N)``, bool; ``None``: all are.
            quality_scores: Quality (Eq. 3) in ``[0, 1]``, ``(B, N)``. NaN for a missing one, ``None`` if all are
                missing: the mean of the training data stands in.
            relevance_scores: Relevance (Eq. 4) in ``[-1, 1]``, ``(B, N)``, likewise.
            output_hidden_states: Return the states of all layers.
            output_attentions: Return the attention maps; needs eager attention.
            return_dict: ``False`` for a tuple.

        Returns:
            See `IQCRModelOutput`.

        Raises:
            ValueError: If the shapes do not fit together, images are announced but not there, or attention maps are
                asked of an attention that has none.
        """
        config = self.config
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        return_dict = config.return_dict if return_dict is None else return_dict
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        eager = config._attn_implementation == "eager"
        if output_attentions and not eager:
            raise ValueError(
                f"Attention of type {config._attn_implementation!r} returns no maps. For `output_attentions` call "
                '`model.set_attn_implementation("eager")` first.'
            )
        text_output = self.text_model(  # Eq. 1
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        text_states = text_output.last_hidden_state  # (B, T, D)
        hidden_states = list(text_output.hidden_states or ())
        attentions = list(text_output.attentions or ())
        cross_attentions = []
        text_mask = attention_mask.bool()

        sentence_state = text_states[:, 0]  # (B, D), the gate's view of the text
        for layer in self.text_layers:  # Eq. 9
            text_states, attention = layer(text_states, None, text_mask, eager=eager)
            hidden_states.append(text_states)
            attentions.append(attention)

        image_states = image_weights = image_gates = None
        if self.image_weighting is not None:
            image_mask = check_image_mask(pixel_values, image_mask, input_ids)
            if self.training and config.image_dropout > 0:
                pixel_values, image_mask = drop_images(pixel_values, image_mask, config.image_dropout)
            image_states = self.encode_images(pixel_values, image_mask)  # Eq. 2
            image_states, image_weights, image_gates = self.image_weighting(  # Eq. 5 to 8
                sentence_state,
                image_states,
                image_mask,
                _fill_missing(quality_scores, config.mean_quality_score, image_mask, "quality_scores"),
                _fill_missing(relevance_scores, config.mean_relevance_score, image_mask, "relevance_scores"),
            )
            for layer in self.image_layers:  # Eq. 10
                image_states, _ = layer(image_states, None, image_mask, eager=eager)
            image_states = image_states * image_mask[..., None]
            image_prior = self._attention_prior(image_weights, image_gates)
            for layer in self.cross_layers:  # Eq. 11
                text_states, attention = layer(text_states, image_states, image_mask, image_prior, eager=eager)
                hidden_states.append(text_states)
                cross_attentions.append(attention)

        output = IQCRModelOutput(
            last_hidden_state=text_states,
            image_states=image_states,
            image_weights=image_weights,
            image_gates=image_gates,
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
            cross_attentions=tuple(cross_attentions) if output_attentions and cross_attentions else None,
        )
        return output if return_dict else output.to_tuple()

    def _attention_prior(self, weights: torch.Tensor, gates: torch.Tensor) -> torch.Tensor | None:
        """The scale that Eq. 8 puts on each image, as an addend to the logits of Eq. 11, ``(B, N)``, or ``None``."""
        if not self.config.attention_prior:
            return None
        return (1 - gates * (1 - weights)).clamp(min=torch.finfo(weights.dtype).tiny).log()


class IQCRForTokenClassification(TaggingHead, IQCRPreTrainedModel):
    """IQCR-MI with a CRF over the words (Eq. 12 and 13), or a softmax on each word.

    Args:
        config: The configuration.

    Raises:
        ValueError: If a field is out of range, or ``constrain_decoding=True`` meets labels that are not BIO.

    Example:
        ```python
        model = IQCRForTokenClassification.from_backbones("roberta-base", "google/vit-base-patch16-224")
        outputs = model(**processor(words=["Washington", "wins"], images=["capitol.jpg"], return_tensors="pt"))
        ```
    """

    # The Trainer then passes `num_items_in_batch`, the labelled words of the whole accumulated batch.
    accepts_loss_kwargs = True

    def __init__(self, config: IQCRConfig):
        super().__init__(config)
        self.model = IQCRModel(config)
        self.add_head(config, config.hidden_size)
        self.post_init()

    @classmethod
    def from_backbones(
        cls,
        text: str | PreTrainedModel,
        vision: str | PreTrainedModel | None = None,
        text_revision: str | None = None,
        vision_revision: str | None = None,
        **config,
    ) -> "IQCRForTokenClassification":
        """Start from pretrained encoders, with fresh heads.

        Args:
            text: The text backbone: a Hub id, a folder, or a model.
            vision: The vision backbone, likewise; left out with ``use_images=False``.
            text_revision: Commit, branch or tag of a text backbone from the Hub.
            vision_revision: Likewise for the vision backbone.
            config: Fields of `IQCRConfig`.

        Returns:
            The model, in ``eval()`` mode like everything that transformers loads.

        Raises:
            ValueError: If a vision backbone is missing, or not wanted.
        """
        use_images = config.get("use_images", True)
        if use_images != (vision is not None):
            raise ValueError(
                f"`use_images` is {use_images} and `vision` is {vision!r}: give a vision backbone, or set "
                "use_images=False."
            )
        return start_from_backbones(cls, text, vision, text_revision, vision_revision, config)

    def freeze_backbones(self, text: bool = False, vision: bool = False) -> None:
        """Keep a backbone as it is; see `IQCRModel.freeze_backbones`."""
        self.model.freeze_backbones(text=text, vision=vision)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        word_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        quality_scores: torch.Tensor | None = None,
        relevance_scores: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        return_predictions: bool = False,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> IQCRTokenClassifierOutput | tuple:
        """Tag the words of a batch of posts.

        Args:
            input_ids: Sub-token ids, ``(B, T)``.
            attention_mask: 1 for a real sub-token, ``(B, T)``; ``None``: all are.
            word_mask: ``True`` on the first sub-token of each word, ``(B, T)``, bool; ``None``: where `labels` are.
            pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, or those of the real images alone, one post after the
                other, ``(R, 3, H, W)``; ``None``: no post has an image.
            image_mask: ``True`` for a real image, ``(B, N)``, bool.
            quality_scores: Quality in ``[0, 1]``, NaN for a missing one, ``(B, N)``.
            relevance_scores: Relevance in ``[-1, 1]``, NaN for a missing one, ``(B, N)``.
            labels: Tag ids on first sub-tokens, -100 elsewhere, ``(B, T)``.
            num_items_in_batch: Labelled words to divide the loss by; the Trainer gives those of all accumulated
                batches and processes. ``None``: those of this batch.
            return_predictions: Decode in training as well.
            output_hidden_states: Return the states of all layers.
            output_attentions: Return the attention maps; needs eager attention.
            return_dict: ``False`` for a tuple.

        Returns:
            See `IQCRTokenClassifierOutput`.

        Raises:
            ValueError: If the shapes do not fit together, or as `IQCRModel.forward`.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            image_mask=image_mask,
            quality_scores=quality_scores,
            relevance_scores=relevance_scores,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))  # (B, T, C)
        tagged = self.tag(logits, word_mask, labels, num_items_in_batch, return_predictions)
        output = IQCRTokenClassifierOutput(
            loss=tagged.loss,
            logits=logits,
            predictions=tagged.predictions,
            image_weights=outputs.image_weights,
            image_gates=outputs.image_gates,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )
        return output if return_dict else output.to_tuple()


def _fill_missing(scores: torch.Tensor | None, mean: float, image_mask: torch.Tensor, name: str) -> torch.Tensor:
    """Scores in float32 with the mean of the training data where one is missing or padding, ``(B, N)``."""
    if scores is None:
        return torch.full(image_mask.shape, mean, dtype=torch.float32, device=image_mask.device)
    if scores.shape != image_mask.shape:
        raise ValueError(f"`{name}` must be (posts, images) = {tuple(image_mask.shape)}, got {tuple(scores.shape)}.")
    return torch.where(scores.isnan() | ~image_mask, mean, scores.float())
