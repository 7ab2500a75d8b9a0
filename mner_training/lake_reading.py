"""The posts of a stretch, one by one. What cannot be read has its place in the row all the same, with the reason."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.text_lines import MAX_LINE_BYTES
from mner_training.lake_files import TEXT_COLUMNS, Stretch, is_parquet

# Columns of a post that are read; all others are passed over.
COLUMNS = ("id", *TEXT_COLUMNS, "images", "quality_scores", "relevance_scores")

# Rows of Parquet that are decoded at a time: with four pictures of 3 MB each, 200 MB.
_ROWS_PER_BATCH = 16
# Bytes of a column read ahead. Without this a row group's column is read whole.
_BUFFER_BYTES = 2**20


class Reading(NamedTuple):
    """A row as it was read."""

    path: str
    """The file."""
    row: int
    """The number of the row or line, counted from 1."""
    post: dict[str, Any] | None
    """Its columns among `COLUMNS` that are not null; ``None`` if it cannot be read."""
    error: str | None = None
    """Then the reason."""

    @property
    def where(self) -> str:
        """What errors call it."""
        return f"{self.path}:{self.row}"


def read_stretch(stretch: Stretch) -> Iterator[Reading]:
    """Read a stretch, with memory for a few rows.

    Args:
        stretch: One of `plan_stretches`.

    Yields:
        Every row, in its order; of JSON Lines every line that is not blank.

    Raises:
        ValueError: If the file is no longer the one that was planned.
        OSError: If it cannot be opened.
    """
    status = os.stat(stretch.path)
    if (status.st_size, status.st_mtime_ns) != (stretch.size, stretch.modified):
        raise ValueError(
            f"{stretch.path} has changed since the run began, so its rows may be others. Tag it anew, into another "
            "folder."
        )
    yield from _read_parquet(stretch) if is_parquet(stretch.path) else _read_lines(stretch)


def unread_columns(stretches: Sequence[Stretch]) -> list[str]:
    """Columns that the files have and that are neither read nor written.

    Args:
        stretches: The first stretch of each file.

    Returns:
        Their names, sorted; of JSON Lines those of the first line, so far as it can be read.
    """
    names: set[str] = set()
    for stretch in stretches:
        if is_parquet(stretch.path):
            with pq.ParquetFile(stretch.path) as file:
                names.update(file.schema_arrow.names)
        else:
            with open(stretch.path, "rb") as file:
                value, _ = _parse(file.readline(MAX_LINE_BYTES + 1), stretch.first)
            names.update(value or ())
    return sorted(names - set(COLUMNS))


def _read_lines(stretch: Stretch) -> Iterator[Reading]:
    """The posts of a stretch of JSON Lines."""
    with open(stretch.path, "rb") as file:
        file.seek(stretch.offset)
        for row in range(stretch.first, stretch.first + stretch.rows):
            line = file.readline(MAX_LINE_BYTES + 1)
            if len(line) > MAX_LINE_BYTES:
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES)
            elif not line.strip():
                continue
            value, error = _parse(line, row)
            if value is None:
                yield Reading(stretch.path, row, None, f"{stretch.path}:{row}: {error}")
            else:
                post = {name: value[name] for name in COLUMNS if value.get(name) is not None}
                yield Reading(stretch.path, row, post)


def _parse(line: bytes, row: int) -> tuple[dict[str, Any] | None, str | None]:
    """The object of a line, or the reason why there is none."""
    if len(line) > MAX_LINE_BYTES:
        return None, f"the line is longer than {MAX_LINE_BYTES:,} bytes. Give pictures by their paths, or use Parquet."
    try:
        value = json.loads(line.decode("utf-8-sig" if row == 1 else "utf-8"))
        # JSON can spell half a surrogate pair, which no Parquet file can hold.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return None, f"byte {error.start} of the line is not UTF-8 ({error.reason}). Convert it to UTF-8."
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        return None, f"the line holds {character!r}, half a surrogate pair. Write the whole character."
    except (ValueError, RecursionError) as error:
        beginning = line.strip()[:60].decode(errors="replace")
        return None, f"the line cannot be read as JSON ({type(error).__name__}). It begins with {beginning!r}."
    if not isinstance(value, dict):
        return None, f"expected an object {{...}}, got {type(value).__name__}."
    return value, None


def _read_parquet(stretch: Stretch) -> Iterator[Reading]:
    """The posts of a stretch of Parquet. Of a row group only the rows before it are decoded in vain."""
    begin, end = stretch.first - 1, stretch.first - 1 + stretch.rows
    with pq.ParquetFile(stretch.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        columns = [name for name in COLUMNS if name in file.schema_arrow.names]
        row = 0
        for group in range(file.num_row_groups):
            group_end = row + file.metadata.row_group(group).num_rows
            if group_end <= begin:
                row = group_end
                continue
            try:
                for batch in file.iter_batches(_ROWS_PER_BATCH, row_groups=[group], columns=columns):
                    for number in range(max(begin - row, 0), min(end - row, batch.num_rows)):
                        yield _read_row(batch, number, stretch.path, row + number + 1)
                    row += batch.num_rows
                    if row >= end:
                        return
            except (pa.ArrowException, OSError) as error:
                # what a broken page takes along is known by number alone
                for lost in range(max(begin, row), min(end, group_end)):
                    reason = f"{stretch.path}:{lost + 1}: the Parquet file is broken here: {error}"
                    yield Reading(stretch.path, lost + 1, None, reason)
                row = group_end
            if row >= end:
                return


def _read_row(batch: pa.RecordBatch, number: int, path: str, row: int) -> Reading:
    """One row of a batch."""
    post = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            value = column[number].as_py()
        except (ValueError, pa.ArrowException) as error:  # text that is not UTF-8 is found out here
            return Reading(path, row, None, f"{path}:{row}: the column {name!r} cannot be read: {error}")
        if value is not None:
            post[name] = value
    return Reading(path, row, post)
