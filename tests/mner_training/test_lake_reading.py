"""What of a file cannot be read has its row and its reason, and the rows around it are read."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mner_training.lake_files import plan_stretches
from mner_training.lake_reading import read_stretch


def read(path, size: int = 1000) -> list:
    return [reading for stretch in plan_stretches(str(path), size)[1] for reading in read_stretch(stretch)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not JSON", "cannot be read as JSON (JSONDecodeError). It begins with 'not JSON"),
        (b'{"text": "a"', "cannot be read as JSON"),
        (b"[" * 200_000, "cannot be read as JSON (RecursionError)"),
        (b'{"id": ' + b"1" * 5000 + b"}", "cannot be read as JSON (ValueError)"),
        (b'["paris"]', "expected an object {...}, got list."),
        (b'{"text": "\xff"}', "byte 10 of the line is not UTF-8"),
        (b'{"text": "\\ud83d"}', "half a surrogate pair"),
        (b'{"text": "' + b"x" * 1_000_000 + b'"}', "the line is longer than 1,000,000 bytes"),
        (b"x" * 3_500_000, "the line is longer than 1,000,000 bytes"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_bad_line_leaves_the_others(tmp_path, line, reason, size):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b'{"text": "before"}\n' + line + b'\n{"text": "after"}')
    before, bad, after = read(path, size)
    assert (before.row, before.post) == (1, {"text": "before"})
    assert (after.row, after.post) == (3, {"text": "after"})
    assert (bad.row, bad.post) == (2, None)
    assert bad.error.startswith(f"{path}:2: ")
    assert reason in bad.error


def test_null_counts_as_absent_and_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "paris", "words": null, "images": null, "lang": "en"}\n')
    (reading,) = read(path)
    assert reading.post == {"text": "paris"}


@pytest.mark.parametrize("size", [3, 1000])
def test_text_that_is_not_utf8_costs_its_row_alone(tmp_path, size):
    path = tmp_path / "posts.parquet"
    # what a careless writer makes: Arrow does not look into the bytes of a string
    content = pa.array([b"a", b"\xff\xfe", b"c"] * 5, pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(content), content.buffers())
    pq.write_table(pa.table({"text": text}), path)
    readings = read(path, size)
    assert [reading.row for reading in readings] == list(range(1, 16))
    assert [reading.post for reading in readings] == [{"text": "a"}, None, {"text": "c"}] * 5
    assert readings[1].error.startswith(f"{path}:2: the column 'text' cannot be read: ")


@pytest.mark.parametrize("size", [30, 1000])
def test_a_broken_row_group_costs_its_rows_alone(tmp_path, size):
    path = tmp_path / "posts.parquet"
    generator = np.random.default_rng(0)
    texts = [generator.bytes(100).hex() for _ in range(200)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=50, compression="gzip", use_dictionary=False)
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    readings = read(path, size)
    assert [reading.row for reading in readings] == list(range(1, 201))
    broken = [reading.row for reading in readings if reading.post is None]
    assert broken
    assert set(broken) <= set(range(51, 101))
    assert all(reading.post["text"] == texts[reading.row - 1] for reading in readings if reading.post is not None)
    assert all("the Parquet file is broken here" in readings[row - 1].error for row in broken)


@pytest.mark.parametrize("change", ["longer", "touched"])
def test_a_file_that_changed_is_not_read_on(tmp_path, change):
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": "a"}\n')
    _, (stretch,) = plan_stretches(str(path), 10)
    if change == "longer":
        path.write_text('{"text": "a"}\n{"text": "b"}\n')
    else:
        os.utime(path, ns=(0, stretch.modified + 1))
    with pytest.raises(ValueError, match=r"posts.jsonl has changed since the run began"):
        list(read_stretch(stretch))
