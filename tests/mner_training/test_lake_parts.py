"""The output of a tagging: written whole or not at all, taken up, and never mixed."""

import json

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from mner_training.lake_parts import RECORD_FILE, SCHEMA, TaggedParts

MADE_FROM = {"files": [{"path": "a.jsonl", "size": 3}], "model": "0123", "images_dirs": ("x",), "posts_per_part": 2}


def make_rows(number: int, first: int = 1, failing: tuple[int, ...] = ()) -> list[dict]:
    rows = []
    for row in range(first, first + number):
        fields = dict.fromkeys(SCHEMA.names) | {"file": "a.jsonl", "row": row}
        answer = {
            "text": "in paris",
            "words": ["in", "paris"],
            "tags": ["O", "B-LOC"],
            "entities": [{"entity_group": "LOC", "word": "paris", "start": 3, "end": 8, "score": 0.5}],
            "images": [{"quality": None, "relevance": 0.5, "weight": 1.0, "gate": 0.25}],
        }
        rows.append(fields | ({"error": "broken"} if row in failing else answer))
    return rows


@pytest.fixture
def parts(tmp_path):
    parts = TaggedParts(tmp_path / "out")
    parts.open(MADE_FROM)
    return parts


def names(parts) -> set[str]:
    return {path.name for path in parts.folder.iterdir()}


def test_rows_come_back_as_they_were(parts, monkeypatch):
    monkeypatch.setattr("mner_training.lake_parts._ROWS_PER_GROUP", 3)
    rows = make_rows(8, failing=(2, 8))
    assert parts.write(0, iter(rows)) == (8, 2, 0)
    assert parts.count(0) == (8, 2, 0)
    assert pq.read_metadata(parts.path(0)).num_row_groups == 3
    assert pq.read_table(parts.path(0)).to_pylist() == rows
    assert parts.count(1) is None


def test_pictures_without_a_score_are_counted(parts):
    unscored = [0, 2, None, 1, 0]
    rows = [row | {"unscored": number} for row, number in zip(make_rows(5), unscored, strict=True)]
    assert parts.write(0, rows) == parts.count(0) == (5, 0, 3)
    parts.write(1, rows[:2])
    assert parts.finish(2) == (7, 0, 5)
    assert json.loads((parts.folder / RECORD_FILE).read_text())["result"]["unscored"] == 5


def test_a_part_without_a_post_is_a_part(parts):
    assert parts.write(0, []) == (0, 0, 0)
    assert parts.count(0) == (0, 0, 0)
    assert pq.read_schema(parts.path(0)).equals(SCHEMA)


def test_the_folder_is_one_table_to_pyarrow_and_to_datasets(parts, tmp_path):
    rows = make_rows(5)
    parts.write(0, rows[:3])
    parts.write(1, rows[3:])
    assert parts.finish(2) == (5, 0, 0)
    assert pq.read_table(parts.folder).to_pylist() == rows
    assert load_dataset(str(parts.folder), split="train").to_list() == rows
    assert json.loads((parts.folder / RECORD_FILE).read_text())["result"] == {
        "posts": 5,
        "failed": 0,
        "unscored": 0,
        "parts": 2,
    }


def test_a_part_that_is_not_finished_has_no_name(parts):
    def breaking():
        yield from make_rows(2)
        assert len(names(parts)) == 2  # it is being written
        assert parts.count(0) is None
        raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError, match="power"):
        parts.write(0, breaking())
    assert names(parts) == {RECORD_FILE}


def test_two_writers_of_one_part_leave_one(parts):
    rows = make_rows(3)

    def overtaken():
        yield rows[0]
        assert parts.write(0, rows) == (3, 0, 0)
        yield from rows[1:]

    assert parts.write(0, overtaken()) == (3, 0, 0)
    assert names(parts) == {RECORD_FILE, "part-000000.parquet"}
    assert pq.read_table(parts.path(0)).to_pylist() == rows


def test_the_same_run_takes_a_folder_up(parts):
    parts.write(0, make_rows(2))
    TaggedParts(parts.folder).open(dict(MADE_FROM))
    assert parts.count(0) == (2, 0, 0)


def test_no_tagging_is_whole_without_all_of_its_parts(parts):
    parts.write(0, make_rows(2))
    parts.write(2, make_rows(2))
    with pytest.raises(FileNotFoundError, match=r"part-000001.parquet is gone"):
        parts.finish(3)
    assert json.loads((parts.folder / RECORD_FILE).read_text())["result"] is None


def test_what_a_killed_run_left_is_removed_in_the_end(parts):
    (parts.folder / ".unfinished-part-000001.parquet-1-x").write_bytes(b"PAR1")
    parts.open(MADE_FROM)
    parts.write(0, make_rows(1))
    parts.finish(1)
    assert names(parts) == {RECORD_FILE, "part-000000.parquet"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", "4567"), ("posts_per_part", 3), ("images_dirs", ()), ("files", [{"path": "a.jsonl", "size": 4}])],
)
def test_another_run_is_refused_and_the_difference_named(parts, field, value):
    before = (parts.folder / RECORD_FILE).read_bytes()
    with pytest.raises(FileExistsError, match=f"holds a tagging that differs in '{field}'"):
        parts.open(MADE_FROM | {field: value})
    assert (parts.folder / RECORD_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("thesis.txt", "mine", "holds something that is no tagging"),
        (RECORD_FILE, "{", "cannot be read"),
        (RECORD_FILE, "[]", "is no record of"),
        (RECORD_FILE, '{"schema": "other/1"}', "is no record of"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(FileExistsError, match=message):
        TaggedParts(tmp_path).open(MADE_FROM)
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_start_that_was_killed_at_once_is_taken_up(tmp_path):
    (tmp_path / f".unfinished-{RECORD_FILE}-1-x").write_text("{")
    TaggedParts(tmp_path).open(MADE_FROM)
    assert (tmp_path / RECORD_FILE).is_file()


def test_a_part_that_cannot_be_read_is_an_error_and_not_replaced(parts):
    parts.path(0).write_bytes(b"")
    with pytest.raises(ValueError, match=r"part-000000.parquet cannot be read: .* Remove it to have it written anew"):
        parts.count(0)
