"""Scores for the images of new posts: `compute_scores`, and the scorers that a processor is saved with."""

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyiqa
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor
from transformers import AutoProcessor, ViTImageProcessorPil

from processing_iqcr import ImageLoadingError, IQCRProcessor, post_scoring, quality_scorer, scorers
from processing_iqcr.quality_scorer import QualityScorer
from processing_iqcr.relevance_scorer import RelevanceScorer
from processing_iqcr.scorer_files import UnscorableImageError
from processing_iqcr.scorers import register_quality_scorer, register_relevance_scorer
from tests.scoring_networks import block_sockets, noise, save_clip

ROOT = Path(__file__).resolve().parents[2]
MINE = {"quality_scorer": {"name": "brightness"}, "relevance_scorer": {"name": "length"}}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    attempts = block_sockets(monkeypatch)
    yield
    assert attempts == []


@pytest.fixture(autouse=True)
def nothing_registered_or_loaded(monkeypatch):
    monkeypatch.setattr(scorers, "_registered", {})
    post_scoring._load_once.cache_clear()
    yield
    post_scoring._load_once.cache_clear()


@pytest.fixture
def make_processor(tiny_tokenizer):
    def make(**fields) -> IQCRProcessor:
        image_processor = ViTImageProcessorPil(size={"height": 16, "width": 16})
        return IQCRProcessor(image_processor, tiny_tokenizer, max_length=32, window_overlap=8, **fields)

    return make


@pytest.fixture
def calls():
    """Register scorers that look at one thing each, and give a list of what they were called with.

    The quality is the brightness of the first pixel, the relevance the number of letters of the text by the width.
    """
    calls = []

    def brightness(images):
        calls.append(list(images))
        return [image.getpixel((0, 0))[0] / 255 for image in images]

    def length(texts, images):
        calls.append((list(texts), list(images)))
        return [len(text) / image.width for text, image in zip(texts, images, strict=True)]

    register_quality_scorer("brightness", brightness, version="1")
    register_relevance_scorer("length", length, version="1")
    return calls


def gray(value: int, width: int = 100, height: int = 10) -> Image.Image:
    return Image.new("RGB", (width, height), (value, value, value))


def test_one_post_has_flat_lists(make_processor, calls):
    processor = make_processor(**MINE)
    images = [gray(51), gray(255, width=200)]
    expected = {"quality_scores": [0.2, 1.0], "relevance_scores": [0.1, 0.05]}
    assert processor.compute_scores(words=["paris", "wins"], images=images) == expected
    assert processor.compute_scores(words=["paris", "wins"], images=[images]) == expected
    assert processor.compute_scores(text="paris wins", images=images) == expected


def test_several_posts_have_one_list_each_also_those_without_pictures(make_processor, calls):
    scores = make_processor(**MINE).compute_scores(
        words=[["paris"], ["in", "the", "zoo"], ["no"], ["none"], ["wins", "again"]],
        images=[[gray(0), gray(51)], [gray(102, width=50)], [], None, [gray(153), gray(204), gray(255)]],
    )
    assert scores == {
        "quality_scores": [[0.0, 0.2], [0.4], [], [], [0.6, 0.8, 1.0]],
        "relevance_scores": [[0.05, 0.05], [0.2], [], [], [0.1, 0.1, 0.1]],
    }
    assert len(calls) == 2  # all pictures at once, of which a scorer can make batches


def test_list_of_one_post_has_one_list(make_processor, calls):
    scores = make_processor(**MINE).compute_scores(words=[["paris"]], images=[[gray(51)]])
    assert scores == {"quality_scores": [[0.2]], "relevance_scores": [[0.05]]}


