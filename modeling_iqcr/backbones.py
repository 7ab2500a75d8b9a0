"""The text and the vision backbone: built from their configurations, loaded with their weights, and kept frozen."""

import inspect

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel


class FreezableBackbones(nn.Module):
    """A model that can keep its ``text_model`` or its ``vision_model`` as it is."""

    def freeze_backbones(self, text: bool = False, vision: bool = False) -> None:
        """Keep a backbone as it is: no gradient, and always in ``eval()`` mode, so that no dropout or buffer moves.

        Freezes one more with each call, and never lets one go.

        Args:
            text: Freeze the text backbone.
            vision: Freeze the vision backbone, if there is one.
        """
        asked = {"text_model": text, "vision_model": vision}
        frozen = {name for name, wanted in asked.items() if wanted and getattr(self, name, None) is not None}
        self._frozen_backbones = getattr(self, "_frozen_backbones", set()) | frozen
        for name in self._frozen_backbones:
            getattr(self, name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True):
        """Set the mode; frozen backbones stay in ``eval()``."""
        super().train(mode)
        for name in getattr(self, "_frozen_backbones", ()):
            getattr(self, name).eval()
        return self


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


def start_from_backbones(
    model_class: type[PreTrainedModel],
    text: str | PreTrainedModel,
    vision: str | PreTrainedModel | None,
    text_revision: str | None,
    vision_revision: str | None,
    config: dict,
) -> PreTrainedModel:
    """A tagger with the weights of pretrained encoders and fresh heads.

    Args:
        model_class: The tagger's class; its ``model`` holds ``text_model`` and, with images, ``vision_model``.
        text: The text backbone: a Hub id, a folder, or a model.
        vision: The vision backbone, likewise, or ``None``.
        text_revision: Commit, branch or tag of a text backbone from the Hub.
        vision_revision: Likewise for the vision backbone.
        config: Fields of the tagger's configuration.

    Returns:
        The model, in ``eval()`` mode like everything that transformers loads.
    """
    backbones = {"text": load_backbone(text, text_revision)}
    if vision is not None:
        backbones["vision"] = load_backbone(vision, vision_revision)
    configs = {f"{kind}_config": backbone.config for kind, backbone in backbones.items()}
    model = model_class(model_class.config_class(**configs, **config))
    for kind, backbone in backbones.items():
        # The weights, not the modules: the fresh backbones have the shape of this model's configuration.
        _copy_weights(backbone, getattr(model.model, f"{kind}_model"))
    return model.eval()


def _copy_weights(source: PreTrainedModel, target: nn.Module) -> None:
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
