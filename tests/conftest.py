"""Tiny models, tokenizer, processor and pictures, made here: no test needs a network or a download."""

import io
import math
import os

# Set before any of the libraries is imported, also when pytest is started by hand.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, ViTConfig, ViTImageProcessorPil, ViTModel

from dataset_scripts.features import TAG_NAMES, post_features
from modeling_iqcr import IQCRConfig, IQCRForTokenClassification
from processing_iqcr import IQCRProcessor

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "x",
    *"abcdefghijklmnopqrstuvwyz",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]
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


@pytest.fixture(scope="session")
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
def enliven():
    """Function that gives a tiny model weights so large that every input matters: ``enliven(model, seed=0)``.

    At the usual start, with a standard deviation of 0.02, another picture moves the scores of so small a model by
    1e-6: that something "changes nothing" would prove nothing.
    """

    def give(model, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if name.endswith(("quality_scale", "relevance_scale")):  # they matter as they are
                continue
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.data.normal_(0, min(1.0, 1.5 / math.sqrt(fan_in)), generator=generator)
            else:  # biases and norms
                parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        return model

    return give


@pytest.fixture(scope="session")
def make_lively_model(make_model, enliven):
    """Function that makes a tiny tagger, as `make_model`, and enlivens it."""

    def make(seed: int = 0, **fields):
        return enliven(make_model(seed, **fields), seed)

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session", autouse=True)
def _own_datasets_cache(tmp_path_factory):
    """No test finds what another run has stored, in this process or in one that it starts."""
    folder = tmp_path_factory.mktemp("datasets_cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(folder))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        yield


@pytest.fixture(scope="session")
def make_posts():
    """Function that makes a data set of tagged posts: ``make_posts(number, seed=0, num_words=None)``.

    What a word means is learnable: "washington" begins a PER, "jordan" continues it, "paris" is a LOC. Posts have 0 to
    3 pictures (the first post none), with scores of which some are missing.
    """
    other = ["wins", "again", "in", "the", "red", "zoo", "today", "!"]

    def make(number: int, seed: int = 0, num_words: int | None = None) -> Dataset:
        generator = np.random.default_rng(seed)
        posts = []
        for index in range(number):
            words, tags = [], []
            length = num_words or generator.integers(2, 9)
            while len(words) < length:
                kind = generator.integers(4)
                if kind == 0:
                    words += ["washington", "jordan"]
                    tags += ["B-PER", "I-PER"]
                elif kind == 1:
                    words.append("paris")
                    tags.append("B-LOC")
                else:
                    words.append(other[generator.integers(len(other))])
                    tags.append("O")
            pictures = []
            for _ in range(0 if index == 0 else generator.integers(4)):
                file = io.BytesIO()
                Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(file, "PNG")
                pictures.append({"bytes": file.getvalue(), "path": f"{seed}_{index}_{len(pictures)}.png"})
            scores = generator.random((2, len(pictures))).round(3).tolist()
            posts.append(
                {
                    "id": f"{seed}-{index}",
                    "tokens": words,
                    "ner_tags": [TAG_NAMES.index(tag) for tag in tags],
                    "images": pictures,
                    "url": "",
                    "source": "generated",
                    "quality_scores": [None if score < 0.1 else score for score in scores[0]],
                    "relevance_scores": None if index % 7 == 3 else scores[1],
                }
            )
        return Dataset.from_list(posts, features=post_features(with_scores=True))

    return make


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory, make_posts) -> Path:
    """The folder of a data set of `make_posts`: 48 posts to train on, 12 for validation, 13 for the test, one long."""
    folder = tmp_path_factory.mktemp("tiny_corpus")
    splits = {"train": make_posts(48, seed=1), "validation": make_posts(12, seed=2)}
    splits["test"] = datasets.concatenate_datasets([make_posts(12, seed=3), make_posts(1, seed=4, num_words=70)])
    for name, posts in splits.items():
        posts.to_parquet(folder / f"{name}.parquet")
    return folder
