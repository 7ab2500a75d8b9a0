"""Configuration of IQCR-MI: two backbones, the ablations' switches, and every number that the paper leaves open."""

import copy
import math
import os
from typing import TYPE_CHECKING

from transformers import AutoConfig, PreTrainedConfig

from .tagger_config import TaggerConfig, to_config

if TYPE_CHECKING:
    # Never run: transformers copies the files that a saved file names beside it. A configuration points to these two,
    # so they go wherever it goes, even if it is saved alone.
    from .modeling_iqcr import IQCRModel  # noqa: F401
    from .pipeline_iqcr import MultimodalNERPipeline  # noqa: F401

# What a saved configuration tells a process that has only the checkpoint, in which file each class is.
AUTO_MAP = {
    "AutoConfig": "configuration_iqcr.IQCRConfig",
    "AutoModel": "modeling_iqcr.IQCRModel",
    "AutoModelForTokenClassification": "modeling_iqcr.IQCRForTokenClassification",
}
CUSTOM_PIPELINES = {
    "multimodal-ner": {
        "impl": "pipeline_iqcr.MultimodalNERPipeline",
        "pt": ["AutoModelForTokenClassification"],
        "type": "multimodal",
    }
}

# How one state is taken from a vision backbone. Types are listed by hand, because a wrong guess (the first patch taken
# for a class token) trains without an error and is never noticed.
VISION_POOLING = {
    "beit": "cls",
    "clip_vision_model": "cls",
    "data2vec-vision": "cls",
    "deit": "cls",
    "dinov2": "cls",
    "dinov2_with_registers": "cls",
    "vit": "cls",
    "vit_msn": "cls",
    "convnext": "mean",
    "convnextv2": "mean",
    "ijepa": "mean",
    "pvt_v2": "mean",
    "resnet": "mean",
    "siglip_vision_model": "mean",
    "swin": "mean",
    "swinv2": "mean",
}


