"""A batch of random posts with pictures for tiny systems."""

import torch


def pictured_batch(num_images: list[int], seed: int = 0, size: int = 16) -> dict[str, torch.Tensor]:
    """Posts of 4 to 7 sub-tokens, all but the first and the last of them words, with these numbers of pictures."""
    generator = torch.Generator().manual_seed(seed)
    num_posts, most = len(num_images), max(1, *num_images)
    lengths = torch.tensor([4 + post % 4 for post in range(num_posts)])[:, None]
    positions = torch.arange(int(lengths.max()))
    attention_mask = positions < lengths
    word_mask = (positions > 0) & (positions < lengths - 1)
    return {
        "input_ids": torch.randint(4, 40, word_mask.shape, generator=generator) * attention_mask,
        "attention_mask": attention_mask.long(),
        "word_mask": word_mask,
        "pixel_values": torch.randn(num_posts, most, 3, size, size, generator=generator),
        "image_mask": torch.arange(most) < torch.tensor(num_images)[:, None],
        "labels": torch.randint(9, word_mask.shape, generator=generator).where(word_mask, -100),
    }
