"""Rows of posts to the batch that a model's `forward` takes."""

import inspect

from torch import nn


class PostCollator:
    """Pad rows with the processor and keep what the model asks for.

    Args:
        processor: An `IQCRProcessor`.
        model: The model; its ``forward`` names the tensors that it uses.
        with_images: Whether the model takes images at all; pixels that nobody reads are not even prepared.
    """

    def __init__(self, processor, model: nn.Module, with_images: bool):
        self.processor = processor
        self.wanted = set(inspect.signature(model.forward).parameters)
        self.with_images = with_images

    def __call__(self, rows: list[dict]) -> dict:
        """Collate rows of `IQCRProcessor.encode_post`.

        Returns:
            As `IQCRProcessor.__call__`, but ``pixel_values`` are packed, ``(R, 3, H, W)`` in uint8, and
            `normalize` makes them float where the model is.
        """
        batch = self.processor.pad(rows, with_images=self.with_images, packed=True)
        return {name: tensor for name, tensor in batch.items() if name in self.wanted}

    def normalize(self, batch: dict) -> dict:
        """Make a batch's pixels float, on the device where they are by now: a quarter of the bytes to move there."""
        pixels = batch.get("pixel_values")
        return batch if pixels is None else batch | {"pixel_values": self.processor.normalize_pixels(pixels)}
