"""Posts of the shape of MNER-MI-Plus: its numbers of posts and pictures, and lengths as real tweets have them."""

import inspect
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel, ResNetConfig, RobertaConfig, ViTConfig
from transformers.trainer_pt_utils import LengthGroupedSampler

from mner_training.model_types import IQCR, tagger_class, tagger_config_class
from mner_zoo import LstmTextConfig
from modeling_iqcr.backbones import build_backbone

NUM_POSTS = 10_229
LABELS = ["O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG", "MISC") for prefix in "BI")]
NUM_TAGS = len(LABELS)
IMAGE_SIZE = 224
LETTERS = 12  # of the longest word of a batch
# What most programs pad every post to.
PADDED_LENGTH = 128
PADDED_IMAGES = 4

# Sub-tokens of a post, special ones included: how many of Twitter-2017's 3,373 training posts have them, and how many
# words these hold on average (WordPiece, 30,522 entries). MNER-MI's own text is taken to be as long.
_LENGTHS = {
    7: (5, 5), 8: (23, 6), 9: (46, 7), 10: (48, 8), 11: (86, 9), 12: (107, 9), 13: (156, 10), 14: (155, 11),
    15: (190, 12), 16: (238, 13), 17: (195, 13), 18: (219, 14), 19: (224, 15), 20: (207, 16), 21: (176, 17),
    22: (188, 17), 23: (171, 18), 24: (145, 19), 25: (128, 20), 26: (115, 20), 27: (89, 21), 28: (72, 22),
    29: (114, 22), 30: (77, 23), 31: (47, 23), 32: (40, 24), 33: (36, 25), 34: (19, 26), 35: (12, 26), 36: (12, 26),
    37: (13, 29), 38: (5, 25), 39: (7, 30), 40: (1, 25), 41: (3, 31), 44: (2, 35), 46: (1, 33), 56: (1, 50),
}  # fmt: skip
# Twitter-2017's share of the posts has one picture each. MNER-MI's 6,856 posts have 19,188, and nobody published how
# they are spread: these shares give that mean, 2.8, and with Twitter-2017 the 2.2 of Plus.
_TWITTER_SHARE = 3_373 / NUM_POSTS
_PICTURES = {2: 0.5, 3: 0.2, 4: 0.3}


class Shape(NamedTuple):
    """One post: its sub-tokens with the special ones, its words, its pictures."""

    length: int
    num_words: int
    num_images: int


def make_shapes(number: int = NUM_POSTS, seed: int = 0) -> list[Shape]:
    """Shapes of posts in random order."""
    draw = random.Random(seed)
    lengths = draw.choices(list(_LENGTHS), [posts for posts, _ in _LENGTHS.values()], k=number)
    pictures = draw.choices(list(_PICTURES), list(_PICTURES.values()), k=number)
    return [
        Shape(length, _LENGTHS[length][1], 1 if draw.random() < _TWITTER_SHARE else num_images)
        for length, num_images in zip(lengths, pictures, strict=True)
    ]


def group_into_batches(shapes: Sequence[Shape], size: int, seed: int = 0) -> Iterator[list[Shape]]:
    """Batches in the order in which the Trainer draws them from posts grouped by length."""
    torch.manual_seed(seed)
    order = list(LengthGroupedSampler(size, lengths=[shape.length for shape in shapes]))
    for start in range(0, len(order) - size + 1, size):
        yield [shapes[index] for index in order[start : start + size]]


def typical_batches(size: int, number: int) -> list[list[Shape]]:
    """Those batches of an epoch whose number of pictures is nearest to the average."""
    shapes = make_shapes()
    mean = size * sum(shape.num_images for shape in shapes) / len(shapes)
    batches = list(group_into_batches(shapes, size))
    random.Random(0).shuffle(batches)
    return sorted(batches, key=lambda batch: abs(sum(shape.num_images for shape in batch) - mean))[:number]


