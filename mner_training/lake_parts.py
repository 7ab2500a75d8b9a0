"""The output of tagging a lake: a folder of Parquet parts, each of one stretch of the input.

A part gets its name when all of it is there. So a run that was killed is taken up by the same command: the parts that
have their names are kept, all others are written anew, and no post stands twice, whoever wrote it how often.
"""

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mner_training.versions import package_versions

# What the folder was made from, and in the end what it holds. Readers of Parquet pass over a leading underscore.
RECORD_FILE = "_tagging.json"
RECORD_SCHEMA = "iqcr-mi/tagging/1"

_ENTITY = [
    ("entity_group", pa.string()),
    ("word", pa.string()),
    ("start", pa.int64()),
    ("end", pa.int64()),
    ("score", pa.float64()),
]
_IMAGE = [(name, pa.float64()) for name in ("quality", "relevance", "weight", "gate")]
# The fields of the pipeline's answers under their names, and before them what a row is known by.
SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        ("id", pa.string()),
        ("text", pa.string()),
        ("words", pa.list_(pa.string())),
        ("tags", pa.list_(pa.string())),
        ("entities", pa.list_(pa.struct(_ENTITY))),
        ("images", pa.list_(pa.struct(_IMAGE))),
        ("unscored", pa.int64()),
        ("error", pa.string()),
    ]
)

# Rows held in memory and written as one row group.
_ROWS_PER_GROUP = 1000
_UNFINISHED = ".unfinished-"


class PartCounts(NamedTuple):
    """What a part holds."""

    posts: int
    """Its rows."""
    failed: int
    """Those of them that have an error."""
    unscored: int
    """Pictures without a score that was to be computed."""


class TaggedParts:
    """The parts in a folder. It may be used by several processes at once, and pickled.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @property
    def record_file(self) -> Path:
        """Where it is recorded what the folder was made from."""
        return self.folder / RECORD_FILE

    def path(self, number: int) -> Path:
        """Where a part lies, or will."""
        return self.folder / f"part-{number:06d}.parquet"

    def open(self, made_from: Mapping[str, Any]) -> None:
        """Begin a folder, or take it up again.

        Args:
            made_from: All that decides the content, as JSON has it.

        Raises:
            FileExistsError: If the folder holds something else, or was made from something else.
        """
        if not self.record_file.exists():
            if self.folder.exists() and any(not path.name.startswith(_UNFINISHED) for path in self.folder.iterdir()):
                raise FileExistsError(
                    f"{str(self.folder)!r} holds something that is no tagging of this kind. Nothing is overwritten: "
                    "choose another folder."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_record(made_from, None)
            return
        before = self._read_record()["made_from"]
        # through JSON and back, in which a tuple is a list
        now = json.loads(json.dumps(made_from))
        differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if differing:
            raise FileExistsError(
                f"{str(self.folder)!r} holds a tagging that differs in {', '.join(map(repr, differing))} "
                f"({RECORD_FILE} has what it was made from). A run is taken up with the same files, model and "
                "settings: give those, or choose another folder."
            )

    def count(self, number: int) -> PartCounts | None:
        """What a part holds; ``None`` if it is not there yet.

        Raises:
            ValueError: If the file cannot be read.
        """
        path = self.path(number)
        try:
            with pq.ParquetFile(path) as file:
                metadata = file.metadata
                unscored = pc.sum(file.read(columns=["unscored"])["unscored"], min_count=0).as_py()
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read: {error}. Remove it to have it written anew.") from error
        column = metadata.schema.names.index("error")
        groups = [metadata.row_group(group).column(column) for group in range(metadata.num_row_groups)]
        without_error = sum(group.statistics.null_count for group in groups)
        return PartCounts(metadata.num_rows, metadata.num_rows - without_error, unscored)

    def write(self, number: int, rows: Iterable[Mapping[str, Any]]) -> PartCounts:
        """Write a part, with memory for a thousand rows.

        Args:
            number: Its number.
            rows: Its rows, of `SCHEMA`.

        Returns:
            What it holds.
        """
        path = self.path(number)
        # a name of its own: a worker that was given up for dead may still be writing the same part
        unfinished = self.folder / f"{_UNFINISHED}{path.name}-{os.getpid()}-{uuid.uuid4().hex}"
        posts = failed = unscored = 0
        rows = iter(rows)
        try:
            with open(unfinished, "wb") as file:
                with pq.ParquetWriter(file, SCHEMA) as writer:
                    while group := list(islice(rows, _ROWS_PER_GROUP)):
                        writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
                        posts += len(group)
                        failed += sum(row["error"] is not None for row in group)
                        unscored += sum(row["unscored"] or 0 for row in group)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return PartCounts(posts, failed, unscored)

    def finish(self, number: int) -> PartCounts:
        """Record that all parts are there, and remove what killed runs have left.

        Args:
            number: How many parts there are.

        Returns:
            What they hold in all.

        Raises:
            FileNotFoundError: If one is not there.
        """
        counts = [self.count(part) for part in range(number)]
        if None in counts:
            raise FileNotFoundError(f"{self.path(counts.index(None))} is gone. Run it again to have it written anew.")
        total = PartCounts(*map(sum, zip(*counts, strict=True))) if counts else PartCounts(0, 0, 0)
        self._write_record(self._read_record()["made_from"], total._asdict() | {"parts": number})
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)
        return total

    def _read_record(self) -> dict[str, Any]:
        """The record.

        Raises:
            FileExistsError: If it is none.
        """
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FileExistsError(f"{self.record_file} cannot be read: {error}. Choose another folder.") from error
        if not isinstance(record, dict) or record.get("schema") != RECORD_SCHEMA:
            raise FileExistsError(f"{self.record_file} is no record of {RECORD_SCHEMA!r}. Choose another folder.")
        return record

    def _write_record(self, made_from: Mapping[str, Any], result: Mapping[str, int] | None) -> None:
        """Write the record, whole or not at all."""
        unfinished = self.folder / f"{_UNFINISHED}{RECORD_FILE}-{os.getpid()}-{uuid.uuid4().hex}"
        record = {"schema": RECORD_SCHEMA, "made_from": made_from, "versions": package_versions(), "result": result}
        unfinished.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.replace(self.record_file)
