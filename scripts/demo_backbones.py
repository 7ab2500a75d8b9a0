"""Tiny backbones for the demo: an untrained text encoder, and a vision encoder that has learned single pictures."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from datasets.utils import tqdm
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextModel,
    PreTrainedTokenizerFast,
    ViTImageProcessorPil,
)

from dataset_scripts.features import ENTITY_TYPES
from dataset_scripts.pictured_posts_pictures import COLOUR_HSV, SPOILT_KINDS, draw_picture

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
COLOURS = tuple(COLOUR_HSV)
HIDDEN_SIZE = 96
IMAGE_SIZE = 32


def save_text_backbone(folder: Path, words: Iterable[str], seed: int) -> None:
    """Save an untrained BERT of two layers, and a tokenizer that knows whole words, in lower case.

    Args:
        folder: Where to.
        words: The words of the training split; any other word will be unknown.
        seed: Of the weights.
    """
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *sorted({w.lower() for w in words})])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=128,
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=128,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def save_vision_backbone(folder: Path, seed: int, num_pictures: int = 6000, num_epochs: int = 7) -> dict[str, float]:
    """Train a small ConvNeXt to name the shape and the colour of single pictures, and save it without those heads.

    Half of the pictures are spoilt, as in any large collection, but it is never told which. A convolutional backbone,
    because a vision transformer needs minutes to see a shape.

    Args:
        folder: Where to.
        seed: Of the pictures and the weights. The pictures are of no corpus.
        num_pictures: Pictures to learn from.
        num_epochs: Times that each is seen.

    Returns:
        The share of right answers on new clear pictures, for shape and for colour, in ``[0, 1]``.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    image_processor = ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    pixels, targets = _single_pictures(image_processor, seed, num_pictures, ("clear", "clear", "clear", *SPOILT_KINDS))
    model = ConvNextModel(
        ConvNextConfig(
            num_stages=2, hidden_sizes=[48, HIDDEN_SIZE], depths=[1, 2], patch_size=4, image_size=IMAGE_SIZE
        )
    )
    head = nn.Linear(HIDDEN_SIZE, len(ENTITY_TYPES) + len(COLOURS))
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.05)
    batch_size = 32
    num_steps = num_epochs * (num_pictures // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=num_steps, pct_start=0.15)
    model.train()
    progress = tqdm(total=num_steps, desc="Learning single pictures")
    for _ in range(num_epochs):
        order = torch.randperm(num_pictures, generator=generator)
        for chosen in order.split(batch_size)[: num_pictures // batch_size]:
            loss = _loss(head(_states(model, _augment(pixels[chosen], generator))), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            progress.update()
    progress.close()
    model.eval()
    model.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    new_pixels, new_targets = _single_pictures(image_processor, seed + 1, 400, ("clear",))
    with torch.no_grad():
        logits = head(_states(model, new_pixels))
    shape, colour = logits.split([len(ENTITY_TYPES), len(COLOURS)], dim=1)
    return {
        "shape": float((shape.argmax(1) == new_targets[:, 0]).float().mean()),
        "colour": float((colour.argmax(1) == new_targets[:, 1]).float().mean()),
    }


def _single_pictures(
    image_processor, seed: int, number: int, kinds: tuple[str, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures at model size, ``(number, 3, H, W)`` float32, and the ids of shape and colour, ``(number, 2)``."""
    rng = np.random.default_rng([seed, 7])
    images, targets = [], []
    for _ in tqdm(range(number), desc="Drawing single pictures"):
        shape, colour = int(rng.integers(len(ENTITY_TYPES))), int(rng.integers(len(COLOURS)))
        kind = kinds[int(rng.integers(len(kinds)))]
        encoded = draw_picture(rng, ENTITY_TYPES[shape], COLOURS[colour], kind, 128)
        images.append(Image.open(io.BytesIO(encoded)))
        targets.append((shape, colour))
    pixels = image_processor(images=images, return_tensors="pt")["pixel_values"]
    return pixels, torch.tensor(targets)


def _augment(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the pictures and shift all by up to four pixels."""
    mirrored = torch.rand(len(pixels), 1, 1, 1, generator=generator) < 0.5
    pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    shift = torch.randint(-4, 5, (2,), generator=generator).tolist()
    return pixels.roll(shift, dims=(-2, -1))


def _states(model: ConvNextModel, pixels: torch.Tensor) -> torch.Tensor:
    """The mean over the map of each picture, as the tagger will take it, ``(pictures, D)``."""
    return model(pixel_values=pixels).last_hidden_state.flatten(2).mean(dim=-1)


def _loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of shape and of colour, added."""
    shape, colour = logits.split([len(ENTITY_TYPES), len(COLOURS)], dim=1)
    return nn.functional.cross_entropy(shape, targets[:, 0]) + nn.functional.cross_entropy(colour, targets[:, 1])
