"""What systems take from a vision backbone: one state per image, its regions, or a pyramid of its stages.

All three run the backbone on the real images alone, give 0 for an empty slot, and use no pooler: the checkpoints that
the systems start from have none, so that it would be random.
"""

from collections.abc import Callable

import torch
from torch.nn.functional import adaptive_avg_pool2d
from transformers import PreTrainedConfig, PreTrainedModel

from modeling_iqcr.backbones import pixel_shape
from modeling_iqcr.configuration_iqcr import VISION_POOLING
from modeling_iqcr.image_slots import encode_real_images

PYRAMID_CELLS = 2  # per side, in HVPNeT and VisualPT-MoE


def image_vectors(
    vision_model: PreTrainedModel,
    width: int,
    pooling: str,
    pixel_values: torch.Tensor | None,
    image_mask: torch.Tensor,
) -> torch.Tensor:
    """One state per image.

    Args:
        vision_model: The backbone.
        width: Of its last states, Dv.
        pooling: ``"cls"`` takes the class token, ``"mean"`` the mean of all states.
        pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, those of the real images alone, ``(R, 3, H, W)``, or
            ``None``.
        image_mask: ``True`` for a real image, ``(B, N)``, bool.

    Returns:
        The states, 0 where there is no image, ``(B, N, Dv)``.
    """

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        states = _last_states(vision_model, pixels)
        return states[:, 0] if pooling == "cls" else states.mean(dim=1)

    return _in_slots(encode, vision_model, pixel_values, image_mask, (width,))


def image_regions(
    vision_model: PreTrainedModel, width: int, pixel_values: torch.Tensor | None, image_mask: torch.Tensor
) -> torch.Tensor:
    """The states of an image's regions, row by row: the last map of a convolutional backbone, or a ViT's patches.

    Args:
        vision_model: The backbone.
        width: Of its last states, Dv.
        pixel_values: As in `image_vectors`.
        image_mask: ``(B, N)``, bool.

    Returns:
        The states, 0 where there is no image, ``(B, N, P, Dv)``. A batch without images may have P = 1.

    Raises:
        ValueError: If it is not known which states of the backbone are patches.
    """
    first = num_special_states(vision_model.config)

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return _last_states(vision_model, pixels)[:, first:]

    return _in_slots(encode, vision_model, pixel_values, image_mask, (1, width))


def image_pyramid(
    vision_model: PreTrainedModel, pixel_values: torch.Tensor | None, image_mask: torch.Tensor
) -> torch.Tensor:
    """All stages of a convolutional backbone, each averaged to 2 x 2 cells, side by side in each cell.

    Args:
        vision_model: The backbone.
        pixel_values: As in `image_vectors`.
        image_mask: ``(B, N)``, bool.

    Returns:
        The cells row by row, 0 where there is no image, ``(B, N, 4, sum of the stages' widths)``.

    Raises:
        ValueError: If the backbone has no stages that give maps.

    Source:
        Chen et al., HVPNeT, Findings of NAACL 2022. Its code reshapes (3840, 2, 2) to 4 rows without bringing the
        cells forward, so that a row mixes cells and stages; here a row is a cell.
    """
    widths = getattr(vision_model.config, "hidden_sizes", None) or []

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        output = vision_model(pixel_values=pixels.to(vision_model.dtype), output_hidden_states=True)
        maps = output.hidden_states[-len(widths) :]  # what some types give before the first stage is left out
        if [stage.shape[1] for stage in maps if stage.dim() == 4] != list(widths):
            raise _no_stages(vision_model.config)
        cells = [adaptive_avg_pool2d(stage, PYRAMID_CELLS) for stage in maps]  # (R, width, 2, 2) each
        return torch.cat(cells, dim=1).flatten(2).transpose(1, 2)  # (R, 4, sum of widths)

    if not widths:
        raise _no_stages(vision_model.config)
    return _in_slots(encode, vision_model, pixel_values, image_mask, (PYRAMID_CELLS**2, sum(widths)))


def pooling_of(config: PreTrainedConfig) -> str:
    """How one state is taken from a vision backbone: ``"cls"`` where it has a class token, else ``"mean"``.

    Args:
        config: The backbone's configuration.

    Raises:
        ValueError: If the type is not known.
    """
    if config.model_type not in VISION_POOLING:
        raise ValueError(
            f"It is not known which states of a vision backbone of type {config.model_type!r} are patches. Known: "
            f"{', '.join(sorted(VISION_POOLING))}."
        )
    return VISION_POOLING[config.model_type]


def num_special_states(config: PreTrainedConfig) -> int:
    """How many states of a vision backbone stand before those of its patches.

    Args:
        config: The backbone's configuration.

    Returns:
        The class token, a distillation token and register tokens, as far as the type has them.

    Raises:
        ValueError: If the type is not known.
    """
    has_class_token = pooling_of(config) == "cls"
    has_distillation_token = config.model_type == "deit"
    return has_class_token + has_distillation_token + getattr(config, "num_register_tokens", 0)


def _no_stages(config: PreTrainedConfig) -> ValueError:
    """The error for a backbone without a pyramid."""
    return ValueError(
        f"A vision backbone of type {config.model_type!r} has no stages that give maps. Take a convolutional one, "
        "such as a ResNet."
    )


def _last_states(vision_model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """The last states of R images, ``(R, P, Dv)``; a convolutional backbone's map row by row."""
    states = vision_model(pixel_values=pixels.to(vision_model.dtype)).last_hidden_state
    return states.flatten(2).transpose(1, 2) if states.dim() == 4 else states


def _in_slots(
    encode: Callable[[torch.Tensor], torch.Tensor],
    vision_model: PreTrainedModel,
    pixel_values: torch.Tensor | None,
    image_mask: torch.Tensor,
    state_shape: tuple[int, ...],
) -> torch.Tensor:
    """`encode_real_images` for a backbone, in its dtype."""
    shape = pixel_shape(vision_model.config)
    states = encode_real_images(encode, vision_model, pixel_values, image_mask, state_shape, shape)
    return states.to(vision_model.dtype)
