"""Relevance scores against CLIP in transformers with the same weights, what is refused, and the text of a post."""

import hashlib
import json
import math
import shutil
from collections import Counter

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil

from processing_iqcr.relevance_scorer import RelevanceScorer, relevance_text
from processing_iqcr.scorer_files import UnscorableImageError
from tests.fake_hub import FakeHub, run_with_hub
from tests.hidden_packages import hide_packages
from tests.scoring_networks import CLIP_IMAGE_SIZE, CONTEXT_LENGTH, block_sockets, noise, save_clip, save_trap

MEAN, STD = [0.5, 0.45, 0.4], [0.25, 0.3, 0.35]
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
TEXTS = [
    "Washington wins again",
    "a red bus in Paris , today !",
    "R&B <3",
    "日本語 😀 # NBA",
    "x",
    " ".join(["long"] * 60 + ["cat"]),
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    attempts = block_sockets(monkeypatch)
    yield
    assert attempts == []


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """CLIP with each of the two activations: the folder that open_clip loads, and transformers' own model."""
    found = {}
    for quick_gelu in (True, False):
        folder = tmp_path_factory.mktemp("clip") / "tiny"
        found[quick_gelu] = folder, save_clip(folder, quick_gelu)
    return found


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the folder with QuickGELU."""
    shutil.copytree(saved[True][0], tmp_path / "clip" / "tiny")
    return tmp_path / "clip" / "tiny"


@pytest.fixture
def pictures():
    return [noise(*size, seed=number) for number, size in enumerate([(32, 32), (90, 40), (20, 50), (7, 9), (64, 300)])]


@torch.inference_mode()
def cosines(model, texts, images) -> list[float]:
    """What transformers' CLIP says of pairs, given the token ids and pixels of open_clip."""
    tokens = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)(texts)
    prepare = image_transform(CLIP_IMAGE_SIZE, is_train=False, mean=MEAN, std=STD)
    outputs = model(input_ids=tokens, pixel_values=torch.stack([prepare(image) for image in images]))
    return torch.nn.functional.cosine_similarity(outputs.text_embeds, outputs.image_embeds).tolist()


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_relevance_is_the_cosine_of_transformers_clip(saved, pictures, quick_gelu):
    folder, model = saved[quick_gelu]
    texts = TEXTS[: len(pictures)]
    scores = RelevanceScorer(folder, device="cpu")(texts, pictures)
    expected = cosines(model, texts, pictures)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.2
    # The other activation would be seen.
    assert np.abs(np.subtract(expected, cosines(saved[not quick_gelu][1], texts, pictures))).max() > 1e-3
    assert all(type(score) is float for score in scores)


def test_every_text_with_every_picture(saved, pictures):
    folder, model = saved[True]
    texts = [text for text in TEXTS for _ in pictures]
    images = pictures * len(TEXTS)
    scores = RelevanceScorer(folder, device="cpu")(texts, images)
    assert scores == pytest.approx(cosines(model, texts, images), abs=1e-5)
    one_by_one = RelevanceScorer(folder, device="cpu")
    assert one_by_one([texts[8]], [images[8]]) == pytest.approx([scores[8]], abs=1e-6)


def test_more_pairs_than_one_pass_takes(saved):
    folder, model = saved[True]
    images = [noise(40, 36, seed) for seed in range(130)]
    texts = [f"picture number {number}" for number in range(130)]
    scores = RelevanceScorer(folder, device="cpu")(texts, images)
    assert scores == pytest.approx(cosines(model, texts, images), abs=1e-5)


def test_no_pair_loads_nothing(saved):
    scorer = RelevanceScorer(saved[True][0], device="cpu")
    assert scorer([], []) == []
    assert "_network" not in vars(scorer)