def make_batch(shapes: Sequence[Shape], model: PreTrainedModel, device: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of a batch that a tagger reads, packed as in training; ids, pixels, scores and labels are random."""
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([shape.length for shape in shapes])[:, None]
    words = torch.tensor([shape.num_words for shape in shapes])[:, None]
    counts = torch.tensor([shape.num_images for shape in shapes])[:, None]
    positions = torch.arange(int(lengths.max()))
    attention_mask = positions < lengths
    word_mask = (positions > 0) & (positions <= words.minimum(lengths - 2))
    image_mask = torch.arange(int(counts.max())) < counts
    size = getattr(config.vision_config, "image_size", IMAGE_SIZE)
    batch = {
        "input_ids": torch.randint(5, config.text_config.vocab_size, word_mask.shape, generator=generator),
        "attention_mask": attention_mask.long(),
        "word_mask": word_mask,
        "pixel_values": torch.randn(int(counts.sum()), 3, size, size, generator=generator),
        "image_mask": image_mask,
        "quality_scores": torch.rand(image_mask.shape, generator=generator),
        "relevance_scores": torch.rand(image_mask.shape, generator=generator) / 4 + 0.1,
        "labels": torch.randint(NUM_TAGS, word_mask.shape, generator=generator).where(word_mask, -100),
    }
    batch["input_ids"].masked_fill_(~attention_mask, config.text_config.pad_token_id)
    if config.text_config.model_type == LstmTextConfig.model_type:
        shape = (*word_mask.shape, LETTERS)
        batch["char_ids"] = torch.randint(2, config.text_config.char_vocab_size, shape, generator=generator)
        batch["char_ids"] *= attention_mask[..., None]
    wanted = inspect.signature(model.forward).parameters
    return {name: tensor.to(device) for name, tensor in batch.items() if name in wanted}


def pad_batch(
    batch: dict[str, torch.Tensor], length: int = PADDED_LENGTH, num_images: int = PADDED_IMAGES
) -> dict[str, torch.Tensor]:
    """The same batch as most programs make it: every post of `length` sub-tokens and `num_images` pictures."""
    num_posts, width = batch["input_ids"].shape
    padded = dict(batch)
    for name, value in {"input_ids": 1, "attention_mask": 0, "word_mask": False, "labels": -100}.items():
        padded[name] = torch.nn.functional.pad(batch[name], (0, length - width), value=value)
    missing = num_images - batch["image_mask"].shape[1]
    for name in ("image_mask", "quality_scores", "relevance_scores"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, missing), value=0)
    pixels = batch["pixel_values"]
    padded["pixel_values"] = pixels.new_zeros(num_posts, num_images, *pixels.shape[1:])
    padded["pixel_values"][padded["image_mask"]] = pixels
    return padded


def bare_text(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """As many real sub-tokens without any padding: each post as long as all are on average, ``(B, mean T)``."""
    mean_length = round(float(batch["attention_mask"].sum(1).float().mean()))
    return batch["input_ids"][:, :mean_length].clamp(min=5)  # no id of padding


def encode_all_slots(self, pixel_values: torch.Tensor, image_mask: torch.Tensor) -> torch.Tensor:
    """`IQCRModel.encode_images` as most programs do it: every slot goes through the encoder, empty ones too."""
    states = self._encode_pixels(pixel_values.flatten(0, 1)).unflatten(0, image_mask.shape)
    return states * image_mask[..., None]


def make_tagger(tiny: bool = False, model_type: str = IQCR) -> PreTrainedModel:
    """A tagger with random weights: IQCR-MI with the encoders of the paper, RoBERTa-base and ViT-base-patch16.

    Args:
        tiny: Two layers of width 32 instead, to try a benchmark out.
        model_type: Another system, with the encoder of its kind: the same RoBERTa, an LSTM with letters where it reads
            words, and a ResNet-50 where it reads regions of convolutional maps.
    """
    config_class = tagger_config_class(model_type)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    if getattr(config_class, "reads_words", False):
        text = LstmTextConfig(vocab_size=20_000, char_encoder="lstm", char_vocab_size=100)
    else:
        text = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, **(small if tiny else {}))
    configs = {"text_config": text}
    if config_class.use_images if hasattr(config_class, "use_images") else True:
        if getattr(config_class, "default_vision_type", "vit") == "resnet":
            configs["vision_config"] = ResNetConfig(
                **({"hidden_sizes": [8, 8, 16, 32], "depths": [1] * 4} if tiny else {})
            )
        else:
            configs["vision_config"] = ViTConfig(**(small | {"image_size": 32} if tiny else {}))
    torch.manual_seed(0)
    return tagger_class(model_type)(config_class(**configs, id2label=dict(enumerate(LABELS))))


class BareEncoders(nn.Module):
    """What a tagger cannot do without: its text encoder and, if it reads pictures, its vision encoder.

    Args:
        model: The tagger.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        text = model.model.text_model
        # one with a prefix in each layer is measured without
        self.text_model = text if isinstance(text, PreTrainedModel) else build_backbone(model.config.text_config)
        self.text_model.to(model.device, model.dtype).train(model.training)
        self.vision_model = getattr(model.model, "vision_model", None)

    def forward(self, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """The last states of as many real sub-tokens as the batch has, without padding, and of its pictures."""
        input_ids = bare_text(batch)
        letters = {"char_ids": batch["char_ids"][:, : input_ids.shape[1]]} if "char_ids" in batch else {}
        states = [self.text_model(input_ids=input_ids, **letters).last_hidden_state]
        if self.vision_model is not None:
            pixels = batch["pixel_values"].to(self.vision_model.dtype)
            states.append(self.vision_model(pixel_values=pixels).last_hidden_state)
        return states