def test_scorers_see_the_pictures_as_they_are_and_the_text_without_handles(make_processor, calls, tmp_path):
    picture = noise(123, 45)
    picture.save(tmp_path / "picture.png")
    transparent = Image.new("RGBA", (30, 20), (255, 0, 0, 0))
    make_processor(**MINE).compute_scores(
        words=[["RT", "@", "nba", ":", "R&amp;B", "https://t.co/a1B2"], ["@paris"]],
        images=[[tmp_path / "picture.png", transparent], [(tmp_path / "picture.png").read_bytes()]],
    )
    (images, (texts, same)) = calls
    assert [image.mode for image in images] == ["RGB"] * 3
    assert [image.size for image in images] == [(123, 45), (30, 20), (123, 45)]
    for image in (images[0], images[2]):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(picture))
    assert images[1].getpixel((0, 0)) == (255, 255, 255)
    assert all(first is second for first, second in zip(images, same, strict=True))
    assert texts == ["RT : R&B", "RT : R&B", "@paris"]


def test_kind_without_a_scorer_is_left_out(make_processor, calls):
    post = {"words": ["paris"], "images": [gray(51)]}
    assert make_processor().compute_scores(**post) == {}
    for kind, score in (("quality", 0.2), ("relevance", 0.05)):
        processor = make_processor(**{f"{kind}_scorer": MINE[f"{kind}_scorer"]})
        assert processor.compute_scores(**post) == {f"{kind}_scores": [score]}


def test_without_any_picture_nothing_is_loaded(make_processor, monkeypatch):
    def load(*_, **__):
        raise AssertionError("A network is loaded.")

    for name in ("load_network", "hf_hub_download"):
        monkeypatch.setattr(quality_scorer, name, load)
    processor = make_processor(quality_scorer={"name": "maniqa"})
    assert processor.compute_scores(words=["paris"], images=[]) == {"quality_scores": []}
    assert processor.compute_scores(words=[["a"], ["b"]], images=[None, []]) == {"quality_scores": [[], []]}


def test_scorers_run_where_they_are_told(make_processor, monkeypatch):
    devices = []

    def score(scorer, images):
        devices.append(scorer.device.type)
        return [0.5]

    monkeypatch.setattr(QualityScorer, "__call__", score)
    processor = make_processor(quality_scorer={"name": "piqe"})
    for device in ("cpu", "meta", "cpu"):
        processor.compute_scores(words=["paris"], images=[gray(51)], device=device)
    assert devices == ["cpu", "meta", "cpu"]


def test_unreadable_picture_is_named(make_processor, calls, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"<html>404</html>")
    processor = make_processor(**MINE)
    for bad in ("nowhere.jpg", tmp_path / "broken.jpg"):
        with pytest.raises(ImageLoadingError, match=rf"Post 1, image 2: .*{Path(bad).name}"):
            processor.compute_scores(words=[["a"], ["b"]], images=[[], [gray(1), gray(2), bad]])
    assert calls == []


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("quality", math.nan, r"Post 2, image 1: its quality is NaN, by 'mine'"),
        ("quality", 1.5, r"Post 2, image 1: its quality is 1\.5, which is not in \[0, 1\], by 'mine'"),
        ("relevance", math.nan, r"Post 2, image 1: its relevance is NaN, by 'mine'"),
        ("relevance", -30, r"Post 2, image 1: its relevance is -30, which is not in \[-1, 1\], by 'mine'"),
    ],
)
def test_score_that_is_none_is_named(make_processor, kind, value, message):
    register = {"quality": register_quality_scorer, "relevance": register_relevance_scorer}[kind]
    register("mine", lambda *arguments: [0.5, 0.5, value, 0.5], version="1")
    processor = make_processor(**{f"{kind}_scorer": {"name": "mine"}})
    with pytest.raises(ValueError, match=message):
        processor.compute_scores(words=[["a"], ["b"], ["c"]], images=[[gray(1)], None, [gray(2), gray(3), gray(4)]])


def test_black_picture_has_no_quality_by_piqe(make_processor):
    with pytest.raises(ValueError, match=r"Post 0, image 1: its quality is NaN, by 'piqe'"):
        make_processor(quality_scorer={"name": "piqe"}).compute_scores(
            words=["a"], images=[noise(64, 64), gray(0, 64, 64)]
        )


