"""Tiny models, tokenizer, processor and pictures, made here: no test needs a network or a download."""

import os

# Set before any of the libraries is imported, also when pytest is started by hand.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, ViTConfig, ViTImageProcessorPil, ViTModel

from modeling_iqcr import IQCRConfig, IQCRForTokenClassification
from processing_iqcr import IQCRProcessor

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "x", *"abcdefghijklmnopqrstuvwyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
WORDS = ["washington", "paris", "jordan", "wins", "again", "in", "the", "red", "blue", "green", "today", "#", "@", "!"]
IMAGE_SIZE = 16


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The optional folder of real data, ``IQCR_MI_DATA``."""
    return Path(os.environ.get("IQCR_MI_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """WordPiece over a few words and all small letters: other lower-case words take several sub-tokens."""
    vocabulary = {piece: index for index, piece in enumerate(PIECES + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )


@pytest.fixture(scope="session")
def tiny_processor(tiny_tokenizer):
    """A processor for images of 16 x 16 and rows of 32 sub-tokens."""
    image_processor = ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    return IQCRProcessor(image_processor, tiny_tokenizer, max_length=32, window_overlap=8)


@pytest.fixture(scope="session")
def tiny_backbone_configs(tiny_tokenizer):
    """Function that makes the configurations of a BERT of width 32 and a ViT of width 24, two layers each."""

    def make() -> tuple[BertConfig, ViTConfig]:
        text = BertConfig(
            vocab_size=len(tiny_tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=64,
        )
        vision = ViTConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=IMAGE_SIZE,
            patch_size=8,
        )
        return text, vision

    return make


@pytest.fixture
def make_model(tiny_backbone_configs):
    """Function that makes a tiny tagger in ``eval()``: ``make_model(seed=0, **fields of IQCRConfig)``."""

    def make(seed: int = 0, **fields) -> IQCRForTokenClassification:
        torch.manual_seed(seed)
        text, vision = tiny_backbone_configs()
        if fields.get("use_images") is False:
            vision = None
        return IQCRForTokenClassification(IQCRConfig(text_config=text, vision_config=vision, **fields)).eval()

    return make


@pytest.fixture(scope="session")
def tiny_backbones(tmp_path_factory, tiny_tokenizer, tiny_backbone_configs):
    """Folders of a pretrained text and a vision backbone, as `--text_backbone` and `--vision_backbone` take them."""
    torch.manual_seed(0)
    text_config, vision_config = tiny_backbone_configs()
    text, vision = tmp_path_factory.mktemp("text_backbone"), tmp_path_factory.mktemp("vision_backbone")
    BertModel(text_config, add_pooling_layer=False).save_pretrained(text)
    tiny_tokenizer.save_pretrained(text)
    ViTModel(vision_config, add_pooling_layer=False).save_pretrained(vision)
    ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(vision)
    return text, vision


@pytest.fixture
def make_pictures():
    """Function that makes pictures of noise: ``make_pictures(number, seed=0)``."""

    def make(number: int, seed: int = 0) -> list[Image.Image]:
        generator = np.random.default_rng(seed)
        return [Image.fromarray(generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)) for _ in range(number)]

    return make


@pytest.fixture
def batch(tiny_processor, make_pictures):
    """Three posts with 3, 1 and no pictures, tagged; sub-tokens, scores and lengths differ, one score is missing."""
    pictures = make_pictures(4)
    return tiny_processor(
        words=[["washington", "wins", "again", "today"], ["paris", "zoo"], ["in", "the", "jordan"]],
        images=[pictures[:3], pictures[3:], []],
        quality_scores=[[0.2, 0.9, None], [0.4], []],
        relevance_scores=[[0.31, 0.22, 0.18], [0.25], []],
        word_labels=[[1, 0, 0, 0], [3, 4], [0, 0, 5]],
    )
