"""Tensors and switches that the tests of the model share."""

import pytest
import torch
from torch import nn

from modeling_iqcr.interaction import MultiHeadAttention


@pytest.fixture
def make_tensors():
    """Function that makes a batch of random tensors for a tiny model, ``make_tensors([2, 0, 3], seed=0)``.

    It takes the number of images of each post, and gives posts of 4 to 7 sub-tokens, each of them a word save the
    first and the last, with scores and labels.
    """

    def make(num_images: list[int], seed: int = 0, num_labels: int = 9) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        num_posts, most = len(num_images), max(1, *num_images)
        lengths = torch.tensor([4 + post % 4 for post in range(num_posts)])[:, None]
        positions = torch.arange(int(lengths.max()))
        attention_mask = positions < lengths
        word_mask = (positions > 0) & (positions < lengths - 1)
        labels = torch.randint(num_labels, word_mask.shape, generator=generator)
        return {
            "input_ids": torch.randint(4, 40, word_mask.shape, generator=generator) * attention_mask,
            "attention_mask": attention_mask.long(),
            "word_mask": word_mask,
            "pixel_values": torch.randn(num_posts, most, 3, 16, 16, generator=generator),
            "image_mask": torch.arange(most) < torch.tensor(num_images)[:, None],
            "quality_scores": torch.rand(num_posts, most, generator=generator),
            "relevance_scores": torch.rand(num_posts, most, generator=generator) / 4,
            "labels": labels.where(word_mask, -100),
        }

    return make


@pytest.fixture
def without_dropout():
    """Function that switches all dropout of a model off and puts it into training."""

    def switch_off(model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, MultiHeadAttention):
                module.dropout = 0.0
        return model.train()

    return switch_off
