"""Which files are a lake, and how they are divided."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mner_training.lake_files import find_files, plan_stretches
from mner_training.lake_reading import read_stretch, unread_columns


@pytest.fixture
def lake(tmp_path):
    """A folder with files that are posts and files that are none."""
    folder = tmp_path / "lake"
    for name in ("b.jsonl", "a/2.jsonl", "a/1.jsonl", "notes.txt", ".hidden.jsonl", "_tagging/x.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"text": "paris"}\n')
    pq.write_table(pa.table({"text": ["paris"]}), folder / "c.parquet")
    return folder


def test_a_folder_is_its_files_of_posts_by_name(lake, tmp_path):
    names = ["a/1.jsonl", "a/2.jsonl", "b.jsonl", "c.parquet"]
    assert find_files([str(lake)], tmp_path / "out") == [str(lake / name) for name in names]


def test_inputs_keep_their_order_and_patterns_are_expanded(lake, tmp_path):
    given_inputs = [str(lake / "b.jsonl"), str(lake / "a" / "*.jsonl")]
    names = ["b.jsonl", "a/1.jsonl", "a/2.jsonl"]
    assert find_files(given_inputs, tmp_path / "out") == [str(lake / name) for name in names]


def test_a_relative_path_stays_as_it_was_given(lake, tmp_path, monkeypatch):
    monkeypatch.chdir(lake)
    assert find_files(["a"], tmp_path / "out") == ["a/1.jsonl", "a/2.jsonl"]


@pytest.mark.parametrize(
    ("inputs", "output", "error", "message"),
    [
        (["lake/none.jsonl"], "out", FileNotFoundError, r"There is no 'lake/none.jsonl'"),
        (["lake/*.json"], "out", FileNotFoundError, r"There is no 'lake/\*.json'"),
        (["lake/_tagging/x.jsonl", "empty"], "out", FileNotFoundError, r"The folder 'empty' holds no .jsonl"),
        (["lake/notes.txt"], "out", ValueError, r"'lake/notes.txt' is neither .jsonl nor .parquet"),
        (["lake", "lake/b.jsonl"], "out", ValueError, r"'lake/b.jsonl' and 'lake/b.jsonl' are one file"),
        (["lake/b.jsonl", "link.jsonl"], "out", ValueError, r"'link.jsonl' and 'lake/b.jsonl' are one file"),
        (["lake"], "lake/out", ValueError, r"'lake/out' lies in the input folder 'lake'"),
        (["lake/b.jsonl"], "lake", ValueError, r"'lake/b.jsonl' lies in the output folder 'lake'"),
    ],
)
def test_what_is_no_lake_is_refused(lake, tmp_path, monkeypatch, inputs, output, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link.jsonl").symlink_to("lake/b.jsonl")
    with pytest.raises(error, match=message):
        find_files(inputs, output)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")
    with open(path, "w") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="name that is not UTF-8"):
        find_files([path], tmp_path / "out")


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b"  ", b"\r", b"[1]", b"\xff", b'{"text": "a\xe2\x80\xa8b"}\r']),
        st.text(max_size=5).map(lambda text: json.dumps({"text": text}).encode()),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(lines=LINES, ends=st.booleans(), size=st.integers(1, 5), block=st.integers(1, 40))
def test_stretches_of_lines_hold_each_line_once(tmp_path_factory, lines, ends, size, block):
    path = tmp_path_factory.mktemp("lines") / "posts.jsonl"
    content = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mner_training.lake_files._BLOCK_BYTES", block)
        file, stretches = plan_stretches(str(path), size)
    # as another program counts: every line that ends, and what is left after the last end
    expected = content.split(b"\n")
    expected = expected[:-1] if expected[-1] == b"" else expected
    assert file.rows == len(expected)
    assert [(stretch.first, stretch.rows) for stretch in stretches] == [
        (first + 1, min(size, len(expected) - first)) for first in range(0, len(expected), size)
    ]
    readings = [reading for stretch in stretches for reading in read_stretch(stretch)]
    assert [reading.row for reading in readings] == [
        number for number, line in enumerate(expected, start=1) if line.strip()
    ]
    for reading in readings:
        try:
            value = json.loads(expected[reading.row - 1].decode())
            assert reading.post == ({"text": value["text"]} if isinstance(value, dict) else None)
        except ValueError:
            assert reading.post is None
        assert (reading.error is None) == (reading.post is not None)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(0, 60), size=st.integers(1, 25), group=st.integers(1, 30), batch=st.integers(1, 20))
def test_stretches_of_parquet_hold_each_row_once(tmp_path_factory, rows, size, group, batch):
    path = str(tmp_path_factory.mktemp("rows") / "posts.parquet")
    table = pa.table(
        {
            "text": pa.array([str(number) if number % 7 else None for number in range(rows)], pa.string()),
            "other": pa.array(range(rows), pa.int64()),
            "id": pa.array(range(rows), pa.int32()),
        }
    )
    pq.write_table(table, path, row_group_size=group)
    file, stretches = plan_stretches(path, size)
    assert file.rows == rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mner_training.lake_reading._ROWS_PER_BATCH", batch)
        readings = [list(read_stretch(stretch)) for stretch in stretches]
    assert [len(of_one) for of_one in readings] == [min(size, rows - first) for first in range(0, rows, size)]
    for number, reading in enumerate(reading for of_one in readings for reading in of_one):
        assert reading.row == number + 1
        assert reading.post == {"id": number} | ({"text": str(number)} if number % 7 else {})


def test_a_file_without_a_column_of_text_is_refused(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"body": ["paris"], "id": [1]}), path)
    with pytest.raises(ValueError, match=r"a.parquet has no column 'text' or 'words' or 'tokens'.* It has body, id"):
        plan_stretches(path, 10)


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and rubbish")
    with pytest.raises(ValueError, match=r"a.parquet cannot be read as Parquet"):
        plan_stretches(str(path), 10)


def test_columns_that_are_passed_over_are_named(tmp_path):
    pq.write_table(pa.table({"tokens": [["a"]], "ner_tags": [[0]], "images": [["1.jpg"]]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"text": "a", "image": "1.jpg"}\n{"never seen": 1}\n')
    (tmp_path / "c.jsonl").write_text("no JSON\n")
    paths = sorted(map(str, tmp_path.iterdir()))
    stretches = [plan_stretches(path, 10)[1][0] for path in paths]
    assert unread_columns(stretches) == ["image", "ner_tags"]
