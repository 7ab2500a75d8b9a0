"""A folder of Parquet files that `datasets.load_dataset` reads, written whole or not at all.

Everything is written to hidden files in a hidden folder beside the target, which no loader takes for data, and renamed
when all of it is there. A build that is interrupted or killed leaves nothing that loads.
"""

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Features
from datasets.arrow_writer import ParquetWriter
from datasets.utils import tqdm

REPORT_FILE = "build_report.json"
# Which scorers gave the scores, in a folder that has been scored, and the form of this record.
SCORES_FILE = "scores.json"
SCORES_SCHEMA = "iqcr-mi/scores/1"

# Rows held in memory and written as one row group: with four pictures of 50 kB each, 20 MB.
_ROWS_PER_GROUP = 100
# A file of a split ends after this many bytes of pictures, which is what the Hub's own tools do.
_SHARD_BYTES = 500_000_000
# `datasets` passes over names that begin with a dot. Another ending would not do: it finds .parquet inside a name.
_HIDDEN = ".unfinished-"


@contextmanager
def new_dataset_folder(output: str | Path) -> Iterator[Path]:
    """Give a folder to write splits and the record into, which becomes `output` if the block ends without an error.

    Args:
        output: A folder that does not exist yet or is empty.

    Yields:
        The folder to write to. It is removed if the block raises.

    Raises:
        FileExistsError: If `output` holds anything.
    """
    output = Path(output).resolve()  # a link to an empty folder stays a link to the build
    require_free(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.parent / f"{_HIDDEN}{output.name}-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.removeprefix(_HIDDEN))
        if output.exists():
            output.rmdir()
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_split(
    folder: Path, split: str, rows: Iterable[Mapping[str, Any]], features: Features, num_rows: int | None = None
) -> None:
    """Write one split, with memory for a hundred rows, and a progress bar.

    Args:
        folder: What `new_dataset_folder` gave.
        split: Its name.
        rows: Its rows; images as ``{"bytes", "path"}``.
        features: Their columns.
        num_rows: How many there will be, for the progress bar; ``None`` if nobody knows.
    """
    # One post too many is drawn to learn whether another file is needed: a file without rows would be one for nothing.
    rows = iter(tqdm(rows, total=num_rows, desc=split, unit=" posts"))
    shards = []
    row = next(rows, None)
    while row is not None or not shards:
        shards.append(folder / f"{_HIDDEN}{split}-{len(shards):05d}")
        size = 0
        with ParquetWriter(features=features, path=str(shards[-1]), writer_batch_size=_ROWS_PER_GROUP) as writer:
            while row is not None and size < _SHARD_BYTES:
                writer.write(row)
                size += sum(len(image["bytes"]) for image in row["images"])
                row = next(rows, None)
            writer.finalize()
    for shard in shards:
        shard.rename(f"{shard}-of-{len(shards):05d}.parquet")


def write_text(folder: Path, name: str, content: str) -> None:
    """Write a text file into the folder.

    Args:
        folder: What `new_dataset_folder` gave.
        name: The file's name.
        content: Its content.
    """
    (folder / f"{_HIDDEN}{name}").write_text(content, encoding="utf-8")


def is_built_from(output: str | Path, made_from: Mapping[str, Any]) -> bool:
    """Tell whether a folder holds exactly this build already.

    Args:
        output: The folder, which need not exist.
        made_from: All that decides the content, as its report has it.

    Returns:
        ``True`` if its report says so.
    """
    try:
        record = json.loads((Path(output) / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # Through JSON and back, in which a tuple is a list.
    return isinstance(record, dict) and record.get("made_from") == json.loads(json.dumps(made_from))


def require_free(output: str | Path) -> None:
    """Refuse to write where something is.

    Args:
        output: The folder to be written.

    Raises:
        FileExistsError: If there is anything but an empty folder.
    """
    output = Path(output)
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        holds = "another build" if (output / REPORT_FILE).is_file() else "something else"
        raise FileExistsError(
            f"{str(output)!r} exists and holds {holds}. Nothing is overwritten: remove it, or choose another folder."
        )