def test_long_text_is_cut_at_the_context(saved, pictures):
    scorer = RelevanceScorer(saved[True][0], device="cpu")
    # "cat" is one token; two more stand for the beginning and the end.
    lengths = [CONTEXT_LENGTH - 3, CONTEXT_LENGTH - 2, CONTEXT_LENGTH - 1, 200]
    short, full, longer, much_longer = scorer([" ".join(["cat"] * length) for length in lengths], pictures[:1] * 4)
    assert full == longer == much_longer
    assert short != pytest.approx(full, abs=1e-4)


def test_repeated_texts_and_pictures_are_embedded_once(saved, pictures):
    folder, model = saved[True]
    scorer = RelevanceScorer(folder, device="cpu")
    rows = Counter()
    network = scorer._network[0]
    network.visual.register_forward_hook(lambda module, inputs, output: rows.update(pictures=len(inputs[0])))
    network.token_embedding.register_forward_hook(lambda module, inputs, output: rows.update(texts=len(inputs[0])))
    first, second = pictures[:2]
    texts = ["a cat", "a dog", "a cat", "a dog", "a cat"]
    images = [first, first, second, second, first]
    scores = scorer(texts, images)
    assert rows == {"texts": 2, "pictures": 2}
    assert scores == pytest.approx(cosines(model, texts, images), abs=1e-5)
    assert scores[0] == scores[4]
    assert len(set(scores)) == 4


# Where the longer side leaves an odd number of pixels beside the square, the libraries cut in another column.
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 128), (300, 225), (20, 30), (640, 480), (224, 112)])
def test_preparation_of_a_picture_is_that_of_transformers(saved, size):
    scorer = RelevanceScorer(saved[True][0], device="cpu")
    seen = []
    scorer._network[0].visual.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    image = noise(*size)
    scorer(["a"], [image])
    theirs = CLIPImageProcessorPil(
        size={"shortest_edge": CLIP_IMAGE_SIZE},
        crop_size={"height": CLIP_IMAGE_SIZE, "width": CLIP_IMAGE_SIZE},
        image_mean=MEAN,
        image_std=STD,
    )(image, return_tensors="pt")["pixel_values"]
    steps = (seen[0] - theirs).abs() * torch.tensor(STD).view(1, 3, 1, 1) * 255
    assert seen[0].shape == (1, 3, CLIP_IMAGE_SIZE, CLIP_IMAGE_SIZE)
    assert steps.max() <= 2.01


def test_bfloat16_is_close_to_float32(saved, pictures):
    exact, rough = (
        RelevanceScorer(saved[True][0], dtype=dtype, device="cpu")(TEXTS[:5], pictures)
        for dtype in ("float32", "bfloat16")
    )
    assert rough != exact
    assert rough == pytest.approx(exact, abs=0.05)


def test_not_a_number_is_given_as_such(folder):
    state = load_file(folder / WEIGHTS)
    save_file(state | {"visual.proj": torch.full_like(state["visual.proj"], math.nan)}, folder / WEIGHTS)
    assert math.isnan(RelevanceScorer(folder, device="cpu")(["a"], [noise(32, 32)])[0])


def test_line_of_a_picture_does_not_take_gigabytes(saved, monkeypatch):
    resize = Image.Image.resize

    def checked(image, size, *arguments, **named):
        assert size[0] * size[1] < 300_000_000, f"A picture of {size} would take gigabytes."
        return resize(image, size, *arguments, **named)

    monkeypatch.setattr(Image.Image, "resize", checked)
    scorer = RelevanceScorer(saved[True][0], device="cpu")
    with pytest.raises(UnscorableImageError, match="1 x 2000000"):
        scorer(["a"], [Image.new("RGB", (1, 2_000_000))])


@pytest.mark.parametrize(("num_texts", "num_pictures"), [(1, 2), (2, 1), (0, 1), (1, 0)])
def test_texts_and_pictures_must_be_as_many(saved, num_texts, num_pictures):
    with pytest.raises(ValueError, match=rf"{num_texts} texts for {num_pictures} pictures"):
        RelevanceScorer(saved[True][0], device="cpu")(["a"] * num_texts, [noise(32, 32)] * num_pictures)


