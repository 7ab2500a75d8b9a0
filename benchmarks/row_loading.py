"""Rows of posts as a data set stores them, and the processor that makes batches of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast, ViTImageProcessorPil

from benchmarks.plus_shaped import NUM_TAGS, Shape
from processing_iqcr import IQCRProcessor

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def make_processor(image_size: int) -> IQCRProcessor:
    """A processor for pictures of one size, with a tokenizer of special tokens alone: there is nothing to download."""
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(_SPECIAL)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token"), _SPECIAL, strict=True))
    size = {"height": image_size, "width": image_size}
    return IQCRProcessor(
        ViTImageProcessorPil(size=size), PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names), max_length=128
    )


def make_row(shape: Shape, pixel_bytes: Sequence[bytes], number: int) -> dict[str, Any]:
    """A row as `IQCRProcessor.encode_post` makes it, of a post of this shape; ids, labels and scores are arbitrary."""
    inside = shape.length - 2
    word_mask = [position < shape.num_words for position in range(inside)]
    labels = [(number + position) % NUM_TAGS if is_word else -100 for position, is_word in enumerate(word_mask)]
    return {
        "input_ids": [0, *(5 + (number + position) % 1000 for position in range(inside)), 2],
        "word_mask": [False, *word_mask, False],
        "labels": [-100, *labels, -100],
        "pixel_bytes": list(pixel_bytes),
        "quality_scores": [0.1 * (image + 1) for image in range(shape.num_images)],
        "relevance_scores": [0.2 + 0.02 * image for image in range(shape.num_images)],
        "post": number,
        "start": 0,
        "end": shape.num_words,
        "length": shape.length,
        "num_images": shape.num_images,
    }


class MappedRows(Dataset):
    """Rows whose pictures lie in one file that is mapped into memory, as `datasets` keeps them, without needing it.

    Args:
        shapes: The posts.
        image_size: Height and width of a picture.
        file: Where the pictures are written; of random content.
    """

    def __init__(self, shapes: Sequence[Shape], image_size: int, file: Path):
        self.shapes = shapes
        self.firsts = np.cumsum([0, *(shape.num_images for shape in shapes)])
        draw = np.random.default_rng(0)
        picture = 3 * image_size**2
        with open(file, "wb") as opened:
            for _ in range(int(self.firsts[-1])):
                opened.write(draw.bytes(picture))
        self.pixels = np.memmap(file, np.uint8, "r", shape=(int(self.firsts[-1]), picture))

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pictures = self.pixels[self.firsts[index] : self.firsts[index + 1]]
        return make_row(self.shapes[index], [picture.tobytes() for picture in pictures], index)
