"""The processor: forms of calling it, what a batch holds, and what is saved."""

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
from transformers import AutoProcessor, ViTImageProcessorPil

from modeling_iqcr import IQCRForTokenClassification
from processing_iqcr import ImageLoadingError, IQCRProcessor, split_words
from processing_iqcr.entities import tags_to_entities

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"height": 16, "width": 16}
# Each is a word to a person and nothing, or something unheard of, to a tokenizer.
ODD_WORDS = ["", "\ufe0f", "\u200b", " ", "\t", "नमस्ते", "日本語", "😀", "a" * 500, "\x00", "É", "two words"]


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
def test_lengths_out_of_range(tiny_tokenizer, fields, message):
    with pytest.raises(ValueError, match=message):
        IQCRProcessor(ViTImageProcessorPil(size=SIZE), tiny_tokenizer, **fields)


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
        "quality_scorer": None,
        "relevance_scorer": None,
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
