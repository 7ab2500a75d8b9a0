"""The processor against the tokenizer's own reading of a text, and against the image processor's own full path."""

import inspect
import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoProcessor,
    BeitImageProcessorPil,
    CLIPImageProcessorPil,
    EfficientNetImageProcessorPil,
    PreTrainedTokenizer,
    PreTrainedTokenizerFast,
    ViTImageProcessorPil,
)

from modeling_iqcr import IQCRForTokenClassification
from processing_iqcr import ImageLoadingError, IQCRProcessor, split_words
from processing_iqcr.entities import tags_to_entities

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"height": 16, "width": 16}
# Each is a word to a person and nothing, or something unheard of, to a tokenizer.
ODD_WORDS = ["", "\ufe0f", "\u200b", " ", "\t", "नमस्ते", "日本語", "😀", "a" * 500, "\x00", "É", "two words"]


def byte_level_tokenizer(add_prefix_space: bool) -> PreTrainedTokenizerFast:
    """A RoBERTa in small: bytes, a few merges, and the space before a word as part of its first sub-token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, "Ġp", "la", "Ġpla", "ys"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [("Ġ", "p"), ("l", "a"), ("Ġp", "la"), ("y", "s")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def word_level_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words and no special tokens around them, as the LSTM systems use."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "paris": 2, "wins": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


class SyllableTokenizer(PreTrainedTokenizer):
    """A slow tokenizer, in Python, without `word_ids`: pieces of two letters."""

    def __init__(self, **kwargs):
        pairs = [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in ["", *"abcdefghijklmnopqrstuvwxyz"]]
        self._ids = {piece: index for index, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pairs])}
        self._pieces = list(self._ids)
        super().__init__(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", **kwargs)

    @property
    def vocab_size(self):
        return len(self._ids)

    def get_vocab(self):
        return dict(self._ids)

    def _tokenize(self, text, **kwargs):
        return [word[i : i + 2] for word in text.split() for i in range(0, len(word), 2)]

    def _convert_token_to_id(self, token):
        return self._ids.get(token, 1)

    def _convert_id_to_token(self, index):
        return self._pieces[index]

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [2, *token_ids_0, 3]


@pytest.fixture(scope="module")
def image_processor():
    return ViTImageProcessorPil(size=SIZE)


@pytest.fixture(scope="module")
def processors_by_name(image_processor, tiny_tokenizer):
    """Processors of one kind of tokenizer each; 24 sub-tokens a row."""
    tokenizers = {
        "wordpiece": tiny_tokenizer,
        "byte-level": byte_level_tokenizer(add_prefix_space=True),
        "word-level": word_level_tokenizer(),
        "slow": SyllableTokenizer(),
    }
    return {
        name: IQCRProcessor(image_processor, tokenizer, max_length=24, window_overlap=6)
        for name, tokenizer in tokenizers.items()
    }


KINDS = ["wordpiece", "byte-level", "word-level", "slow"]


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level", "word-level"])
def test_ids_and_word_mask_equal_the_tokenizers_own_reading_of_the_words(processors_by_name, kind):
    processor = processors_by_name[kind]
    words = ["plays", "paris", "wins", "zoo", "pla"]
    batch = processor(words=words)
    reference = processor.tokenizer(words, is_split_into_words=True)
    assert batch["input_ids"].tolist() == [reference["input_ids"]]
    word_ids = reference.word_ids()
    first = [word is not None and word not in word_ids[:i] for i, word in enumerate(word_ids)]
    assert batch["word_mask"].tolist() == [first]
    assert batch["attention_mask"].tolist() == [[1] * len(word_ids)]


def test_slow_tokenizer_without_word_ids(processors_by_name):
    batch = processors_by_name["slow"](words=["washington", "in", "x"])
    pieces = processors_by_name["slow"].tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    assert pieces == ["[CLS]", "wa", "sh", "in", "gt", "on", "in", "x", "[SEP]"]
    assert batch["word_mask"].nonzero()[:, 1].tolist() == [1, 6, 7]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("wordpiece", ["[CLS]"], ["[SEP]"]),
        ("byte-level", ["<s>"], ["</s>"]),
        ("word-level", [], []),
        ("slow", ["[CLS]"], ["[SEP]"]),
    ],
)
def test_special_tokens_stand_around_every_window(processors_by_name, kind, before, after):
    processor = processors_by_name[kind]
    batch = processor(words=["paris"] * 60)
    assert len(batch["input_ids"]) > 1
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        tokens = processor.tokenizer.convert_ids_to_tokens(ids[mask.bool()].tolist())
        assert tokens[: len(before)] == before
        assert tokens[len(tokens) - len(after) :] == after
        assert len(tokens) <= processor.max_length


@pytest.mark.parametrize("kind", KINDS)
def test_kth_true_is_the_kth_word(processors_by_name, kind):
    processor = processors_by_name[kind]
    words = ["washington", *ODD_WORDS, "wins"]
    batch = processor(words=words, word_labels=list(range(len(words))))
    seen = {}
    for labels, mask, window in zip(batch["labels"], batch["word_mask"], batch.windows, strict=True):
        assert labels[mask].tolist() == list(range(window.start, window.end))
        assert (labels[~mask] == -100).all()
        seen.update(dict.fromkeys(labels[mask].tolist()))
    assert list(seen) == list(range(len(words)))


def test_swallowed_word_is_the_unknown_token(processors_by_name):
    for processor in processors_by_name.values():
        batch = processor(words=["paris", "", "wins"])
        assert batch["input_ids"][0][batch["word_mask"][0]][1] == processor.tokenizer.unk_token_id


def test_very_long_word_is_cut_to_a_row_and_stays_one_word(processors_by_name):
    processor = processors_by_name["slow"]
    batch = processor(words=["in", "ab" * 300, "on"])
    assert [tuple(window) for window in batch.windows] == [(0, 0, 1), (0, 1, 2), (0, 2, 3)]
    ids = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][1].tolist())
    assert ids == ["[CLS]", *["ab"] * 22, "[SEP]"]
    assert batch["word_mask"][1].nonzero().tolist() == [[1]]


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text(max_size=12), min_size=1, max_size=30), kind=st.sampled_from(KINDS))
def test_every_word_of_any_text_is_fed_and_found_again(processors_by_name, words, kind):
    processor = processors_by_name[kind]
    batch = processor(words=words)
    assert batch["word_mask"].sum(dim=1).tolist() == [window.end - window.start for window in batch.windows]
    assert {k for window in batch.windows for k in range(window.start, window.end)} == set(range(len(words)))
    assert batch["attention_mask"].sum(dim=1).max() <= processor.max_length


def test_byte_level_tokenizer_without_prefix_space_is_refused_with_the_cure(image_processor):
    with pytest.raises(ValueError, match=r"lose the mark of a word's start.*add_prefix_space=True"):
        IQCRProcessor(image_processor, byte_level_tokenizer(add_prefix_space=False))


def test_tokenizer_without_padding_token_is_refused(image_processor):
    tokenizer = byte_level_tokenizer(add_prefix_space=True)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        IQCRProcessor(image_processor, tokenizer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_length": 65}, r"`max_length` 65 is more than the tokenizer's `model_max_length` 64"),
        ({"max_images": 0}, r"`max_images` must be at least 1, got 0"),
        ({"max_length": 10, "window_overlap": 8}, r"`window_overlap` must lie in \[0, 8\)"),
        ({"max_length": 2, "window_overlap": 0}, r"`window_overlap` must lie in \[0, 0\)"),
        ({"max_length": 32, "window_overlap": -1}, r"`window_overlap` must lie in"),
    ],
)
def test_lengths_out_of_range(image_processor, tiny_tokenizer, fields, message):
    with pytest.raises(ValueError, match=message):
        IQCRProcessor(image_processor, tiny_tokenizer, **fields)


def test_text_equals_its_words(tiny_processor):
    text = "#Washington wins,again 5th"
    words = [word.text for word in split_words(text)]
    assert_equal(tiny_processor(text=text), tiny_processor(words=words))
    assert_equal(tiny_processor(text=[text, "paris"]), tiny_processor(words=[words, ["paris"]]))


def test_single_nested_and_batch_forms_agree(tiny_processor, make_pictures):
    words, pictures, quality, relevance, labels = ["paris", "zoo"], make_pictures(2), [0.1, None], [0.3, -1], [3, 0]
    flat = tiny_processor(
        words=words, images=pictures, quality_scores=quality, relevance_scores=relevance, word_labels=labels
    )
    nested = tiny_processor(
        words=words, images=[pictures], quality_scores=[quality], relevance_scores=[relevance], word_labels=[labels]
    )
    batch = tiny_processor(
        words=[words], images=[pictures], quality_scores=[quality], relevance_scores=[relevance], word_labels=[labels]
    )
    assert_equal(flat, batch)
    assert_equal(nested, batch)
    assert_equal(
        tiny_processor(words=tuple(words), images=tuple(pictures)), tiny_processor(words=words, images=pictures)
    )
    assert_equal(
        tiny_processor(words=words, images=pictures, quality_scores=np.array([0.1, 0.5])),
        tiny_processor(words=words, images=pictures, quality_scores=[0.1, 0.5]),
    )


def test_post_alone_equals_its_row_in_a_batch(tiny_processor, make_pictures):
    pictures = make_pictures(3)
    batch = tiny_processor(
        words=[["paris"], ["washington", "zoo", "wins"]],
        images=[pictures[:1], pictures[1:]],
        quality_scores=[[0.5], None],
    )
    alone = tiny_processor(words=["paris"], images=pictures[:1], quality_scores=[0.5])
    length = alone["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][0, :length], alone["input_ids"][0])
    assert batch["attention_mask"][0].tolist() == [1] * length + [0] * (batch["input_ids"].shape[1] - length)
    assert not batch["word_mask"][0, length:].any()
    assert torch.equal(batch["pixel_values"][0, :1], alone["pixel_values"][0])
    assert batch["image_mask"].tolist() == [[True, False], [True, True]]
    torch.testing.assert_close(
        batch["quality_scores"], torch.tensor([[0.5, math.nan], [math.nan, math.nan]]), equal_nan=True
    )
    assert "relevance_scores" not in batch


def test_number_of_slots_is_the_most_of_the_batch_and_at_least_one(tiny_processor, make_pictures):
    pictures = make_pictures(3)
    several = tiny_processor(words=[["a"], ["b"], ["c"]], images=[[], pictures, None])
    assert several["pixel_values"].shape == (3, 3, 3, 16, 16)
    assert several["image_mask"].tolist() == [[False] * 3, [True] * 3, [False] * 3]
    none = tiny_processor(words=[["a"], ["b"]], images=[[], []], quality_scores=[[], []])
    assert none["pixel_values"].shape == (2, 1, 3, 16, 16)
    assert not none["image_mask"].any()
    assert none["quality_scores"].isnan().all()
    assert "pixel_values" not in tiny_processor(words=["a"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give either `text` or `words`"),
        ({"text": "a", "words": ["a"]}, "Give either `text` or `words`"),
        ({"text": [], "images": []}, "There is no post in `text`"),
        ({"text": ["a", None]}, "Post 1: `text` must be a string, got None"),
        ({"text": 7}, "`text` must be a list, got int"),
        ({"text": ["a", " \n"]}, "Post 1 has no words"),
        ({"words": "paris wins"}, "`words` is the string 'paris wins': pass a list of words"),
        ({"words": []}, "Post 0 has no words"),
        ({"words": [["a"], []]}, "Post 1 has no words"),
        ({"words": [["a"], "paris"]}, "Post 1: `words` must be a list of words, got 'paris'"),
        ({"words": [None, "a"]}, "Post 0: `words` must be a list of words, got None"),
        ({"words": ["a", None]}, "Post 0, word 1: expected a string, got None"),
        ({"words": [["a"], ["b", 3]]}, "Post 1, word 1: expected a string, got 3"),
        ({"words": ["a"], "images": "photo.jpg"}, "`images` must be a list, got str"),
        ({"words": ["a"], "images": b"\xff\xd8"}, "`images` must be a list, got bytes"),
        ({"words": ["a"], "images": Image.new("RGB", (2, 2))}, "`images` must be a list, got Image"),
        ({"words": ["a"], "images": np.zeros((4, 4, 3), np.uint8)}, r"got one array of shape \(4, 4, 3\)"),
        ({"words": [["a"], ["b"]], "images": ["a.jpg", "b.jpg"]}, "Post 0: `images` must be a list, got str"),
        ({"words": [["a"], ["b"]], "images": [[]]}, "2 posts, but 1 entries in `images`"),
        ({"words": [["a"], ["b"]], "word_labels": [0, 1]}, "Post 0: `word_labels` must be a list, got int"),
        ({"words": ["a", "b"], "word_labels": [1]}, "Post 0: 1 labels for 2 words"),
        ({"words": [["a"], ["b"]], "word_labels": [[0], [0, 1]]}, "Post 1: 2 labels for 1 words"),
        ({"words": ["a", "b"], "word_labels": [0, "B-PER"]}, "Post 0, word 1: the label 'B-PER' is no tag id"),
        ({"words": ["a"], "return_tensors": "np"}, "`return_tensors` must be 'pt', got 'np'"),
    ],
)
def test_arguments_that_do_not_fit(tiny_processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_processor(**arguments)


@pytest.mark.parametrize(
    ("name", "scores", "message"),
    [
        ("quality_scores", [0.1], "Post 1: 1 quality_scores for 2 images"),
        ("relevance_scores", [0.1, 0.2, 0.3], "Post 1: 3 relevance_scores for 2 images"),
        (
            "quality_scores",
            [0.1, 53.2],
            r"Post 1, image 1: 53.2 in `quality_scores` is not in \[0, 1\].*divide by 100",
        ),
        ("quality_scores", [-0.1, 0.2], "Post 1, image 0: -0.1 in `quality_scores`"),
        ("relevance_scores", [-1.01, 0.2], r"Post 1, image 0: -1.01 in `relevance_scores` is not in \[-1, 1\]"),
        ("relevance_scores", [0.2, math.inf], "Post 1, image 1: inf"),
        ("quality_scores", [0.2, math.nan], "Post 1, image 1: `quality_scores` holds NaN. Pass None"),
        ("quality_scores", [0.2, np.float32("nan")], "Post 1, image 1: `quality_scores` holds NaN"),
        ("quality_scores", [True, 0.2], "Post 1, image 0: True in `quality_scores` is no number"),
        ("relevance_scores", ["0.5", 0.2], "Post 1, image 0: '0.5' in `relevance_scores` is no number"),
    ],
)
def test_wrong_scores_name_post_and_image(tiny_processor, make_pictures, name, scores, message):
    with pytest.raises(ValueError, match=message):
        tiny_processor(words=[["a"], ["b"]], images=[[], make_pictures(2)], **{name: [[], scores]})


def test_scores_without_images_are_refused(tiny_processor):
    with pytest.raises(ValueError, match="Post 0: 1 quality_scores for 0 images"):
        tiny_processor(words=["a"], quality_scores=[0.5])


def test_borders_of_the_ranges_are_inside(tiny_processor, make_pictures):
    batch = tiny_processor(
        words=["a"], images=make_pictures(2), quality_scores=[0, 1.0], relevance_scores=[np.float32(-1), 1]
    )
    assert batch["quality_scores"].tolist() == [[0, 1]]
    assert batch["relevance_scores"].tolist() == [[-1, 1]]


def test_unreadable_image_names_post_and_image(tiny_processor, make_pictures):
    with pytest.raises(ImageLoadingError, match=r"Post 1, image 1: 'nowhere\.jpg'"):
        tiny_processor(words=[["a"], ["b"]], images=[[], [make_pictures(1)[0], "nowhere.jpg"]])


def test_first_four_of_five_pictures_are_kept_with_their_scores_and_one_warning(tiny_processor, make_pictures, caplog):
    pictures, quality = make_pictures(5), [0.1, 0.2, 0.3, 0.4, 0.5]
    transformers.utils.logging.warning_once.cache_clear()
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)  # it does not hand its records on
    try:
        many = tiny_processor(
            words=[["a"], ["b"], ["c"]],
            images=[pictures, pictures, pictures * 2],
            quality_scores=[quality, None, None],
        )
    finally:
        library.removeHandler(caplog.handler)
    assert [record.levelname for record in caplog.records if "max_images" in record.message] == ["WARNING"]
    four = tiny_processor(words=["a"], images=pictures[:4], quality_scores=quality[:4])
    assert torch.equal(many["pixel_values"][0], four["pixel_values"][0])
    assert torch.equal(many["quality_scores"][0], four["quality_scores"][0])
    assert many["pixel_values"].shape[1] == 4
    with pytest.raises(ValueError, match="Post 0: 4 quality_scores for 5 images"):
        tiny_processor(words=["a"], images=pictures, quality_scores=quality[:4])


def test_long_text_is_covered_by_windows_and_tagged_whole(tiny_processor, make_pictures, make_model):
    words = (["washington", "wins", "zoo", "!"] * 1250)[:5000]
    batch = tiny_processor(words=words, images=make_pictures(2), quality_scores=[0.2, None])
    assert batch["input_ids"].shape[1] <= 32
    assert len(batch.windows) == len(batch["input_ids"])
    assert {k for window in batch.windows for k in range(window.start, window.end)} == set(range(5000))
    assert torch.equal(batch["pixel_values"], batch["pixel_values"][:1].expand_as(batch["pixel_values"]))
    assert batch["image_mask"].all()
    torch.testing.assert_close(
        batch["quality_scores"], torch.tensor([[0.2, math.nan]]).expand(len(batch.windows), 2), equal_nan=True
    )
    model = make_model()
    with torch.no_grad():
        outputs = model(**batch)
    (prediction,) = tiny_processor.post_process_entities(model, outputs, batch.to("cpu"))
    assert len(prediction.tags) == 5000
    assert prediction.entities == tags_to_entities(prediction.tags)
    assert len(prediction.probabilities) == len(prediction.entities)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (300, 20), (17, 90)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1"])
@pytest.mark.parametrize(
    "kind",
    [
        ViTImageProcessorPil(size=SIZE),
        ViTImageProcessorPil(size={"height": 12, "width": 20}, do_normalize=False, resample=3),
        ViTImageProcessorPil(size=SIZE, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.3, 0.2]),
        CLIPImageProcessorPil(size={"shortest_edge": 18}, crop_size={"height": 16, "width": 16}),
        BeitImageProcessorPil(size=SIZE, crop_size={"height": 12, "width": 12}, do_center_crop=False),
    ],
    ids=["vit", "wide", "normalised", "cropped", "crop switched off"],
)
def test_pixels_equal_the_image_processors_own_path(tiny_tokenizer, kind, size, mode):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    processor = IQCRProcessor(kind, tiny_tokenizer, max_length=32, window_overlap=8)
    actual = processor(words=["a"], images=[image])["pixel_values"][0]
    expected = kind(images=[image.convert("RGB")], return_tensors="pt")["pixel_values"]
    assert actual.shape[1:] == processor.image_shape
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_bytes_hold_the_resized_pixels_without_loss(tiny_processor, make_pictures):
    picture = make_pictures(1)[0]
    resized = picture.resize((16, 16), Image.Resampling.BILINEAR)
    assert tiny_processor.image_to_bytes(picture) == np.asarray(resized).transpose(2, 0, 1).tobytes()
    every_value = Image.fromarray(np.arange(768, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8))
    assert tiny_processor.image_to_bytes(every_value) == np.asarray(every_value).transpose(2, 0, 1).tobytes()


def test_image_processor_of_torchvision_is_replaced_by_that_of_pil(tiny_tokenizer, make_pictures):
    pytest.importorskip("torchvision")
    from transformers import ViTImageProcessor

    processor = IQCRProcessor(ViTImageProcessor(size=SIZE, image_mean=[0.1] * 3), tiny_tokenizer, max_length=64)
    assert type(processor.image_processor) is ViTImageProcessorPil
    reference = ViTImageProcessorPil(size=SIZE, image_mean=[0.1] * 3)(images=make_pictures(1), return_tensors="pt")
    actual = processor(words=["a"], images=make_pictures(1))["pixel_values"][0]
    torch.testing.assert_close(actual, reference["pixel_values"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (CLIPImageProcessorPil(size={"shortest_edge": 16}, do_center_crop=False), "must become.*one size"),
        (ViTImageProcessorPil(do_resize=False), "must become.*one size"),
        (EfficientNetImageProcessorPil(size=SIZE, rescale_offset=True), "does more to pixels"),
    ],
)
def test_image_processor_that_cannot_travel_in_bytes_is_refused(tiny_tokenizer, kind, message):
    with pytest.raises(ValueError, match=message):
        IQCRProcessor(kind, tiny_tokenizer, max_length=32)


def test_keys_are_parameters_of_the_models_forward(tiny_processor, batch):
    parameters = set(inspect.signature(IQCRForTokenClassification.forward).parameters)
    assert set(batch) == set(tiny_processor.model_input_names)
    assert set(tiny_processor.model_input_names) <= parameters


def test_saved_configuration_holds_the_lengths_and_nothing_of_the_run(tiny_tokenizer, tmp_path):
    image_processor = ViTImageProcessorPil(size=SIZE)
    IQCRProcessor(image_processor, tiny_tokenizer, max_images=3, max_length=20, window_overlap=5).save_pretrained(
        tmp_path
    )
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved.pop("image_processor")["size"] == SIZE
    assert saved == {
        "auto_map": {"AutoProcessor": "processing_iqcr.IQCRProcessor"},
        "max_images": 3,
        "max_length": 20,
        "processor_class": "IQCRProcessor",
        "window_overlap": 5,
    }
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert (loaded.max_images, loaded.max_length, loaded.window_overlap) == (3, 20, 5)
    assert type(loaded.image_processor) is ViTImageProcessorPil


def test_loading_with_other_lengths(tiny_processor, tmp_path):
    tiny_processor.save_pretrained(tmp_path)
    assert IQCRProcessor.from_pretrained(tmp_path, max_length=16).max_length == 16


@pytest.mark.slow
@pytest.mark.parametrize("place", ["installed", "hub"])
def test_another_process_loads_the_same_processor(tiny_processor, make_model, make_pictures, tmp_path, place):
    tiny_processor.save_pretrained(tmp_path / "saved")
    make_model().save_pretrained(tmp_path / "saved")
    make_pictures(1)[0].save(tmp_path / "picture.png")
    words = ["washington", *ODD_WORDS, "wins"]
    script = """
