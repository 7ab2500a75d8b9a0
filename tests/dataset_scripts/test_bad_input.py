"""What is wrong with a release ends a build, or is left out and counted; never does it pass in silence, or do harm."""

import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image

from dataset_scripts.build import main
from dataset_scripts.corpus_build import build_corpus
from dataset_scripts.mner_mi import MNERMI
from tests.small_release import MNER_MI, PICTURES, write_lines

ROOT = Path(__file__).resolve().parents[2]


def build(release, *options) -> dict:
    output = release.parent / "built"
    main(["mner-mi", "--source", str(release), "--output", str(output), "--no-verify", *options])
    return json.loads((output / "build_report.json").read_text())


def refused(release, capsys, *options) -> str:
    """The one line that a refused build ends with; nothing else may be left of it."""
    before = {path for path in release.parent.iterdir() if path.name != "cache"}
    with pytest.raises(SystemExit) as end:
        build(release, *options)
    assert end.value.code == 1
    assert {path for path in release.parent.iterdir() if path.name != "cache"} == before
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    return error


def edit(release, split, line: str) -> None:
    """Put a line behind the first one of a text file."""
    path = release / "text" / f"MNER-MI_{split}.txt"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first, line, *others]) + "\n")


def test_missing_split_file(release, capsys):
    (release / "text" / "MNER-MI_val.txt").unlink()
    error = refused(release, capsys)
    assert "Expected the validation split at" in error
    assert "holds MNER-MI_test.txt, MNER-MI_train.txt, MNER-UNI_test.txt" in error


def test_folder_that_is_not_the_release(release, capsys):
    other = release.parent / "photos"
    (other / "2024").mkdir(parents=True)
    error = refused(other, capsys)
    assert "text/MNER-MI_train.txt" in error
    assert "holds 2024/" in error


def test_line_that_is_neither_json_nor_a_literal(release, capsys):
    edit(release, "train", "id: 5, text: Washington wins")
    assert "MNER-MI_train.txt:2: the line is neither JSON nor a Python literal" in refused(release, capsys)


def test_record_whose_code_would_run_if_it_were_evaluated(release, capsys):
    planted = release.parent / "planted"
    edit(release, "test", f"{{'id': open({str(planted)!r}, 'w'), 'text': ['a'], 'images': [], 'label': ['O']}}")
    assert "MNER-MI_test.txt:2: the line is neither JSON" in refused(release, capsys)
    assert not planted.exists()


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "..", "C:\\x.jpg", "a\0.jpg"])
def test_picture_name_that_leads_out_of_its_folder(release, capsys, name):
    Image.new("RGB", (4, 4)).save(release / "secret.jpg")
    edit(release, "train", json.dumps({"id": 1, "text": ["a"], "images": [name], "label": ["O"]}))
    error = refused(release, capsys)
    assert "MNER-MI_train.txt:2, post '1': the picture name" in error
    assert "could lead out" in error


def test_link_that_leads_out_of_its_folder(release):
    Image.new("RGB", (4, 4)).save(release / "secret.jpg")
    (release / "images" / "10_0.jpg").unlink()
    (release / "images" / "10_0.jpg").symlink_to(release / "secret.jpg")
    (found,) = build(release)["splits"]["test"]["broken_images"]
    assert found["image"] == "10_0.jpg"
    assert "link" in found["reason"]


@pytest.mark.parametrize("name", ["../5302_9.jpg", "/5302_9.jpg", "images/../../x.jpg"])
def test_zip_entry_that_escapes(release, capsys, name):
    with zipfile.ZipFile(release / "new_images.zip", "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), PICTURES["5302_0.jpg"])
    error = refused(release, capsys)
    assert "new_images.zip" in error
    assert name in error


def test_zip_bomb_is_left_out_and_never_grows(release):
    bomb = release / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("10_0.jpg", "w") as entry:
        for _ in range(300):
            entry.write(bytes(2**20))
    assert bomb.stat().st_size < 2**20
    roots = [str(bomb), str(release / "images"), str(release / "new_images.zip")]
    tracemalloc.start()
    try:
        (found,) = build(release, "--images", *roots)["splits"]["test"]["broken_images"]
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20  # a tenth of what it unpacks to
    finally:
        tracemalloc.stop()
    assert found["image"] == "10_0.jpg"
    assert "larger than" in found["reason"]


def test_two_posts_with_one_id(release, capsys):
    edit(release, "val", repr(MNER_MI["val"][0]))
    assert "MNER-MI_val.txt:2, post '8': the id occurs before, at" in refused(release, capsys)


def test_one_id_in_two_splits(release, capsys):
    edit(release, "test", repr(MNER_MI["train"][0]))
    assert "The id '5302' is in the splits train and test." in refused(release, capsys)


def test_truncated_jpeg_is_recovered_and_counted(release):
    report = build(release)
    assert report["splits"]["train"]["repaired_images"] == [
        {"post": "7", "image": "7_0.jpg", "reason": "the JPEG data ends early, without its end marker"}
    ]
    picture = load_dataset(str(release.parent / "built"), split="train")[1]["images"][0]
    assert picture.size == Image.open(io.BytesIO(PICTURES["7_0.jpg"])).size


def test_file_that_is_no_picture_under_each_policy(release, capsys):
    validation = build(release)["splits"]["validation"]
    assert (validation["posts"], validation["images"], validation["images_found"]) == (2, 2, 3)
    (found,) = validation["broken_images"]
    assert (found["post"], found["image"]) == ("8", "8_0.jpg")
    assert "not a picture" in found["reason"]
    (release.parent / "built").rename(release.parent / "kept")
    validation = build(release, "--broken-images", "drop-post")["splits"]["validation"]
    assert (validation["posts"], validation["images"]) == (1, 1)
    assert validation["dropped_posts"][0]["post"] == "8"
    (release.parent / "built").rename(release.parent / "dropped")
    assert "post '7'" in refused(release, capsys, "--broken-images", "error")


def test_half_a_surrogate_pair_names_its_line(release, capsys):
    edit(release, "train", '{"id": 1, "text": ["\\ud83d"], "images": [], "label": ["O"]}')
    assert "MNER-MI_train.txt:2" in refused(release, capsys)


def test_interrupted_build_leaves_nothing(release, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dataset_scripts.corpus_build.render_card", interrupt)  # the very last thing
    output = release.parent / "built"
    with pytest.raises(KeyboardInterrupt):
        build_corpus(MNERMI(data_dir=str(release)), output, verify=False)
    assert not output.exists()
    assert not list(release.parent.glob(".unfinished*"))


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
def test_killed_build_leaves_nothing_that_loads(release, split):
    records = [{"id": i, "text": ["a"], "images": ["5302_0.jpg"], "label": ["O"]} for i in range(20000)]
    write_lines(release / "text" / f"MNER-MI_{'train' if split == 'train' else 'val'}.txt", records)
    output = release.parent / "out" / "built"
    command = [sys.executable, "-m", "dataset_scripts.build", "mner-mi", "--no-verify"]
    process = subprocess.Popen(
        [*command, "--source", str(release), "--output", str(output)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        while not (left := list(output.parent.glob(f".unfinished-built*/.unfinished-{split}-*"))):
            assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not output.exists()
    for folder in (output.parent, left[0].parent):
        with pytest.raises(FileNotFoundError):
            load_dataset(str(folder))
