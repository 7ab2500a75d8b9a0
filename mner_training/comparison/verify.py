"""Whether a table that was published follows from the predictions beside it."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from mner_training.comparison.file_names import RESULTS_FILE
from mner_training.comparison.results import Results, read_json, read_results
from mner_training.comparison.table import Place, Table, make_table
from mner_training.comparison.table_files import (
    CSV_FILE,
    JSON_FILE,
    LATEX_FILE,
    MARKDOWN_FILE,
    read_table,
    table_texts,
)

# Sums may be rounded otherwise on another machine, and no digit that is shown depends on that.
_TOLERANCE = 1e-9
_OWN_FIGURES = ("precision", "recall", "f1", "strict_f1")


class Difference(NamedTuple):
    """A cell that does not follow from the predictions.

    Attributes:
        file: Where it stands, under the folder of the comparison.
        where: Which cell it is.
        stored: What is there; ``None`` if nothing is.
        recomputed: What should be there; likewise.
    """

    file: str
    where: str
    stored: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.file}, {self.where}: {self.stored!r} is stored, {self.recomputed!r} was computed"


def verify(folder: str | Path) -> list[Difference]:
    """Compute every cell of a comparison's table again, and compare.

    Args:
        folder: The folder of the comparison, with its table.

    Returns:
        All differences: of ``table.json`` in numbers, of the other files in what they show, of checksums of
        predictions, and of the figures that the runs recorded themselves. The figure is not looked at.

    Raises:
        FileNotFoundError: If there is no comparison or no ``table.json``.
        ValueError: If a file cannot be read (see `read_results`).
    """
    folder = Path(folder)
    stored, results = read_table(folder / JSON_FILE), read_results(folder)
    computed = make_table(results, stored.bootstrap["replicates"], stored.bootstrap["seed"])
    found = list(_compare_tables(stored, computed))
    texts = table_texts(computed)
    for name in (CSV_FILE, MARKDOWN_FILE, LATEX_FILE):
        if (folder / name).is_file():
            found += _compare_texts(name, (folder / name).read_text(encoding="utf-8"), texts[name])
        else:
            found.append(Difference(name, "the file", None, "a table"))
    found += _compare_records(folder, results, computed)
    versions = stored.bootstrap.get("numpy"), computed.bootstrap["numpy"]
    if found and versions[0] != versions[1]:
        found.append(Difference(JSON_FILE, "numpy, which may draw otherwise in another version", *versions))
    return found


def _compare_tables(stored: Table, computed: Table) -> Iterator[Difference]:
    """What differs in ``table.json``."""
    for name in ("name", "reference", "systems", "datasets"):
        one, other = getattr(stored, name), getattr(computed, name)
        if one != other:
            yield Difference(JSON_FILE, name, one, other)
    # With another numpy the numbers mostly are the same.
    settings = [{**it.bootstrap, "numpy": ""} for it in (stored, computed)]
    yield from _compare_mappings(*settings, "bootstrap, {}")
    yield from _compare_mappings(stored.digests, computed.digests, "SHA-256 of {}")
    cells = [
        {" / ".join(filter(None, place)): value for place, value in it.cells.items()} for it in (stored, computed)
    ]
    yield from _compare_mappings(*cells, "{}")


def _compare_mappings(stored: Mapping[str, Any], computed: Mapping[str, Any], where: str) -> Iterator[Difference]:
    """Entries that differ, or that only one of two has."""
    for name in dict.fromkeys([*stored, *computed]):
        one, other = stored.get(name), computed.get(name)
        if not _equal(one, other):
            yield Difference(JSON_FILE, where.format(name), one, other)


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same but for the rounding of sums."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return one == other and type(one) is type(other)


def _compare_texts(name: str, stored: str, computed: str) -> Iterator[Difference]:
    """What differs in a file that is text, cell by cell where the rows are those of one table."""
    one, other = _rows(name, stored), _rows(name, computed)
    for kind, start, stop, from_, to in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        for number in range(max(stop - start, to - from_)):
            left = one[start + number] if start + number < stop else None
            right = other[from_ + number] if from_ + number < to else None
            line = f"line {min(start + number, stop) + 1}"
            if left is None or right is None or len(left) != len(right):
                yield Difference(name, line, _joined(left), _joined(right))
                continue
            for column, pair in enumerate(zip(left, right, strict=True), start=1):
                if pair[0] != pair[1]:
                    yield Difference(name, f"{line} ({right[0]}), cell {column}", *pair)


def _rows(name: str, text: str) -> list[tuple[str, ...]]:
    """The lines of a file, each cut into its cells."""
    if name == CSV_FILE:
        return [tuple(row) for row in csv.reader(io.StringIO(text))]
    # The outer bars of a row of Markdown are no cells' borders.
    lines = [re.sub(r"^\| | \|$", "", line) for line in text.splitlines()]
    border = r"(?<!\\) ?\| ?" if name == MARKDOWN_FILE else r" ?(?<!\\)& ?"
    return [tuple(re.split(border, line)) for line in lines]


def _joined(row: tuple[str, ...] | None) -> str | None:
    """A row in one piece."""
    return None if row is None else " | ".join(row)


def _compare_records(folder: Path, results: Results, computed: Table) -> Iterator[Difference]:
    """Runs that recorded other figures than their predictions give."""
    for dataset in results.datasets:
        for system, runs in dataset.runs.items():
            for run in runs:
                path = folder / run.folder / RESULTS_FILE
                recorded = read_json(path) if path.is_file() else {}
                for name in _OWN_FIGURES:
                    figure = computed.cells[Place(dataset.name, system, "seed", str(run.seed), name)]
                    stored = recorded.get(f"test_{name}")
                    if not (isinstance(stored, float) and _equal(stored, figure / 100)):
                        yield Difference(f"{run.folder}/{RESULTS_FILE}", f"test_{name}", stored, figure / 100)
