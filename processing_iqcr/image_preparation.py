"""Images at model size: as 8-bit pixels while they travel, as floats when they meet the model."""

import numpy as np
import torch
import transformers
from PIL import Image


def with_pil_backend(image_processor):
    """The same image processor on PIL, where transformers has one; that of torchvision differs by an 8-bit step."""
    pil_class = getattr(transformers, f"{type(image_processor).__name__}Pil", None)
    if pil_class is None:
        return image_processor
    fields = image_processor.to_dict()
    fields.pop("image_processor_type", None)
    return pil_class(**fields)


def resize_image(image_processor, image: Image.Image) -> np.ndarray:
    """An RGB image at model size, ``(3, H, W)``, uint8."""
    pixels = image_processor(images=[image], do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
    return np.rint(np.asarray(pixels[0])).astype(np.uint8)


def normalize_pixels(image_processor, pixels: torch.Tensor) -> torch.Tensor:
    """8-bit pixels ``(..., 3, H, W)`` as the image processor makes them for its model, float32."""
    values = pixels.to(torch.float32)
    if image_processor.do_rescale:
        values = values * image_processor.rescale_factor
    if image_processor.do_normalize:
        mean = torch.tensor(image_processor.image_mean).to(pixels.device, non_blocking=True).view(-1, 1, 1)
        std = torch.tensor(image_processor.image_std).to(pixels.device, non_blocking=True).view(-1, 1, 1)
        values = (values - mean) / std
    return values


def find_image_shape(image_processor) -> tuple[int, int, int]:
    """Try the image processor out on a wide and on a high image.

    Args:
        image_processor: An image processor of transformers.

    Returns:
        Channels, height and width of every image at model size.

    Raises:
        ValueError: If not all images come out in one shape, or what it does after resizing is not the rescaling and
            normalisation that `normalize_pixels` repeats.
    """
    gradient = np.linspace(0, 255, 20 * 30 * 3).astype(np.uint8)
    probes = [Image.fromarray(gradient.reshape(height, width, 3)) for height, width in ((20, 30), (30, 20))]
    resized = [resize_image(image_processor, probe) for probe in probes]
    shapes = [pixels.shape for pixels in resized]
    kind = type(image_processor).__name__
    if shapes[0] != shapes[1] or len(shapes[0]) != 3 or shapes[0][0] != 3:
        raise ValueError(
            f"{kind} makes arrays of shape {shapes[0]} and {shapes[1]} out of a wide and a high image, but all must "
            "become (3, height, width) of one size. Set `do_resize` and a `size` with height and width, or "
            "`do_center_crop` and `crop_size`."
        )
    expected = torch.as_tensor(np.asarray(image_processor(images=probes, return_tensors="np")["pixel_values"]))
    actual = normalize_pixels(image_processor, torch.from_numpy(np.stack(resized)))
    if actual.shape != expected.shape or not torch.allclose(actual, expected.float(), atol=1e-3):
        raise ValueError(
            f"{kind} does more to pixels than resize, crop, rescale and normalise. Use an image processor that does "
            "not, such as ViTImageProcessorPil with this one's size, mean and standard deviation."
        )
    return shapes[0]
