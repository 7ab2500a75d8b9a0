import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Image, List, load_dataset

from dataset_scripts.build import main
from dataset_scripts.corpus_build import build_once
from dataset_scripts.pictured_posts import PicturedPosts
from dataset_scripts.pictured_posts_generator import PicturedPostsDials, generate_posts, pictured_posts_features

NUM_POSTS = {"train": 130, "validation": 3, "test": 2}
SIZES = ("--train", "130", "--validation", "3", "--test", "2")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    output = tmp_path_factory.mktemp("built") / "posts"
    main(["pictured-posts", "--output", str(output), *SIZES, "--seed", "9", "--spoilt-share", "0.25"])
    return output


def test_parquet_gives_back_the_rows_of_the_generator(built):
    dials = PicturedPostsDials(seed=9, spoilt_share=0.25)
    corpus = load_dataset(str(built)).cast_column("images", List(Image(decode=False)))
    for split, number in NUM_POSTS.items():
        assert corpus[split].to_list() == list(generate_posts(dials, split, number))


def test_parquet_has_the_features_streams_and_comes_in_row_groups(built):
    corpus = load_dataset(str(built))
    assert corpus["train"].features == pictured_posts_features()
    picture = corpus["train"][0]["images"][0]
    assert (picture.mode, picture.size) == ("RGB", (128, 128))
    streamed, *_ = load_dataset(str(built), split="train", streaming=True)
    assert np.array_equal(streamed["images"][0], picture)
    assert pq.ParquetFile(built / "train-00000-of-00001.parquet").num_row_groups > 1


def test_report_says_what_made_the_folder_and_what_is_in_it(built):
    record = json.loads((built / "build_report.json").read_text())
    assert record["made_from"]["dials"]["seed"] == 9
    assert record["made_from"]["dials"]["spoilt_share"] == 0.25
    assert record["made_from"]["posts"] == NUM_POSTS
    for split, number in NUM_POSTS.items():
        assert record["splits"][split]["posts"] == number
        assert sum(record["splits"][split]["entities"].values()) == number
    assert {"datasets", "numpy", "PIL", "python"} <= set(record["versions"])


def test_same_dials_keep_the_folder_and_others_are_refused(built, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in built.iterdir()}
    command = ["pictured-posts", "--output", str(built), *SIZES, "--seed", "9", "--spoilt-share", "0.25"]
    main(command)
    assert "train: 130 posts" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="1"):
        main([*command, "--score-noise", "2"])
    assert "holds another build" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in built.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--type-prior", "0", "0", "0", "0"], "`type_prior` must"),
        (["--image-size", "64"], "`image_size` must be 128 to 512"),
        (["--validation", "0"], "at least one post"),
    ],
)
def test_bad_dials_end_in_one_line_and_leave_nothing(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="1"):
        main(["pictured-posts", "--output", str(tmp_path / "posts"), *options])
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "posts").exists()


def test_every_dial_has_its_option(tmp_path):
    options = (
        "--type-prior 0 1 0 0 --image-count-weights 0 0 1 --score-noise 0 --image-size 130 --seed 2 --spoilt-share 1"
    )
    sizes = "--train 2 --validation 1 --test 1"
    main(["pictured-posts", "--output", str(tmp_path / "a"), *options.split(), *sizes.split()])
    before = (tmp_path / "a" / "train-00000-of-00001.parquet").stat().st_mtime_ns
    dials = PicturedPostsDials(2, (0, 1, 0, 0), (0, 0, 1), 1.0, 0.0, 130)
    build_once(PicturedPosts(dials=dials, num_posts={"train": 2, "validation": 1, "test": 1}), tmp_path / "a")
    assert (tmp_path / "a" / "train-00000-of-00001.parquet").stat().st_mtime_ns == before


def test_same_files_keep_the_folder_and_changed_ones_are_refused(tmp_path, twitter2017, capsys):
    command = ["twitter2017", "--source", str(twitter2017), "--output", str(tmp_path / "out")]
    main([*command, "--no-verify"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    main([*command, "--no-verify"])
    for change, message in (
        (lambda: None, "unrecognised variant"),  # now with --verify
        (lambda: (twitter2017 / "twitter2017_images" / "O_2.jpg").write_bytes(b""), "holds another build"),
        (lambda: (twitter2017 / "test.txt").write_text("IMGID:1\nx\tO\n"), "holds another build"),
    ):
        change()
        with pytest.raises(SystemExit, match="1"):
            main(command if message == "unrecognised variant" else [*command, "--no-verify"])
        assert message in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    "options", [["--include-images"], ["--push-to-hub", "me/x", "--include-images", "--without-images"]]
)
def test_pictures_are_included_in_a_push_of_a_build_that_has_them(tmp_path, capsys, options):
    with pytest.raises(SystemExit, match="2"):
        main(["twitter2017", "--source", str(tmp_path), "--output", str(tmp_path / "out"), *options])
    assert "--include-images goes with --push-to-hub" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_build_leaves_nothing_that_loads(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "dataset_scripts.build", "pictured-posts", "--output", str(tmp_path / "posts")]
    process = subprocess.Popen(
        [*command, "--train", "2", "--validation", "100000"], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".unfinished-posts*/.unfinished-validation-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        (left,) = tmp_path.glob(".unfinished-posts*")
        assert list(left.glob(".unfinished-train-*"))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "posts").exists()
    for folder in (tmp_path, left):
        with pytest.raises(FileNotFoundError):
            load_dataset(str(folder))
    main(["pictured-posts", "--output", str(tmp_path / "posts"), "--train", "2", "--validation", "1", "--test", "1"])
    assert load_dataset(str(tmp_path / "posts"))["train"].num_rows == 2
