import json
import random

import pytest
from datasets import load_dataset

from dataset_scripts.dataset_folder import (
    is_built_from,
    new_dataset_folder,
    require_free,
    write_split,
    write_text,
)
from dataset_scripts.features import post_features

ROW = {"id": "1", "tokens": ["a"], "ner_tags": [1], "images": [], "url": "", "source": "test"}


def build(output, rows, made_from="this"):
    with new_dataset_folder(output) as folder:
        for split in ("train", "validation"):
            write_split(folder, split, rows, post_features())
        write_text(folder, "build_report.json", json.dumps({"made_from": {"corpus": made_from}}))


def test_folder_loads_with_its_features_and_nothing_else_is_left(tmp_path):
    output = tmp_path / "deep" / "test-corpus"
    build(output, [ROW] * 3)
    corpus = load_dataset(str(output))
    assert corpus["train"].features == post_features()
    assert corpus["validation"].to_list() == [ROW] * 3
    assert list(corpus) == ["train", "validation"]
    assert [path.name for path in output.parent.iterdir()] == ["test-corpus"]


def test_rows_are_drawn_and_written_in_groups(tmp_path):
    drawn, seen = [], []

    def rows():
        for number in range(1000):
            drawn.append(number)
            yield {**ROW, "url": random.randbytes(1000).hex()}

    with new_dataset_folder(tmp_path / "corpus") as folder:
        stream = rows()

        def watch():
            for row in stream:
                seen.append(sum(file.stat().st_size for file in folder.iterdir()))
                yield row

        write_split(folder, "train", watch(), post_features())
    assert len(drawn) == 1000
    assert len(set(seen)) >= 10  # the file grows while the rows are drawn


def test_error_in_the_middle_leaves_nothing(tmp_path):
    def rows():
        yield from [ROW] * 250
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "corpus", rows())
    assert list(tmp_path.iterdir()) == []


def test_nothing_loads_before_the_end(tmp_path):
    # What a kill would leave at this point.
    with new_dataset_folder(tmp_path / "corpus") as folder:
        for split in ("train", "validation"):
            write_split(folder, split, [ROW] * 3, post_features())
        write_text(folder, "build_report.json", "{}")
        assert not (tmp_path / "corpus").exists()
        for unfinished in (folder, tmp_path):
            with pytest.raises(FileNotFoundError):
                load_dataset(str(unfinished))
            with pytest.raises(FileNotFoundError):
                load_dataset("parquet", data_dir=str(unfinished))


def test_rebuilt_folder_is_not_served_from_the_cache(tmp_path):
    output = tmp_path / "corpus"
    build(output, [ROW])
    assert load_dataset(str(output), split="train")["id"] == ["1"]
    for path in output.iterdir():
        path.unlink()
    build(output, [{**ROW, "id": "2"}])
    assert load_dataset(str(output), split="train")["id"] == ["2"]


def test_only_the_same_build_is_recognised(tmp_path):
    output = tmp_path / "corpus"
    assert not is_built_from(output, {"corpus": "this"})
    build(output, [ROW])
    assert is_built_from(output, {"corpus": "this"})
    assert not is_built_from(output, {"corpus": "other"})
    (output / "build_report.json").write_text("{broken")
    assert not is_built_from(output, {"corpus": "this"})


def test_nothing_is_ever_overwritten(tmp_path):
    output = tmp_path / "corpus"
    build(output, [ROW])
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(FileExistsError, match=r"corpus' exists and holds another build.*remove it, or choose another"):
        build(output, [ROW])
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("mine", "file"):
        with pytest.raises(FileExistsError, match="holds something else"):
            require_free(tmp_path / name)
    (tmp_path / "empty").mkdir()
    build(tmp_path / "empty", [ROW])
    assert (tmp_path / "empty" / "build_report.json").exists()
