"""The files of a lake, JSON Lines and Parquet, and the stretches of rows that are tagged at a time.

Only a file's size, its number of rows and, of JSON Lines, where every so many lines begin is looked at here.
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# What a post has at least one of.
TEXT_COLUMNS = ("text", "words", "tokens")

_JSON_LINES, _PARQUET = ".jsonl", ".parquet"
# Bytes looked through at a time for the ends of lines.
_BLOCK_BYTES = 2**20


class PostFile(NamedTuple):
    """A file as it was when it was looked at."""

    path: str
    """As it was given, which is what rows and errors call it."""
    size: int
    """Bytes."""
    modified: int
    """Time of the last change, nanoseconds."""
    rows: int
    """Lines of JSON Lines, rows of Parquet."""


class Stretch(NamedTuple):
    """Consecutive rows of a file, which become one part of the output."""

    path: str
    """As in `PostFile`."""
    size: int
    """As in `PostFile`, like `modified`: a file that has changed is not read on."""
    modified: int
    first: int
    """Number of its first row in the file, counted from 1."""
    rows: int
    """How many rows it has."""
    offset: int
    """Byte at which its first line begins; 0 in Parquet, which knows its rows by number."""


def is_parquet(path: str) -> bool:
    """Whether a file of a lake is Parquet, by its ending; the others are JSON Lines."""
    return path.endswith(_PARQUET)


def find_files(inputs: Sequence[str], output: str | Path) -> list[str]:
    """Find the files of a lake.

    Args:
        inputs: Files, folders (all ``.jsonl`` and ``.parquet`` files below them, but those whose name or folder begins
            with ``.`` or ``_``) and patterns such as ``lake/2024-*.parquet``.
        output: The folder to be written.

    Returns:
        Their paths: the inputs in their order, each one's files by name.

    Raises:
        FileNotFoundError: If an input does not exist or holds no such file.
        ValueError: If a file has another ending, comes twice, has a name that is not UTF-8, or lies in the output
            folder, or that folder in an input folder.
    """
    paths = [path for given in inputs for path in _find(given, Path(output))]
    seen: dict[str, str] = {}
    for path in paths:
        if not path.endswith((_JSON_LINES, _PARQUET)):
            raise ValueError(
                f"{path!r} is neither {_JSON_LINES} nor {_PARQUET}. Unpack what is compressed, and convert the rest."
            )
        if not path.isprintable() and any(0xD800 <= ord(character) < 0xE000 for character in path):
            raise ValueError(f"{path!r} has a name that is not UTF-8, which no Parquet file can hold. Rename it.")
        real = os.path.realpath(path)
        if real in seen:
            raise ValueError(f"{path!r} and {seen[real]!r} are one file, whose posts would be tagged twice.")
        if Path(real).is_relative_to(Path(output).resolve()):
            raise ValueError(f"{path!r} lies in the output folder {str(output)!r}. Choose another folder.")
        seen[real] = path
    return paths


def _find(given: str, output: Path) -> list[str]:
    """The files of one input."""
    if os.path.isdir(given):
        if output.resolve().is_relative_to(Path(given).resolve()):
            raise ValueError(
                f"The output folder {str(output)!r} lies in the input folder {given!r}, whose files are to be read "
                "again when the run is taken up. Choose one outside of it."
            )
        found = [path for path in Path(given).rglob("*") if path.is_file() and not _is_hidden(path, given)]
        found = sorted(str(path) for path in found if path.suffix in (_JSON_LINES, _PARQUET))
        if not found:
            raise FileNotFoundError(f"The folder {given!r} holds no {_JSON_LINES} and no {_PARQUET} file.")
        return found
    if os.path.exists(given):
        return [given]
    found = sorted(path for path in glob.glob(given, recursive=True) if os.path.isfile(path))
    if not found:
        raise FileNotFoundError(f"There is no {given!r}. Give files, folders or patterns of files.")
    return found


def _is_hidden(path: Path, folder: str) -> bool:
    """Whether a file or a folder on the way to it begins with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def plan_stretches(path: str, rows_per_stretch: int) -> tuple[PostFile, list[Stretch]]:
    """Divide a file.

    Args:
        path: The file.
        rows_per_stretch: Rows of a stretch, but of the last one, which may be shorter.

    Returns:
        The file, and its stretches in their order, none if it has no rows.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as Parquet, or has no column with a text or words.
    """
    status = os.stat(path)
    if is_parquet(path):
        rows, offsets = _count_rows(path), None
    else:
        rows, offsets = _index_lines(path, rows_per_stretch)
    file = PostFile(path, status.st_size, status.st_mtime_ns, rows)
    stretches = []
    for first in range(0, rows, rows_per_stretch):
        offset = 0 if offsets is None else offsets[len(stretches)]
        length = min(rows_per_stretch, rows - first)
        stretches.append(Stretch(path, file.size, file.modified, first + 1, length, offset))
    return file, stretches


def _count_rows(path: str) -> int:
    """Rows of a Parquet file that has posts."""
    try:
        with pq.ParquetFile(path) as file:
            rows, names = file.metadata.num_rows, file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    if not set(names) & set(TEXT_COLUMNS):
        wanted = " or ".join(map(repr, TEXT_COLUMNS))
        raise ValueError(f"{path} has no column {wanted}, so it holds no posts. It has {', '.join(names) or 'none'}.")
    return rows


def _index_lines(path: str, lines_per_stretch: int) -> tuple[int, list[int]]:
    """The number of lines, and the byte at which each stretch of them begins, with memory for one block."""
    lines, position, offsets, last = 0, 0, [0], b"\n"
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
            to_next = lines_per_stretch - lines % lines_per_stretch
            offsets += [position + int(end) + 1 for end in ends[to_next - 1 :: lines_per_stretch]]
            lines, position, last = lines + len(ends), position + len(block), block[-1:]
    return lines + (last != b"\n"), offsets