def test_description_is_the_same_after_it_was_saved(tmp_path):
    """A checkpoint's description is compared with the scorer's own, also where open_clip has tuples in its tables."""
    (tmp_path / "weights").write_bytes(b"weights")
    scorer = RelevanceScorer("ViT-B-32-quickgelu", "openai", device="cpu")
    scorer.__dict__["weights"] = str(tmp_path / "weights")  # in the place of what would be downloaded
    assert scorer.description["preprocess_cfg"]["mean"] == pytest.approx([0.4815, 0.4578, 0.4082], abs=1e-4)
    assert json.loads(json.dumps(scorer.description)) == scorer.description


def test_default_is_the_published_model_with_its_activation():
    scorer = RelevanceScorer(device="cpu")
    assert (scorer.model, scorer.pretrained) == ("ViT-B-32-quickgelu", "openai")
    assert open_clip.get_model_config(scorer.model)["quick_gelu"]


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-32", "openai", r"'openai' were trained with QuickGELU.*'ViT-B-32' .*Take 'ViT-B-32-quickgelu'"),
        ("ViT-L-14", "openai", r"Take 'ViT-L-14-quickgelu'"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", r"for 'ViT-B-32-quickgelu', one of openai, .*laion2b_s34b_b79k"),
        ("ViT-B-32", None, r"`pretrained` must be a file or, for 'ViT-B-32', one of .*laion2b_s34b_b79k.* got None"),
        ("ViT-B-32-quickgelu", "opnai", r"one of openai, .* got 'opnai'"),
        ("ViT-B-32", "nowhere.pt", r"`pretrained` must be a file or, .* got 'nowhere\.pt'"),
        ("ViT-B-23", "openai", r"no architecture 'ViT-B-23', and there is no such folder\..*hf-hub:USER/NAME"),
        ("nowhere/clip", None, r"no architecture 'nowhere/clip', and there is no such folder"),
        ("hf-hub:user/clip", "openai", r"'hf-hub:user/clip' has its own weights: leave `pretrained` out"),
    ],
)
def test_models_that_are_refused(model, pretrained, message):
    with pytest.raises(ValueError, match=message):
        RelevanceScorer(model, pretrained, device="cpu")


def test_activation_that_does_not_fit_is_named_the_other_way_round(monkeypatch):
    config = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai") | {"quick_gelu": False}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: config)
    with pytest.raises(ValueError, match=r"'openai' were trained with GELU.*Take 'ViT-B-32'\."):
        RelevanceScorer("ViT-B-32-quickgelu", "openai", device="cpu")


def test_every_pair_of_a_model_and_its_weights_is_taken_or_another_model_is_named_that_takes_them():
    refused = []
    for model in open_clip.list_models():
        for tag in open_clip.list_pretrained_tags_by_model(model):
            try:
                RelevanceScorer(model, tag, device="cpu")
            except ValueError as error:
                refused.append((model, tag, str(error).rpartition("Take ")[2].strip("'.")))
    assert len(refused) > 20
    for model, tag, other in refused:
        assert other != model, tag
        RelevanceScorer(other, tag, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, r"`dtype` must be one of float32, bfloat16, got 'float16'"),
        ({"pretrained": "openai"}, r"has its own weights: leave `pretrained` out, got 'openai'"),
    ],
)
def test_options_that_are_refused(saved, options, message):
    with pytest.raises(ValueError, match=message):
        RelevanceScorer(saved[True][0], **options)


def test_folder_with_several_files_of_weights(folder):
    shutil.copy(folder / WEIGHTS, folder / "model.safetensors")
    scorer = RelevanceScorer(folder, device="cpu")
    message = r"must hold one file of weights .*found: model\.safetensors, open_clip_model\.safetensors"
    with pytest.raises(ValueError, match=message):
        scorer(["a"], [noise(32, 32)])
    with pytest.raises(ValueError, match=message):
        scorer.description  # noqa: B018


