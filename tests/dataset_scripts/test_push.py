"""From the builder to the Hub and back: the same rows, in one commit, pictures only where they were asked for."""

import hashlib
import json

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

from dataset_scripts.build import main
from dataset_scripts.mner_mi import MNERMI
from dataset_scripts.push import push_folder
from tests.fake_hub import FakeHub, run_with_hub

SPLITS = ("train", "validation", "test")

PUSH = """
import sys
from dataset_scripts.build import main

source, output = sys.argv[1:]
command = ["mner-mi", "--source", source, "--no-verify", "--output"]
from huggingface_hub import HfApi
HfApi().create_repo("me/mner-mi", repo_type="dataset")
for name in ("other/x-00000-of-00001.parquet", "train-00000-of-00009.parquet"):  # somebody's own, an earlier push's
    HfApi().upload_file(path_or_fileobj=b"PAR1", path_in_repo=name, repo_id="me/mner-mi", repo_type="dataset")
main([*command, output + "/a"])
for name in ("notes.txt", "5302_0.jpg"):
    open(output + "/a/" + name, "w").write("JFIF")
main([*command, output + "/a", "--push-to-hub", "me/mner-mi"])
main([*command, output + "/b", "--push-to-hub", "me/mner-mi-pictures", "--include-images"])
main([*command, output + "/c", "--push-to-hub", "me/mner-mi-pictures"])  # takes the place of the one before
"""

LOAD = """
import hashlib, json, sys
from datasets import Image, List, load_dataset

loaded = {}
for name, revision in (("me/mner-mi", None), ("me/mner-mi-pictures", sys.argv[1]), ("me/mner-mi-pictures", "main")):
    for streaming in (False, True):
        splits = load_dataset(name, revision=revision, streaming=streaming)
        # To the end: a process that leaves a stream of Parquet in the middle may abort at its exit (arrow#45214).
        first = list(splits["train"])[0]["images"]
        assert all(image.size == (48, 32) for image in first)
        rows = {split: list(posts.cast_column("images", List(Image(decode=False)))) for split, posts in splits.items()}
        for row in sum(rows.values(), []):
            row["images"] = [[image["path"], hashlib.sha256(image["bytes"]).hexdigest()] for image in row["images"]]
        loaded[f"{name}@{revision} {streaming}"] = rows
print(json.dumps(loaded))
"""


def rows_of(release, with_pictures: bool) -> dict[str, list[dict]]:
    """What the builder gives, its pictures as names and checksums."""
    rows = {split: list(MNERMI(data_dir=str(release)).rows(split)) for split in SPLITS}
    for row in [row for split in SPLITS for row in rows[split]]:
        row["images"] = [[image["path"], hashlib.sha256(image["bytes"]).hexdigest()] for image in row["images"]]
        if not with_pictures:
            row["image_names"] = [name for name, _ in row["images"]]
            row["image_sha256"] = [checksum for _, checksum in row["images"]]
            row["images"] = []
    return rows


def test_what_was_pushed_comes_back_streaming_and_not(release, tmp_path):
    with FakeHub() as hub:
        run_with_hub(hub, ["-c", PUSH, str(release), str(tmp_path)], tmp_path / "pusher")
        # The making of the repository and one commit a push: nobody ever saw half of a data set.
        text, pictures = hub.commits("me/mner-mi"), hub.commits("me/mner-mi-pictures")
        assert [len(text), len(pictures)] == [4, 3]
        printed = run_with_hub(hub, ["-c", LOAD, pictures[1].id], tmp_path / "loader")
        assert hub.unhandled == []
    loaded = json.loads(printed.splitlines()[-1])
    whole, bare = rows_of(release, with_pictures=True), rows_of(release, with_pictures=False)
    assert loaded == {
        "me/mner-mi@None False": bare,
        "me/mner-mi@None True": bare,
        f"me/mner-mi-pictures@{pictures[1].id} False": whole,
        f"me/mner-mi-pictures@{pictures[1].id} True": whole,
        "me/mner-mi-pictures@main False": bare,
        "me/mner-mi-pictures@main True": bare,
    }
    assert text[-1].files.pop("other/x-00000-of-00001.parquet") == b"PAR1"
    assert set(text[-1].files) == {
        ".gitattributes",
        "README.md",
        "build_report.json",
        "build_report.html",
        *(f"{split}-00000-of-00001.parquet" for split in SPLITS),
    }
    for name, content in text[-1].files.items():
        assert str(tmp_path).encode() not in content, name  # nothing of where somebody keeps the release
        if name.endswith(".parquet"):
            assert b"JFIF" not in content
    card = DatasetCard(text[-1].files["README.md"].decode())
    assert "image_sha256" in card.text
    assert "me/mner-mi" in card.text
    assert "(https://huggingface.co/models?dataset=dataset:me/mner-mi)" in card.text
    assert json.loads(text[-1].files["build_report.json"])["pictures"] == "left out"
    # The local folder keeps its pictures: only what is pushed goes without.
    assert load_dataset(str(tmp_path / "a"), split="test")[0]["images"][0].size == (48, 32)


def test_folder_that_is_no_build_is_not_pushed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no build_report\.json"):
        push_folder(tmp_path, "me/x")


def test_hub_that_cannot_be_reached_leaves_the_build_and_says_so(release, tmp_path, capsys):
    command = ["mner-mi", "--source", str(release), "--no-verify", "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="1"):
        main([*command, "--push-to-hub", "me/x"])  # the tests' own process is offline
    error = capsys.readouterr().err
    assert "offline mode is enabled" in error
    assert "The build is whole: the same command goes on from it." in error
    assert load_dataset(str(tmp_path / "out"))["train"].num_rows == 2
