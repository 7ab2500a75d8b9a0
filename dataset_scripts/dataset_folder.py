"""A folder of Parquet files that `datasets.load_dataset` reads, written whole or not at all.

Everything is written to hidden files in a hidden folder beside the target, which no loader takes for data, and renamed
when all of it is there. A build that is interrupted or killed leaves nothing that loads.
"""

import json
import platform
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL
from datasets import Features
from datasets.arrow_writer import ParquetWriter
from datasets.utils import tqdm

RECORD_FILE = "build.json"

# Rows held in memory and written as one row group: with four pictures of 50 kB each, 20 MB.
_ROWS_PER_GROUP = 100
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
    output = Path(output)
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
        rows: Its rows.
        features: Their columns.
        num_rows: How many there will be, for the progress bar; ``None`` if nobody knows.
    """
    path = folder / f"{_HIDDEN}{split}-00000-of-00001.parquet"
    with ParquetWriter(features=features, path=str(path), writer_batch_size=_ROWS_PER_GROUP) as writer:
        for row in tqdm(rows, total=num_rows, desc=split, unit=" posts"):
            writer.write(row)
        writer.finalize()


def write_record(folder: Path, made_from: Mapping[str, Any], counts: Mapping[str, Any]) -> None:
    """Write down what the folder was made from, what is in it, and by which versions.

    Args:
        folder: What `new_dataset_folder` gave.
        made_from: All that decides the content; `is_built_from` compares it.
        counts: What each split holds.
    """
    versions = {"python": platform.python_version()}
    versions |= {module.__name__: module.__version__ for module in (datasets, np, PIL)}
    record = {"made_from": made_from, "counts": counts, "versions": versions}
    (folder / f"{_HIDDEN}{RECORD_FILE}").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def is_built_from(output: str | Path, made_from: Mapping[str, Any]) -> bool:
    """Tell whether a folder holds exactly this build already.

    Args:
        output: The folder, which need not exist.
        made_from: As in `write_record`.

    Returns:
        ``True`` if its record says so.
    """
    try:
        record = json.loads((Path(output) / RECORD_FILE).read_text(encoding="utf-8"))
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
        holds = "another build" if (output / RECORD_FILE).is_file() else "something else"
        raise FileExistsError(
            f"{str(output)!r} exists and holds {holds}. Nothing is overwritten: remove it, or choose another folder."
        )