import json, sys
import numpy as np
folder, words, remote = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "hub"
if not remote:
    import processing_iqcr
from transformers import AutoProcessor
processor = AutoProcessor.from_pretrained(folder + "/saved", trust_remote_code=remote)
batch = processor(words=words, images=[folder + "/picture.png"], quality_scores=[None], relevance_scores=[0.5])
np.savez(folder + "/tensors.npz", **{name: tensor.numpy() for name, tensor in batch.items()})
print(type(processor).__module__)
"""
    settings = dict(os.environ, HF_HOME=str(tmp_path / "hf_home"))
    settings.pop("PYTHONPATH", None)
    if place == "installed":
        settings["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), json.dumps(words), place],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().startswith("processing_iqcr" if place == "installed" else "transformers_modules")
    here = tiny_processor(
        words=words, images=[tmp_path / "picture.png"], quality_scores=[None], relevance_scores=[0.5]
    )
    there = np.load(tmp_path / "tensors.npz")
    assert set(there) == set(here)
    for name, tensor in here.items():
        np.testing.assert_array_equal(there[name], tensor.numpy())


def assert_equal(first, second):
    assert first.windows == second.windows
    assert set(first) == set(second)
    for name in first:
        torch.testing.assert_close(first[name], second[name], equal_nan=True, atol=0, rtol=0)
