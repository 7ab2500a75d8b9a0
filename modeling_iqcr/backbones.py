"""The text and the vision backbone: built from their configurations, or loaded with their pretrained weights."""

import inspect

import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel


def build_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a backbone with fresh weights.

    Args:
        config: The backbone's configuration.

    Returns:
        The backbone, in torch's default dtype.
    """
    # The dtype is named, for the configuration of a checkpoint in half precision asks for half precision here as well.
    return AutoModel.from_config(config, dtype=torch.get_default_dtype(), **_without_pooler(config))


def load_backbone(backbone: str | PreTrainedModel, revision: str | None) -> PreTrainedModel:
    """Load a pretrained backbone.

    Args:
        backbone: A Hub id, a folder, or a model; of a model with a head, the body is taken.
        revision: Commit, branch or tag on the Hub.

    Returns:
        The backbone; one that is loaded here is in float32, since mixed precision trains on float32 master weights.
    """
    if not isinstance(backbone, str):
        return backbone.base_model
    config = AutoConfig.from_pretrained(backbone, revision=revision)
    return AutoModel.from_pretrained(backbone, revision=revision, dtype=torch.float32, **_without_pooler(config))


def copy_weights(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Copy all weights that `target` has a place for, which may lack the pooler of `source`."""
    names = target.state_dict().keys()
    target.load_state_dict({name: tensor for name, tensor in source.state_dict().items() if name in names})


def pixel_shape(vision_config: PreTrainedConfig) -> tuple[int, int, int]:
    """The shape of an image that a vision backbone takes, ``(channels, height, width)``."""
    size = getattr(vision_config, "image_size", 32)  # a convolutional backbone may name none and takes any
    height, width = (size, size) if isinstance(size, int) else size
    return vision_config.num_channels, height, width


def _without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """The argument that leaves out a pooler, for the types that know it: an unused layer would get no gradient."""
    has_switch = "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters
    return {"add_pooling_layer": False} if has_switch else {}
