"""Images of posts in slots: which slots hold one, and an encoder that runs on the real ones alone."""

from collections.abc import Callable

import torch
from torch import nn
from transformers.utils import is_torchdynamo_exporting


def check_image_mask(
    pixel_values: torch.Tensor | None, image_mask: torch.Tensor | None, input_ids: torch.Tensor
) -> torch.Tensor:
    """Find which slots hold an image, and refuse shapes that do not fit together.

    Args:
        pixel_values: Normalised pixels, ``(B, N, 3, H, W)``, or those of the real images alone, one post after the
            other, ``(R, 3, H, W)``; ``None``: no post has an image.
        image_mask: ``True`` for a real image, ``(B, N)``, bool; ``None``: all are.
        input_ids: The posts, ``(B, T)``.

    Returns:
        The mask of the real images, ``(B, N)``, bool; one empty slot per post if there are no images at all.

    Raises:
        ValueError: If shapes do not fit, pixels are not normalised, or images are announced but not there.
    """
    num_posts = input_ids.shape[0]  # not `len`, which would fix the number of posts in an exported graph
    if pixel_values is None:
        if image_mask is None:
            return torch.zeros(num_posts, 1, dtype=torch.bool, device=input_ids.device)
        if image_mask.any():
            raise ValueError("`image_mask` marks images, but there are no `pixel_values`. Pass both, or neither.")
        if len(image_mask) != len(input_ids):
            raise ValueError(f"`image_mask` {tuple(image_mask.shape)} is not one of {len(input_ids)} posts.")
        return image_mask.bool()
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"`pixel_values` are {pixel_values.dtype}, not normalised: call `processor.normalize_pixels` on them."
        )
    if pixel_values.dim() == 4 and image_mask is not None:
        _check_packed(pixel_values, image_mask, num_posts)
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


def _check_packed(pixel_values: torch.Tensor, image_mask: torch.Tensor, num_posts: int) -> None:
    """Refuse packed images that are not those of the mask; on a GPU they are not counted, for that would wait."""
    counted = image_mask.device.type == "cpu" and not torch.compiler.is_compiling()
    if len(image_mask) != num_posts or (counted and int(image_mask.sum()) != len(pixel_values)):
        raise ValueError(
            f"Packed `pixel_values` {tuple(pixel_values.shape)} need an `image_mask` (posts, images) for "
            f"{num_posts} posts with {len(pixel_values)} marks, got {tuple(image_mask.shape)} with "
            f"{image_mask.sum()}."
        )


def drop_images(
    pixel_values: torch.Tensor | None, image_mask: torch.Tensor, probability: float
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Hide all images of a share of the posts; packed pixels lose them too.

    Args:
        pixel_values: As in `check_image_mask`.
        image_mask: ``(B, N)``, bool.
        probability: The share, in ``[0, 1]``.

    Returns:
        The pixels and the mask of the images that are left.
    """
    keep = torch.rand(len(image_mask), 1, device=image_mask.device) >= probability
    kept = image_mask & keep
    if pixel_values is not None and pixel_values.dim() == 4:
        pixel_values = pixel_values[kept[image_mask]]
    return pixel_values, kept


def encode_real_images(
    encode: Callable[[torch.Tensor], torch.Tensor],
    vision_model: nn.Module,
    pixel_values: torch.Tensor | None,
    image_mask: torch.Tensor,
    state_shape: tuple[int, ...],
    pixel_shape: tuple[int, int, int],
) -> torch.Tensor:
    """States of images in their slots; only real images enter the encoder, save in an exported graph.

    Args:
        encode: From pixels ``(R, 3, H, W)`` to states ``(R, ...)``, by the vision backbone.
        vision_model: The vision backbone; a frozen one, which stays in ``eval()``, need not run without images.
        pixel_values: As in `check_image_mask`.
        image_mask: ``(B, N)``, bool.
        state_shape: Of one image's states, for a batch without images, on which the encoder need not run.
        pixel_shape: Of an image, for such a batch.

    Returns:
        States, 0 on padding, ``(B, N, ...)``.
    """
    if pixel_values is not None and is_torchdynamo_exporting():
        # A graph of fixed form cannot pick out the real images, of which each batch has another number, or none.
        states = encode(pixel_values.flatten(0, 1)).unflatten(0, image_mask.shape)
        return states.masked_fill(~_like(image_mask, states), 0)
    real_pixels = pixel_values
    if pixel_values is not None and pixel_values.dim() == 5:
        real_pixels = pixel_values[image_mask]  # (R, 3, H, W); waits for the device, which packed pixels need not
    if real_pixels is None or len(real_pixels) == 0:
        training = vision_model.training
        if not (training or (torch.distributed.is_available() and torch.distributed.is_initialized())):
            return torch.zeros(*image_mask.shape, *state_shape, device=image_mask.device)
        # Several processes wait for each other's gradients, and under FSDP2 for each other's share of a layer, in
        # evaluation too: one without an image must run the encoder all the same.
        shape = pixel_shape if pixel_values is None else pixel_values.shape[-3:]
        vision_model.eval()  # what stands in for an image must not enter the statistics of a batch norm
        states = encode(torch.zeros(1, *shape, device=image_mask.device))
        vision_model.train(training)
        slots = torch.zeros(*image_mask.shape, *states.shape[1:], dtype=states.dtype, device=states.device)
        return slots + 0.0 * states.sum()
    states = encode(real_pixels)
    # Each slot takes the state of the last real image so far, its own if it is real. Scattering by the mask would
    # wait for the device on the way back.
    index = (image_mask.flatten().cumsum(0) - 1).clamp(min=0)
    slots = states.index_select(0, index).unflatten(0, image_mask.shape)
    return slots.masked_fill(~_like(image_mask, slots), 0)


def _like(image_mask: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """The mask with as many axes as states in slots have."""
    return image_mask.view(*image_mask.shape, *(1,) * (states.dim() - 2))
