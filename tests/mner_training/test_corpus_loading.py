"""One field takes a corpus by name, a folder or a Hub id, and a copy without pictures becomes whole again."""

import hashlib
import json
import logging
import shutil

import pytest
from datasets import Image, List, load_dataset

from dataset_scripts.corpus_build import build_corpus
from dataset_scripts.features import post_features
from dataset_scripts.mner_mi import MNERMI
from dataset_scripts.mner_mi_plus import MNERMIPlus
from dataset_scripts.pictured_posts import PicturedPosts
from dataset_scripts.pictured_posts_generator import PicturedPostsDials, generate_posts
from dataset_scripts.push import leave_out_pictures
from mner_training.arguments import DataArguments
from mner_training.corpus_loading import load_posts
from tests.fake_hub import FakeHub, run_with_hub
from tests.small_release import PICTURES, write_release

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "MNER-MI")


@pytest.fixture
def bare(release, tmp_path):
    """A copy that was shared without its pictures."""
    build_corpus(MNERMI(data_dir=str(release)), tmp_path / "whole", verify=False)
    leave_out_pictures(tmp_path / "whole", tmp_path / "bare")
    return tmp_path / "bare"


def rows(builder) -> dict[str, list[dict]]:
    return {split: list(builder.rows(split)) for split in builder.splits}


def loaded(posts) -> dict[str, list[dict]]:
    return {split: posts[split].to_list() for split in posts}


def test_corpus_by_name_is_built_once_and_tells_which_copy_it_is(release, caplog):
    arguments = DataArguments(dataset="mner-mi-plus", dataset_source=str(release), broken_images="drop")
    posts, record = load_posts(arguments)
    assert loaded(posts) == rows(MNERMIPlus(data_dir=str(release)))
    assert posts["train"].features == post_features() | {"images": List(Image(decode=False))}
    assert (record["corpus"], record["variant"]) == ("mner-mi-plus", "unrecognised")
    assert [found["image"] for found in record["faults"]["train"]["missing_images"]] == ["7_1.jpg"]
    assert [found["image"] for found in record["faults"]["validation"]["broken_images"]] == ["8_0.jpg"]
    assert "unrecognised variant" in caplog.text
    assert load_posts(arguments)[0]["train"]._fingerprint == posts["train"]._fingerprint


def test_broken_pictures_of_a_corpus_by_name_are_refused_by_default(release):
    with pytest.raises(ValueError, match=r"validation: 1 pictures cannot be read \(8_0\.jpg of post 8; .*'drop'"):
        load_posts(DataArguments(dataset="mner-mi", dataset_source=str(release)))


