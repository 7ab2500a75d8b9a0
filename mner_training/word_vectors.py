"""Word vectors from a text file, line by line: word2vec's format or GloVe's, plain or gzipped."""

import gzip
import hashlib
import math
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from datasets.utils import tqdm

from dataset_scripts.text_lines import MAX_LINE_BYTES

# Lines between two steps of the progress bar.
_LINES_PER_STEP = 1000


@dataclass
class WordVectors:
    """The vectors of a file.

    Attributes:
        rows: The row of each word, in the file's order.
        vectors: ``(words, size)``, float32.
        duplicates: Lines that were passed over, since an earlier one is of the same word.
        sha256: Of the file as it is, compressed or not.
    """

    rows: dict[str, int]
    vectors: torch.Tensor
    duplicates: int
    sha256: str


def read_word_vectors(path: str | Path, size: int) -> WordVectors:
    """Read a file of word vectors.

    A file whose first line is two whole numbers, how many words and how wide, is word2vec's; GloVe's have no such
    line. A word may hold spaces, as some of GloVe's do: the last `size` fields of a line are its numbers.

    Args:
        path: The file, UTF-8; gzipped if its name ends in ``.gz``.
        size: Numbers per word.

    Returns:
        The vectors.

    Raises:
        ValueError: If there is no such file, it holds no vectors, or those of another size, a line is malformed, or
            there are not as many lines as the first one says. The message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"Word vectors: there is no file {path}.")
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    rows, numbers, duplicates, announced = {}, array("f"), 0, None
    for number, line in enumerate(_read_lines(path), 1):
        where = f"{path}:{number}"
        fields = line.split(" ")
        if number == 1:
            is_header = len(fields) == 2 and all(field.isdecimal() for field in fields)
            announced = int(fields[0]) if is_header else None
            found = int(fields[1]) if is_header else _count_numbers(fields)
            if found != size:
                raise ValueError(
                    f"{where}: vectors of {found} numbers, but `word_embedding_size` is {size}. Set it to the file's."
                )
            if is_header:
                continue
        word, vector = " ".join(fields[:-size]), _read_numbers(fields[-size:])
        if not word or vector is None:
            raise ValueError(f"{where}: expected a word and {size} finite numbers, got {line[:80]!r}.")
        if word in rows:
            duplicates += 1
            continue
        rows[word] = len(rows)
        numbers.extend(vector)
    if announced not in (None, len(rows) + duplicates):
        raise ValueError(
            f"{path}:1 announces {announced} words, but {len(rows) + duplicates} follow: the file is not whole."
        )
    if not rows:
        raise ValueError(f"{path} holds no word vectors.")
    return WordVectors(rows, torch.frombuffer(numbers, dtype=torch.float32).view(-1, size), duplicates, sha256)


def _read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a file, without ``\n``, ``\r\n`` and a space before them, which word2vec writes."""
    with (
        open(path, "rb") as stored,
        gzip.GzipFile(fileobj=stored) if path.suffix == ".gz" else stored as file,
        tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc=f"Reading {path.name}") as progress,
    ):
        number = 0
        while True:
            number += 1
            where = f"{path}:{number}"
            try:
                content = file.readline(MAX_LINE_BYTES + 1)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise ValueError(f"{where}: the gzipped file is broken ({error}). Fetch it again.") from error
            if number % _LINES_PER_STEP == 0 or not content:
                progress.update(stored.tell() - progress.n)
            if not content:
                return
            if len(content) > MAX_LINE_BYTES:
                raise ValueError(f"{where}: the line is longer than {MAX_LINE_BYTES:,} bytes: these are no vectors.")
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}: byte {error.start} of the line is not UTF-8 ({error.reason}).") from error
            yield line.removesuffix("\n").removesuffix("\r").removesuffix(" ")


def _count_numbers(fields: Sequence[str]) -> int:
    """How many fields at a line's end are numbers; the first field is always the word's."""
    count = 0
    for field in islice(reversed(fields), len(fields) - 1):
        if _read_numbers([field]) is None:
            break
        count += 1
    return count


def _read_numbers(fields: Sequence[str]) -> list[float] | None:
    """The numbers that fields spell, ``None`` if one of them spells none, or none that is finite."""
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