@pytest.mark.parametrize(("gone", "message"), [(WEIGHTS, "found: none"), (CONFIG, r"holds no open_clip_config\.json")])
def test_folder_that_is_not_whole(folder, gone, message):
    (folder / gone).unlink()
    with pytest.raises(ValueError, match=message):
        RelevanceScorer(folder, device="cpu")(["a"], [noise(32, 32)])
    with pytest.raises(ValueError, match=message):
        RelevanceScorer(folder, device="cpu").description  # noqa: B018


def test_weights_with_code_are_refused_and_their_code_does_not_run(folder):
    (folder / WEIGHTS).unlink()
    sprung = save_trap(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights only"):
        RelevanceScorer(folder, device="cpu")(["a"], [noise(32, 32)])
    assert not sprung.exists()


@pytest.mark.parametrize("content", ["others", "garbage"])
def test_file_that_holds_other_weights(folder, content):
    if content == "others":
        save_file({"weight": torch.zeros(2)}, folder / WEIGHTS)
    else:
        (folder / WEIGHTS).write_bytes(b"<html>404</html>")
    with pytest.raises(Exception, match=r"Missing key|header"):
        RelevanceScorer(folder, device="cpu")(["a"], [noise(32, 32)])


def test_architecture_by_name_with_a_file_of_weights(saved, pictures, tmp_path, monkeypatch):
    folder, _ = saved[True]
    config = json.loads((folder / CONFIG).read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    torch.save(load_file(folder / WEIGHTS), tmp_path / "tiny.pt")
    scorer = RelevanceScorer("tiny", pretrained=str(tmp_path / "tiny.pt"), device="cpu")
    plain = json.loads((folder / CONFIG).read_text())
    del plain["preprocess_cfg"]
    (tmp_path / "same").mkdir()
    (tmp_path / "same" / CONFIG).write_text(json.dumps(plain))
    shutil.copy(folder / WEIGHTS, tmp_path / "same")
    same = RelevanceScorer(tmp_path / "same", device="cpu")
    assert scorer(TEXTS[:5], pictures) == pytest.approx(same(TEXTS[:5], pictures), abs=1e-6)
    description = scorer.description
    assert description["model"] == "tiny"
    assert description["weights_sha256"] == hashlib.sha256((tmp_path / "tiny.pt").read_bytes()).hexdigest()
    assert str(tmp_path) not in json.dumps(description)


def test_description_names_the_weights_and_loads_nothing(folder):
    scorer = RelevanceScorer(folder, device="cpu")
    description = scorer.description
    assert "_network" not in vars(scorer)
    assert json.loads(json.dumps(description)) == description
    assert str(folder.parent) not in json.dumps(description)
    assert description["weights_sha256"] == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert RelevanceScorer(f"{folder}/", device="cpu").description == description
    assert RelevanceScorer(folder, dtype="bfloat16", device="cpu").description != description


@pytest.mark.parametrize("change", ["weights", "activation", "context", "mean", "interpolation", "resize_mode"])
def test_description_changes_with_all_that_changes_scores(folder, saved, pictures, change):
    before = RelevanceScorer(folder, device="cpu")
    description, scores = before.description, before(TEXTS[:5], pictures)
    config = json.loads((folder / CONFIG).read_text())
    if change == "weights":
        shutil.copy(saved[False][0] / WEIGHTS, folder)
        state = load_file(folder / WEIGHTS)
        save_file(state | {"visual.proj": -state["visual.proj"]}, folder / WEIGHTS)
    elif change == "activation":
        config["model_cfg"]["quick_gelu"] = False
    elif change == "context":
        config["model_cfg"]["text_cfg"]["context_length"] = 5
    else:
        values = {"mean": [0.0, 0.0, 0.0], "interpolation": "bilinear", "resize_mode": "squash"}
        config["preprocess_cfg"][change] = values[change]
    (folder / CONFIG).write_text(json.dumps(config))
    after = RelevanceScorer(folder, device="cpu")
    assert np.abs(np.subtract(after(TEXTS[:5], pictures), scores)).max() > 1e-4
    assert after.description != description


def test_description_tells_a_tag_from_its_file_where_pictures_are_prepared_otherwise(saved, monkeypatch):
    path, tag = str(saved[True][0] / WEIGHTS), "laion2b_s32b_b82k"
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: path)
    assert open_clip.get_pretrained_cfg("ViT-L-14", tag)["mean"] != open_clip.OPENAI_DATASET_MEAN
    by_tag, by_file = (RelevanceScorer("ViT-L-14", weights, device="cpu").description for weights in (tag, path))
    assert by_tag["weights_sha256"] == by_file["weights_sha256"]
    assert by_tag != by_file


def test_folder_may_be_moved(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    here, there = (RelevanceScorer(path, device="cpu") for path in (folder, tmp_path / "elsewhere" / folder.name))
    assert here.description == there.description


def test_without_open_clip_the_error_says_what_to_install(saved, monkeypatch):
    scorer = RelevanceScorer(saved[True][0], device="cpu")
    hide_packages(monkeypatch, "open_clip")
    for use in (RelevanceScorer, lambda: scorer(["a"], [noise(32, 32)]), lambda: scorer.description):
        with pytest.raises(ImportError, match=r"pip install 'iqcr-mi\[scoring\]'"):
            use()


UPLOAD = """
import sys
from huggingface_hub import HfApi

HfApi().create_repo("user/clip")
HfApi().upload_folder(folder_path=sys.argv[1], repo_id="user/clip")
"""

SCORE = """
import json
from processing_iqcr.relevance_scorer import RelevanceScorer
from tests.scoring_networks import noise

scorer = RelevanceScorer("hf-hub:user/clip", device="cpu")
description = scorer.description
print(json.dumps([description, "_network" in vars(scorer), scorer(["a red bus"], [noise(50, 40)])]))
"""


def test_model_of_the_hub(saved, tmp_path):
    folder, model = saved[False]
    with FakeHub() as hub:
        run_with_hub(hub, ["-c", UPLOAD, str(folder)], tmp_path / "uploader")
        before = len(hub.requests)
        description, is_loaded, scores = json.loads(run_with_hub(hub, SCORE, tmp_path / "user").splitlines()[-1])
        asked = hub.requests[before:]
    assert scores == pytest.approx(cosines(model, ["a red bus"], [noise(50, 40)]), abs=1e-5)
    assert not is_loaded
    assert description["model"] == "hf-hub:user/clip"
    assert description["weights_sha256"] == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert all(path.startswith("/user/clip/resolve/main/") for _, path in asked)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("RT @ NBA : What a night !", "RT : What a night !"),
        ("RT @NBA : What a night !", "RT : What a night !"),
        ("@NBA's game", "game"),
        ("@ a_b @c @ d wins", "wins"),
        ("Paris https://t.co/a1B2 pic.twitter.com/xyz www.nba.com today", "Paris today"),
        ("R&amp;B &lt;3 Q&#39;s", "R&B <3 Q's"),
        ("# NBAFinals2017 #Paris !", "# NBAFinals2017 #Paris !"),
        ("me@x.org writes", "me@x.org writes"),
        ("@ NBA @NFL https://t.co/a1B2", "@ NBA @NFL https://t.co/a1B2"),
        ("@", "@"),
        ("wins @", "wins"),
        ("https://t.co/a1B2", "https://t.co/a1B2"),
        ("", ""),
    ],
)
def test_text_of_a_post_is_without_handles_and_links(words, text):
    words = words.split()
    before = list(words)
    assert relevance_text(words) == text
    assert relevance_text(tuple(words)) == text
    assert words == before