def test_picture_that_a_metric_cannot_score_is_named(make_processor):
    with pytest.raises(UnscorableImageError, match=r"Post 1, image 1: piqe cannot score 7 x 90 pixels"):
        make_processor(quality_scorer={"name": "piqe"}).compute_scores(
            words=[["a"], ["b"]], images=[[noise(64, 64)], [noise(64, 64), noise(7, 90)]]
        )


def test_many_pictures_keep_their_places(make_processor, calls):
    counts = [3, 0, 20, 1, 16, 0, 5]
    values = iter(range(sum(counts)))
    images = [[gray(next(values)) for _ in range(count)] for count in counts]
    words = [["w" * (index + 1)] for index in range(len(counts))]
    scores = make_processor(**MINE).compute_scores(words=words, images=images)
    expected = iter(range(sum(counts)))
    assert scores == {
        "quality_scores": [[next(expected) / 255 for _ in range(count)] for count in counts],
        "relevance_scores": [[(index + 1) / 100] * count for index, count in enumerate(counts)],
    }


def test_scores_go_into_the_batch_as_they_come(make_processor, calls):
    processor = make_processor(**MINE, max_images=2)
    several = {
        "words": [["paris"], ["in"], ["zoo", "wins"]],
        "images": [[gray(51)], None, [gray(102), gray(153), gray(204)]],  # one more than is used
    }
    batch = processor(**several, **processor.compute_scores(**several))
    nan = math.nan
    torch.testing.assert_close(
        batch["quality_scores"], torch.tensor([[0.2, nan], [nan, nan], [0.4, 0.6]]), equal_nan=True
    )
    torch.testing.assert_close(
        batch["relevance_scores"], torch.tensor([[0.05, nan], [nan, nan], [0.08, 0.08]]), equal_nan=True
    )
    one = {"words": ["zoo", "wins"], "images": [gray(102), gray(153)]}
    batch = processor(**one, **processor.compute_scores(**one))
    torch.testing.assert_close(batch["quality_scores"], torch.tensor([[0.4, 0.6]]))


@pytest.mark.parametrize(
    ("post", "message"),
    [
        ({"images": []}, "Give either `text` or `words`"),
        ({"words": ["a"], "text": "a", "images": []}, "Give either `text` or `words`"),
        ({"words": [["a"], ["b"]], "images": [[]]}, "2 posts, but 1 entries in `images`"),
        ({"words": ["a"], "images": "picture.png"}, "`images` must be a list, got str"),
    ],
)
def test_arguments_that_do_not_fit(make_processor, calls, post, message):
    with pytest.raises(ValueError, match=message):
        make_processor(**MINE).compute_scores(**post)


def test_scorer_that_was_registered_anew_is_used(make_processor, calls):
    processor = make_processor(quality_scorer={"name": "brightness"})
    post = {"words": ["a"], "images": [gray(51)]}
    assert processor.compute_scores(**post) == {"quality_scores": [0.2]}
    register_quality_scorer("brightness", lambda images: [0.75], version="2")
    assert processor.compute_scores(**post) == {"quality_scores": [0.75]}


def test_scorer_that_is_not_registered_here(make_processor):
    description = {"library": "registered", "name": "mine", "version": "1"}
    processor = make_processor(quality_scorer={"name": "mine", "description": description})
    post = {"words": ["a"], "images": [gray(51)]}
    with pytest.raises(ValueError, match=r"'mine' .* is not registered in this process"):
        processor.compute_scores(**post)
    register_quality_scorer("mine", lambda images: [0.5], version="1")
    assert processor.compute_scores(**post) == {"quality_scores": [0.5]}


def test_network_stays_for_the_next_posts_and_out_of_the_processor(make_processor, monkeypatch):
    loaded = []
    create_metric = pyiqa.create_metric
    monkeypatch.setattr(pyiqa, "create_metric", lambda *a, **k: loaded.append(a) or create_metric(*a, **k))
    processor, post = make_processor(quality_scorer={"name": "piqe"}), {"words": ["a"], "images": [noise(64, 64)]}
    before = len(pickle.dumps(processor))
    first, second = processor.compute_scores(**post), processor.compute_scores(**post)
    assert first == second
    assert len(loaded) == 1
    assert len(pickle.dumps(processor)) == before


