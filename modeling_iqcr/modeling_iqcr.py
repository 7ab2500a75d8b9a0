"""IQCR-MI: named-entity recognition in posts with several images, weighted by quality and relevance (Eq. 1 to 13).

Longer than most files: the model and its head stay together, as in every model of transformers.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import is_torchdynamo_exporting

from .backbones import build_backbone, copy_weights, load_backbone, pixel_shape
from .configuration_iqcr import IQCRConfig
from .crf import LinearChainCRF, bio_transitions
from .image_weighting import ImageWeighting
from .interaction import TransformerLayer
from .outputs import IQCRModelOutput, IQCRTokenClassifierOutput
from .tagging_head import TaggingHead
from .words import find_words, to_words


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


class IQCRModel(IQCRPreTrainedModel):
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
        self._frozen_backbones: set[str] = set()
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

    def freeze_backbones(self, text: bool = False, vision: bool = False) -> None:
        """Keep a backbone as it is: no gradient, and always in ``eval()`` mode, so that no dropout or buffer moves.

        Freezes one more with each call, and never lets one go.

        Args:
            text: Freeze the text backbone.
            vision: Freeze the vision backbone.
        """
        if text:
            self._frozen_backbones.add("text_model")
        if vision and self.vision_model is not None:
            self._frozen_backbones.add("vision_model")
        for name in self._frozen_backbones:
            getattr(self, name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True):
        """Set the mode; frozen backbones stay in ``eval()``."""
        super().train(mode)
        for name in self._frozen_backbones:
            getattr(self, name).eval()
        return self

    def encode_images(self, pixel_values: torch.Tensor | None, image_mask: torch.Tensor) -> torch.Tensor:
        """One state per image (Eq. 2); only real images enter the backbone, save in an exported graph.

        Args:
            pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, or those of the real images alone, one post after the
                other, ``(R, 3, H, W)``; ``None`` if no post has an image.
            image_mask: ``True`` for a real image, ``(B, N)``, bool.

        Returns:
            States at the text's width, 0 on padding, ``(B, N, D)``.
        """
        if pixel_values is not None and is_torchdynamo_exporting():
            # A graph of fixed form cannot pick out the real images, of which each batch has another number, or none.
            states = self._encode_pixels(pixel_values.flatten(0, 1)).unflatten(0, image_mask.shape)  # (B, N, D)
            return states.masked_fill(~image_mask[..., None], 0)
        dtype = self.dtype
        image_states = torch.zeros(*image_mask.shape, self.config.hidden_size, dtype=dtype, device=image_mask.device)
        real_pixels = pixel_values
        if pixel_values is not None and pixel_values.dim() == 5:
            real_pixels = pixel_values[image_mask]  # (R, 3, H, W); waits for the device, which packed pixels need not
        is_dummy = real_pixels is None or len(real_pixels) == 0
        if is_dummy:
            if not (self.training or (torch.distributed.is_available() and torch.distributed.is_initialized())):
                return image_states
            # Several processes wait for each other's gradients, and under FSDP2 for each other's share of a layer, in
            # evaluation too: one without an image must run the backbone all the same.
            shape = pixel_shape(self.config.vision_config) if pixel_values is None else pixel_values.shape[-3:]
            real_pixels = torch.zeros(1, *shape, device=image_mask.device)
        states = self._encode_pixels(real_pixels)
        if is_dummy:
            return image_states + 0.0 * states.sum().to(dtype)
        # Each slot takes the state of the last real image so far, its own if it is real. Scattering by the mask would
        # wait for the device on the way back.
        index = (image_mask.flatten().cumsum(0) - 1).clamp(min=0)
        image_states = states.to(dtype).index_select(0, index).unflatten(0, image_mask.shape)
        return image_states.masked_fill(~image_mask[..., None], 0)

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
            image_mask = self._check_image_mask(pixel_values, image_mask, input_ids)
            pixel_values, image_mask = self._drop_images(pixel_values, image_mask)
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

    def _check_image_mask(
        self, pixel_values: torch.Tensor | None, image_mask: torch.Tensor | None, input_ids: torch.Tensor
    ) -> torch.Tensor:
        """The mask of the real images, ``(B, N)``, bool; one empty slot per post if there are no images at all."""
        num_posts = input_ids.shape[0]  # not `len`, which would fix the number of posts in an exported graph
        if pixel_values is None:
            if image_mask is None:
                return torch.zeros(num_posts, 1, dtype=torch.bool, device=input_ids.device)
            if image_mask.any():
                raise ValueError("`image_mask` marks images, but there are no `pixel_values`. Pass both, or neither.")
            return image_mask.bool()
        if not pixel_values.is_floating_point():
            raise ValueError(
                f"`pixel_values` are {pixel_values.dtype}, not normalised: call `processor.normalize_pixels` on them."
            )
        if pixel_values.dim() == 4 and image_mask is not None:
            self._check_packed(pixel_values, image_mask, num_posts)
            return image_mask.bool()
        if pixel_values.dim() != 5 or pixel_values.shape[0] != num_posts:
            raise ValueError(
                f"`pixel_values` must be (posts, images, channels, height, width) for {num_posts} posts, got "
                f"{tuple(pixel_values.shape)}. Let IQCRProcessor prepare the batch."
            )
        if image_mask is None:
            return torch.ones(pixel_values.shape[:2], dtype=torch.bool, device=pixel_values.device)
        if image_mask.shape != pixel_values.shape[:2]:
            raise ValueError(
                f"`image_mask` must be (posts, images) = {tuple(pixel_values.shape[:2])} as in `pixel_values`, got "
                f"{tuple(image_mask.shape)}."
            )
        return image_mask.bool()

    @staticmethod
    def _check_packed(pixel_values: torch.Tensor, image_mask: torch.Tensor, num_posts: int) -> None:
        """Refuse packed images that are not those of the mask; on a GPU they are not counted, for that would wait."""
        counted = image_mask.device.type == "cpu" and not torch.compiler.is_compiling()
        if len(image_mask) != num_posts or (counted and int(image_mask.sum()) != len(pixel_values)):
            raise ValueError(
                f"Packed `pixel_values` {tuple(pixel_values.shape)} need an `image_mask` (posts, images) for "
                f"{num_posts} posts with {len(pixel_values)} marks, got {tuple(image_mask.shape)} with "
                f"{image_mask.sum()}."
            )

    def _drop_images(
        self, pixel_values: torch.Tensor | None, image_mask: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """In training, hide all images of a share of the posts (`image_dropout`); packed pixels lose them too."""
        if not self.training or self.config.image_dropout == 0:
            return pixel_values, image_mask
        keep = torch.rand(len(image_mask), 1, device=image_mask.device) >= self.config.image_dropout
        kept = image_mask & keep
        if pixel_values is not None and pixel_values.dim() == 4:
            pixel_values = pixel_values[kept[image_mask]]
        return pixel_values, kept

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
        if config.constrain_decoding and bio_transitions(config.labels) is None:
            raise ValueError(
                f"`constrain_decoding` needs BIO labels, each I- label with its B- label, got {config.labels}. Set it "
                "to false."
            )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.crf = LinearChainCRF(config.num_labels, learn_transitions=config.use_crf)
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
        text_model = load_backbone(text, text_revision)
        vision_model = None if vision is None else load_backbone(vision, vision_revision)
        vision_config = None if vision_model is None else vision_model.config
        model = cls(cls.config_class(text_config=text_model.config, vision_config=vision_config, **config))
        # The weights, not the modules: the fresh backbones have the shape of this model's configuration.
        copy_weights(text_model, model.model.text_model)
        if vision_model is not None:
            copy_weights(vision_model, model.model.vision_model)
        return model.eval()

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
        for name, tensor in (("labels", labels), ("word_mask", word_mask)):
            if tensor is not None and tensor.shape != input_ids.shape:
                raise ValueError(
                    f"`{name}` must have the shape of `input_ids` {tuple(input_ids.shape)}, got "
                    f"{tuple(tensor.shape)}: one entry per sub-token, not per word."
                )
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
        if word_mask is None and labels is not None:
            word_mask = labels != -100
        loss = None if labels is None else self._loss(logits, labels, num_items_in_batch)
        predictions = None
        if word_mask is not None and (return_predictions or not self.training):
            predictions = self.decode(logits, word_mask)
        output = IQCRTokenClassifierOutput(
            loss=loss,
            logits=logits,
            predictions=predictions,
            image_weights=outputs.image_weights,
            image_gates=outputs.image_gates,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )
        return output if return_dict else output.to_tuple()

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """Eq. 13 with the sign of a loss, over the number of labelled words, ``()``."""
        positions = find_words(labels != -100)
        log_likelihood = self.crf.log_likelihood(
            to_words(logits, positions), to_words(labels, positions), positions.tag_mask
        )
        if num_items_in_batch is None:
            num_items_in_batch = positions.tag_mask.sum()
        # at least 1, or a batch of empty posts would turn every weight into NaN
        return -log_likelihood.sum() / torch.as_tensor(num_items_in_batch).clamp(min=1)


def _fill_missing(scores: torch.Tensor | None, mean: float, image_mask: torch.Tensor, name: str) -> torch.Tensor:
    """Scores in float32 with the mean of the training data where one is missing or padding, ``(B, N)``."""
    if scores is None:
        return torch.full(image_mask.shape, mean, dtype=torch.float32, device=image_mask.device)
    if scores.shape != image_mask.shape:
        raise ValueError(f"`{name}` must be (posts, images) = {tuple(image_mask.shape)}, got {tuple(scores.shape)}.")
    return torch.where(scores.isnan() | ~image_mask, mean, scores.float())
