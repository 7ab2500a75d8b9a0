"""Rows of posts to the batch that a model's `forward` takes."""

import inspect

from torch import nn


class PostCollator:
    """Pad rows with the processor and keep what the model asks for.

    Args:
        processor: An `IQCRProcessor`, whose `pad` makes the pictures float, once per batch.
        model: The model; its ``forward`` names the tensors that it uses.
        with_images: Whether the model takes images at all; pixels that nobody reads are not even prepared.
    """

    def __init__(self, processor, model: nn.Module, with_images: bool):
        self.processor = processor
        self.wanted = set(inspect.signature(model.forward).parameters)
        self.with_images = with_images

    def __call__(self, rows: list[dict]) -> dict:
        """Collate rows of `IQCRProcessor.encode_post`; shapes as in `IQCRProcessor.__call__`."""
        batch = self.processor.pad(rows, with_images=self.with_images)
        return {name: tensor for name, tensor in batch.items() if name in self.wanted}