def test_processor_is_saved_with_its_scorers_and_scores_alike_when_loaded(make_processor, tmp_path):
    save_clip(tmp_path / "clip")
    specs = {
        "quality_scorer": {"name": "piqe", "description": QualityScorer("piqe").description},
        "relevance_scorer": {
            "name": str(tmp_path / "clip"),
            "dtype": "float32",
            "description": RelevanceScorer(tmp_path / "clip").description,
        },
    }
    processor = make_processor(**specs)
    processor.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "processor_config.json").read_text())
    loaded = AutoProcessor.from_pretrained(tmp_path / "saved")
    for kind, spec in specs.items():
        assert saved[kind] == getattr(loaded, kind) == spec
    posts = {"words": [["a", "red", "bus"], ["paris"]], "images": [[noise(60, 50), noise(40, 40, 1)], [noise(64, 64)]]}
    scores = loaded.compute_scores(**posts, device="cpu")
    assert scores == processor.compute_scores(**posts, device="cpu")
    piqe = pyiqa.create_metric("piqe", device="cpu")
    assert scores["quality_scores"][1] == pytest.approx(
        [1 - float(piqe(to_tensor(noise(64, 64))[None])) / 100], abs=1e-6
    )
    alone = RelevanceScorer(tmp_path / "clip", device="cpu")(["paris"], [noise(64, 64)])
    assert scores["relevance_scores"][1] == pytest.approx(alone, abs=1e-5)


def test_other_scorer_than_that_of_the_training_is_an_error(make_processor, tmp_path):
    save_clip(tmp_path / "clip")
    description = RelevanceScorer(tmp_path / "clip").description
    (tmp_path / "clip" / "open_clip_model.safetensors").unlink()
    save_clip(tmp_path / "other" / "clip", seed=1)
    processor = make_processor(relevance_scorer={"name": str(tmp_path / "other" / "clip"), "description": description})
    with pytest.raises(ValueError, match=r"not the one that scored the training data: {'weights_sha256'"):
        processor.compute_scores(words=["a"], images=[noise(40, 40)])


WITHOUT_LIBRARIES = """
import sys
import pytest
from tests.hidden_packages import hide_packages

patch = pytest.MonkeyPatch()
asked = hide_packages(patch, "pyiqa", "open_clip", "torchvision")

import processing_iqcr, modeling_iqcr, mner_training.trainer, run_mner
from PIL import Image
from transformers import AutoModelForTokenClassification, AutoProcessor

import torch

processor = AutoProcessor.from_pretrained(sys.argv[1])
model = AutoModelForTokenClassification.from_pretrained(sys.argv[1]).eval()
post = {"words": ["washington", "wins"], "images": [Image.new("RGB", (30, 20))]}
inputs = processor(**post, quality_scores=[0.5], relevance_scores=[0.5])
with torch.no_grad():
    outputs = model(**inputs)
(prediction,) = processor.post_process_entities(model, outputs, inputs)
print("tags", len(prediction.tags))
print("asked", [name for name in asked if not name.startswith("torchvision")])
for kind, name in (("quality_scorer", "maniqa"), ("relevance_scorer", "ViT-B-32-quickgelu")):
    processor.quality_scorer = processor.relevance_scorer = None
    setattr(processor, kind, {"name": name})
    try:
        processor.compute_scores(**post)
    except ImportError as error:
        print(kind, error)
print("loaded", sorted({"pyiqa", "open_clip", "torchvision"} & set(sys.modules)))
"""


def test_all_but_scoring_works_without_the_scorers_libraries(make_processor, make_model, tmp_path):
    make_processor().save_pretrained(tmp_path / "saved")
    make_model().save_pretrained(tmp_path / "saved")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES, str(tmp_path / "saved")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    lines = run.stdout.splitlines()
    assert {"tags 2", "asked []", "loaded []"} <= set(lines)
    for kind in ("quality_scorer", "relevance_scorer"):
        (line,) = [line for line in lines if line.startswith(kind)]
        assert "pip install 'iqcr-mi[scoring]'" in line
