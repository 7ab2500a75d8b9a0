"""A learned vector for each image slot of a post."""

import torch
from torch import nn
from torch.nn.functional import pad


class SlotEmbedding(nn.Embedding):
    """Tells the images of a post apart by their place.

    Args:
        max_images: Slots of a post.
        width: Width of the images' states.
    """

    def __init__(self, max_images: int, width: int):
        super().__init__(max_images, width)

    def forward(self, image_mask: torch.Tensor) -> torch.Tensor:
        """The vectors of a batch's slots.

        Args:
            image_mask: ``True`` for a real image, ``(B, N)``, bool.

        Returns:
            ``(N, width)``; 0 for slots beyond `max_images`, which a batch may have and a post may not.
        """
        num_images, max_images = image_mask.shape[1], self.num_embeddings
        if num_images <= max_images:
            return self.weight[:num_images]
        return pad(self.weight, (0, 0, 0, num_images - max_images))
