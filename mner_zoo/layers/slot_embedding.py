"""A learned vector for each image slot of a post."""

import torch
from torch import nn


class SlotEmbedding(nn.Embedding):
    """Tells the images of a post apart by their place.

    Args:
        max_images: Slots of a post.
        width: Width of the images' states.
    """

    def __init__(self, max_images: int, width: int):
        super().__init__(max_images, width)

    def forward(self, num_images: int) -> torch.Tensor:
        """The vectors of the first N slots, ``(N, width)``.

        Args:
            num_images: N, at most `max_images`.

        Raises:
            ValueError: If there are more images than slots.
        """
        if num_images > self.num_embeddings:
            raise ValueError(
                f"This batch has {num_images} images per post, but the model's `max_images` is "
                f"{self.num_embeddings}. Give the processor the same `max_images`."
            )
        return self.weight[:num_images]