class IQCRConfig(TaggerConfig):
    """Everything that decides what an IQCR-MI model computes.

    Args:
        text_config: Configuration of the text backbone (Eq. 1), as an object or a dict. Default: RoBERTa-base.
        vision_config: Configuration of the vision backbone (Eq. 2), likewise. Default: ViT-B/16. Stays empty with
            ``use_images=False``.
        max_images: Images per post; the processor keeps the first ones of a post that has more.
        use_images: ``False`` leaves a text-only tagger: no vision backbone, no weighting, no cross-attention.
        use_quality: ``False`` is the paper's "w/o IQW": no quality factor in Eq. 7, no quality input to the gate.
        use_relevance: ``False`` is the paper's "w/o CMW", likewise for the relevance.
        use_gate: ``False`` sets the gate of Eq. 8 to 1.
        use_crf: ``False`` replaces the CRF by a softmax on each word.
        renormalize_weights: Make Eq. 7's product sum to 1 over a post's images. The paper prints it without.
        attention_prior: Add ``log(1 - G * (1 - W))`` to the cross-attention logits of Eq. 11.
        norm_first: Pre-norm instead of post-norm in the interaction layers. Pre-norm undoes the scale of Eq. 8.
        initial_quality_scale: Start of the trainable alpha of Eq. 5, in units of 1 over a quality in ``[0, 1]``.
        initial_relevance_scale: Start of the trainable beta of Eq. 6, in units of 1 over a cosine in ``[-1, 1]``.
        initial_gate_bias: Start of the gate's last bias; 0 starts at G = 0.5, 2 at 0.88.
        mean_quality_score: Stands for a missing quality, in ``[0, 1]``. The training run sets it to its data's mean.
        mean_relevance_score: Stands for a missing relevance, in ``[-1, 1]``, likewise.
        vision_pooling: ``"cls"`` or ``"mean"``; ``None`` chooses by the type of the vision backbone.
        num_self_attention_layers: Layers of Eq. 9 and of Eq. 10, each; 0 is allowed.
        num_cross_attention_layers: Layers of Eq. 11, at least 1 with images.
        num_attention_heads: Heads of the interaction layers; ``None`` takes the text backbone's.
        intermediate_size: Width of their feed-forward part; ``None`` takes the text backbone's.
        dropout: Probability, in the interaction layers, in the gate and before the classifier.
        image_dropout: Share of the posts that lose all their images in training, in ``[0, 1]``. It teaches the model
            to tag posts without pictures.
        constrain_decoding: Forbid illegal BIO steps in decoding; the likelihood stays free. ``None``: if the labels
            are in BIO form, each I- label with its B- label. A model refuses ``True`` for other labels.
        confidence_temperature: Divides all scores where the probability of an entity is asked for, above 0; fitted on
            validation data by ``scripts/calibrate.py``. Changes no tag and no loss.
        initializer_range: Standard deviation of fresh weights.
        id2label: Tag names by class id. Default: the nine BIO tags of the paper, unless `num_labels` is given.
        label2id: Class ids by tag name; derived from `id2label` if left out.
        kwargs: What every configuration of transformers takes.

    Raises:
        ValueError: If a value is out of range, a label occurs twice, or the backbones do not fit.

    Source:
        IQCR-MI, Sections 3 and 4.1.
    """

    model_type = "iqcr"
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}  # noqa: RUF012 - transformers reads a dict

    def __init__(
        self,
        text_config: dict | PreTrainedConfig | None = None,
        vision_config: dict | PreTrainedConfig | None = None,
        max_images: int = 4,
        use_images: bool = True,
        use_quality: bool = True,
        use_relevance: bool = True,
        use_gate: bool = True,
        use_crf: bool = True,
        renormalize_weights: bool = False,
        attention_prior: bool = False,
        norm_first: bool = False,
        initial_quality_scale: float = 10.0,
        initial_relevance_scale: float = 20.0,
        initial_gate_bias: float = 0.0,
        mean_quality_score: float = 0.5,
        mean_relevance_score: float = 0.25,
        vision_pooling: str | None = None,
        num_self_attention_layers: int = 1,
        num_cross_attention_layers: int = 1,
        num_attention_heads: int | None = None,
        intermediate_size: int | None = None,
        dropout: float = 0.1,
        image_dropout: float = 0.0,
        constrain_decoding: bool | None = None,
        confidence_temperature: float = 1.0,
        initializer_range: float = 0.02,
        id2label: dict[int, str] | None = None,
        label2id: dict[str, int] | None = None,
        **kwargs,
    ):
        # Backbone configurations first: the parent hands `attn_implementation` down to what is there by then.
        self.text_config = to_config(text_config, default="roberta")
        self.vision_config = to_config(vision_config, default="vit") if use_images else None
        self.use_images = use_images
        self.use_quality = use_quality
        self.use_relevance = use_relevance
        self.use_gate = use_gate
        self.renormalize_weights = renormalize_weights
        self.attention_prior = attention_prior
        self.norm_first = norm_first
        self.initial_quality_scale = initial_quality_scale
        self.initial_relevance_scale = initial_relevance_scale
        self.initial_gate_bias = initial_gate_bias
        self.mean_quality_score = mean_quality_score
        self.mean_relevance_score = mean_relevance_score
        self.num_self_attention_layers = num_self_attention_layers
        self.num_cross_attention_layers = num_cross_attention_layers
        self.num_attention_heads = _first_given(num_attention_heads, self.text_config, "num_attention_heads")
        self.intermediate_size = _first_given(intermediate_size, self.text_config, "intermediate_size")
        self.image_dropout = image_dropout
        super().__init__(
            max_images=max_images,
            use_crf=use_crf,
            dropout=dropout,
            constrain_decoding=constrain_decoding,
            confidence_temperature=confidence_temperature,
            initializer_range=initializer_range,
            id2label=id2label,
            label2id=label2id,
            **kwargs,
        )
        self.vision_pooling = self._choose_pooling(vision_pooling) if use_images else None
        self.check_fields()

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """Save the configuration with all files that it names: those of the models and of the pipeline.

        Args:
            save_directory: The folder, made if it is not there.
            push_to_hub: Upload it as well.
            kwargs: What every configuration of transformers takes.
        """
        if type(self) is IQCRConfig:  # a subclass names its own files
            self.auto_map, self.custom_pipelines = dict(AUTO_MAP), copy.deepcopy(CUSTOM_PIPELINES)
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    def _choose_pooling(self, asked: str | None) -> str:
        """How to take one state per image; refuses a type of backbone that is not known."""
        if asked not in (None, "cls", "mean"):
            raise ValueError(f"`vision_pooling` must be 'cls' or 'mean', got {asked!r}.")
        known = VISION_POOLING.get(self.vision_config.model_type)
        if asked is None and known is None:
            hint = " Pass its vision tower instead." if self.vision_config.model_type in ("clip", "siglip") else ""
            raise ValueError(
                f"It is not known whether a vision backbone of type {self.vision_config.model_type!r} has a class "
                f"token. Known: {', '.join(sorted(VISION_POOLING))}. Set `vision_pooling` to 'cls' or 'mean'.{hint}"
            )
        if asked == "cls" and known == "mean":
            raise ValueError(
                f"`vision_pooling='cls'` takes the first state for a class token, but a backbone of type "
                f"{self.vision_config.model_type!r} has none. Use 'mean'."
            )
        return asked or known

    def check_fields(self) -> None:
        """Refuse what would fail later without saying why, or never fail and be wrong.

        Every model asks again, because `from_pretrained` sets the fields that it is given after construction.

        Raises:
            ValueError: If a value is out of range, the labels are not one to one, or the backbones do not fit.
        """
        super().check_fields()
        self.check_switches(
            [
                "use_images",
                "use_quality",
                "use_relevance",
                "use_gate",
                "renormalize_weights",
                "attention_prior",
                "norm_first",
            ]
        )
        self.check_ranges(
            {
                "num_self_attention_layers": (0, math.inf),
                "num_cross_attention_layers": (1, math.inf),
                "num_attention_heads": (1, math.inf),
                "intermediate_size": (1, math.inf),
                "initial_quality_scale": (-math.inf, math.inf),
                "initial_relevance_scale": (-math.inf, math.inf),
                "initial_gate_bias": (-math.inf, math.inf),
                "mean_quality_score": (0, 1),
                "mean_relevance_score": (-1, 1),
                "image_dropout": (0, 1),
            }
        )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"The text backbone's width {self.hidden_size} is not a multiple of `num_attention_heads` "
                f"{self.num_attention_heads}. Choose heads that divide it."
            )
        if self.use_images:
            if self.vision_config is None:
                raise ValueError("`use_images` needs a `vision_config`.")
            self._choose_pooling(self.vision_pooling)


def _first_given(value: int | None, text_config: PreTrainedConfig, name: str) -> int:
    """The value, or the text backbone's own."""
    value = getattr(text_config, name, None) if value is None else value
    if value is None:
        raise ValueError(f"A text backbone of type {text_config.model_type!r} has no `{name}`: give it in IQCRConfig.")
    return value