def test_corpus_by_name_without_a_source_is_looked_for_in_data(release, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    release.rename(tmp_path / "data" / "mner-mi")
    monkeypatch.chdir(tmp_path)
    assert load_posts(DataArguments(dataset="mner-mi", broken_images="drop"))[0]["test"]["id"] == ["10"]
    with pytest.raises(FileNotFoundError, match=r"data/twitter2017/train\.txt"):
        load_posts(DataArguments(dataset="twitter2017"))


def test_pictures_are_asked_for_only_by_a_model_that_takes_them(release):
    for root in ("images", "new_images.zip"):
        shutil.move(release / root, release.parent / root)
    arguments = DataArguments(dataset="mner-mi", dataset_source=str(release))
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        load_posts(arguments)
    text_only = load_posts(arguments, with_images=False)[0]
    assert text_only["train"].column_names == ["id", "tokens", "ner_tags", "images", "url", "source"]
    assert text_only["train"]["images"] == [[], []]
    roots = [str(release.parent / "images"), str(release.parent / "new_images.zip")]
    arguments = DataArguments(dataset="mner-mi", dataset_source=str(release), images_dirs=roots, broken_images="drop")
    posts, _ = load_posts(arguments)
    assert [len(images) for images in posts["train"]["images"]] == [5, 1]


def test_generated_corpus_needs_no_source():
    posts, record = load_posts(DataArguments(dataset="pictured-posts"))
    assert {split: len(posts[split]) for split in posts} == {"train": 5000, "validation": 500, "test": 500}
    assert record["variant"] == "not verified"


def test_own_folder_with_spans_and_pictures(tmp_path, make_pictures):
    folder = tmp_path / "mine" / "train"
    folder.mkdir(parents=True)
    make_pictures(1)[0].save(folder / "a.png")
    post = {"text": "Kobe!", "entities": [{"start": 0, "end": 4, "label": "player"}], "file_name": "a.png"}
    (folder / "metadata.jsonl").write_text(json.dumps(post) + "\n")
    posts, record = load_posts(DataArguments(dataset=str(tmp_path / "mine")))
    (row,) = posts["train"]
    assert (row["tokens"], row["ner_tags"]) == (["Kobe", "!"], [1, 0])
    assert row["images"][0]["bytes"] == (folder / "a.png").read_bytes()
    assert record["corpus"] == "folder"


def test_own_folder_of_posts_to_be_tagged(tmp_path):
    (tmp_path / "test.jsonl").write_text('{"tokens": ["Kobe", "!"]}\n')
    posts, record = load_posts(DataArguments(dataset=str(tmp_path)))
    assert (posts["test"]["tokens"], record) == ([["Kobe", "!"]], {})


def test_scores_of_own_json_lines_are_not_lost(tmp_path):
    post = {"tokens": ["Kobe"], "ner_tags": ["B-PER"], "quality_scores": [0.5], "relevance_scores": [0.2]}
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.jsonl").write_text(json.dumps(post) + "\n")
    posts, _ = load_posts(DataArguments(dataset=str(tmp_path / "own")))
    assert posts["train"][0] == post


def test_built_folder_carries_its_report(release, tmp_path):
    build_corpus(MNERMI(data_dir=str(release)), tmp_path / "built", verify=False)
    posts, record = load_posts(DataArguments(dataset=str(tmp_path / "built")))
    assert loaded(posts) == rows(MNERMI(data_dir=str(release)))
    assert record["variant"] == "unrecognised"
    with pytest.raises(ValueError, match="`images_dirs` is for data sets without pictures"):
        load_posts(DataArguments(dataset=str(tmp_path / "built"), images_dirs=[str(release / "images")]))


def test_copy_without_pictures_becomes_whole_again(release, bare):
    roots = [str(release / "images"), str(release / "new_images.zip")]
    posts, record = load_posts(DataArguments(dataset=str(bare), images_dirs=roots))
    assert loaded(posts) == rows(MNERMI(data_dir=str(release)))
    assert "unjoined_images" not in record


def test_copy_without_pictures_goes_on_without_them_and_says_so(bare, caplog):
    with caplog.at_level(logging.WARNING):
        posts, _ = load_posts(DataArguments(dataset=str(bare)))
    assert "Split train names 6 pictures and was shared without them: set `images_dirs`" in caplog.text
    assert posts["train"].column_names == ["id", "tokens", "ner_tags", "images", "url", "source"]
    assert posts["train"]["images"] == [[], []]


def test_picture_of_another_content_is_refused_by_name(release, bare):
    (release / "images" / "5302_1.jpg").write_bytes(PICTURES["9_0.jpg"])
    roots = [str(release / "images"), str(release / "new_images.zip")]
    with pytest.raises(ValueError, match=r"Post '5302': the picture '5302_1\.jpg' in the image folders has another"):
        load_posts(DataArguments(dataset=str(bare), images_dirs=roots))


def test_pictures_that_cannot_be_joined_are_left_out_with_their_scores(release, bare, tmp_path, caplog):
    corpus = load_dataset(str(bare))
    for split, posts in corpus.items():
        scores = [[k / 10 for k, _ in enumerate(names)] for names in posts["image_names"]]
        corpus[split] = posts.add_column("quality_scores", scores)
        corpus[split].to_parquet(tmp_path / "scored" / f"{split}.parquet")
    (release / "images" / "5302_1.jpg").unlink()
    roots = [str(release / "images"), str(release / "new_images.zip")]
    with caplog.at_level(logging.WARNING):
        posts, record = load_posts(DataArguments(dataset=str(tmp_path / "scored"), images_dirs=roots))
    first = posts["train"][0]
    assert [image["path"] for image in first["images"]] == [f"5302_{k}.jpg" for k in (0, 2, 3, 4)]
    assert first["quality_scores"] == pytest.approx([0.0, 0.2, 0.3, 0.4])
    (message,) = record["unjoined_images"]["train"]
    assert message.startswith("Post '5302': '5302_1.jpg' is in none of the image roots")
    assert "1 pictures could not be joined" in caplog.text
    # Joined anew when the picture is back under its name.
    (release / "images" / "5302_1.jpg").write_bytes(PICTURES["5302_1.jpg"])
    posts, record = load_posts(DataArguments(dataset=str(tmp_path / "scored"), images_dirs=roots))
    assert len(posts["train"][0]["images"]) == 5
    # Without any pictures the scores belong to nothing.
    assert "quality_scores" not in load_posts(DataArguments(dataset=str(tmp_path / "scored")))[0]["train"].column_names


def test_text_build_is_joined_by_name_alone(release, tmp_path, caplog):
    build_corpus(MNERMI(data_dir=str(release), with_images=False), tmp_path / "text", verify=False)
    roots = [str(release / "images"), str(release / "new_images.zip")]
    posts, record = load_posts(DataArguments(dataset=str(tmp_path / "text"), images_dirs=roots))
    assert loaded(posts) == rows(MNERMI(data_dir=str(release)))
    assert "Split train: 7 pictures are joined by name alone" in caplog.text
    assert [len(record["unjoined_images"][split]) for split in ("train", "validation")] == [1, 1]  # missing, broken


PUSH_AND_LOAD = """
import json, sys
from dataset_scripts.build import main
from mner_training.arguments import DataArguments
from mner_training.corpus_loading import load_posts

source, output = sys.argv[1:]
main(["mner-mi", "--source", source, "--no-verify", "--output", output, "--push-to-hub", "me/joined"])
roots = [source + "/images", source + "/new_images.zip"]
posts, _ = load_posts(DataArguments(dataset="me/joined", images_dirs=roots))
import hashlib
print(json.dumps([
    [image["path"], hashlib.sha256(image["bytes"]).hexdigest()] for post in posts["train"] for image in post["images"]
]))
"""


def test_hub_copy_without_pictures_becomes_whole_again(release, tmp_path):
    with FakeHub() as hub:
        printed = run_with_hub(hub, ["-c", PUSH_AND_LOAD, str(release), str(tmp_path / "out")], tmp_path / "home")
    expected = [image for row in MNERMI(data_dir=str(release)).rows("train") for image in row["images"]]
    assert json.loads(printed.splitlines()[-1]) == [
        [image["path"], hashlib.sha256(image["bytes"]).hexdigest()] for image in expected
    ]


@pytest.mark.parametrize("with_card", [True, False])
def test_folders_of_one_name_are_told_apart(tmp_path, with_card):
    """Also one that was written anew: `datasets` itself would give what it loaded under the name before."""
    for seed, folder in ((1, tmp_path / "a" / "posts"), (2, tmp_path / "b" / "posts"), (3, tmp_path / "a" / "posts")):
        shutil.rmtree(folder, ignore_errors=True)
        build_corpus(PicturedPosts(dials=PicturedPostsDials(seed=seed), num_posts={"train": 4}), folder)
        if not with_card:
            (folder / "README.md").unlink()
        expected = [post["tokens"] for post in generate_posts(PicturedPostsDials(seed=seed), "train", 4)]
        posts, _ = load_posts(DataArguments(dataset=str(folder)))
        assert posts["train"]["tokens"][:] == expected
        if with_card:  # what a reader of the card will type
            assert load_dataset(str(folder), split="train")["tokens"][:] == expected
