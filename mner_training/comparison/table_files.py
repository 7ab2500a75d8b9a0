"""The table of a comparison as files: Markdown, LaTeX, CSV, JSON and a figure."""

import csv
import io
import json
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging

from dataset_scripts.markdown import escape_markdown
from dataset_scripts.markdown import table as markdown_table
from mner_training.comparison.figure import draw_comparison
from mner_training.comparison.layout import PLUS_MINUS, Section, lay_out
from mner_training.comparison.results import read_json
from mner_training.comparison.table import Place, Table

logger = logging.get_logger(__name__)

MARKDOWN_FILE, LATEX_FILE, CSV_FILE, JSON_FILE = "table.md", "table.tex", "table.csv", "table.json"
FIGURE_FILE = "figure.png"
TABLE_SCHEMA = "iqcr-mi/comparison-table/1"

_ABOUT = (
    "F1 is lenient (conlleval) and micro-averaged over entities. Percent, mean {plus_minus} standard deviation of the "
    "sample over seeds. Intervals and p-values: paired bootstrap over posts and seeds, {replicates} replicates; p is "
    "two-sided, p (Holm) is corrected over the systems of a data set. Smallest visible: the difference that a test at "
    "{error:.0f} % would find in {power:.0f} % of cases. How to read it: docs/comparing.md."
)
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    PLUS_MINUS: r"$\pm$",
} | {character: f"\\{character}" for character in "&%$#_{}"}
# A sign, which LaTeX would set as a hyphen.
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")


def write_table(table: Table, folder: str | Path) -> list[Path]:
    """Write ``table.md``, ``table.tex``, ``table.csv``, ``table.json`` and ``figure.png``, each whole or not at all.

    Args:
        table: The numbers.
        folder: The folder of the comparison.

    Returns:
        The paths. Without matplotlib there is no figure; one of an earlier table is removed then.
    """
    folder = Path(folder)
    contents = {name: text.encode("utf-8") for name, text in table_texts(table).items()}
    try:
        contents[FIGURE_FILE] = draw_comparison(table)
    except ImportError as error:
        logger.warning(f"The table has no figure: {error}")
        (folder / FIGURE_FILE).unlink(missing_ok=True)
    for name, content in contents.items():
        partial = folder / f".{name}-{uuid.uuid4().hex}"
        try:
            partial.write_bytes(content)
            partial.replace(folder / name)
        finally:
            partial.unlink(missing_ok=True)
    return [folder / name for name in contents]


def table_texts(table: Table) -> dict[str, str]:
    """All files but the figure, by name."""
    return {
        MARKDOWN_FILE: to_markdown(table),
        LATEX_FILE: to_latex(table),
        CSV_FILE: to_csv(table),
        JSON_FILE: to_json(table),
    }


def _about(table: Table) -> str:
    """What holds for the whole table."""
    return _ABOUT.format(
        plus_minus=PLUS_MINUS,
        replicates=f"{table.bootstrap['replicates']:,}",
        error=100 * (1 - table.bootstrap["level"]),
        power=100 * table.bootstrap["power"],
    )


def to_markdown(table: Table) -> str:
    """The table as GitHub shows it."""
    parts = [f"# {escape_markdown(table.name)}", escape_markdown(_about(table))]
    for dataset in table.datasets:
        parts.append(f"## {escape_markdown(dataset)}")
        for section in lay_out(table, dataset):
            parts.append(f"### {section.title}")
            if section.header:
                rows = [[escape_markdown(cell) for cell in row] for row in section.rows]
                parts.append(markdown_table(map(escape_markdown, section.header), rows, align="---:"))
            parts.append(escape_markdown(" ".join(section.notes)))
    return "\n\n".join(parts) + "\n"


def to_latex(table: Table) -> str:
    """The table as LaTeX, one ``table*`` per section, for a document with the package booktabs."""
    parts = ["% \\usepackage{booktabs}", f"% {' '.join(_about(table).split())}".replace(PLUS_MINUS, "+-")]
    for dataset in table.datasets:
        parts += [_latex_table(dataset, section) for section in lay_out(table, dataset) if section.header]
    return "\n\n".join(parts) + "\n"


def _latex_table(dataset: str, section: Section) -> str:
    """One floating table."""
    caption = " ".join([f"{dataset}. {section.title}.", *section.notes])
    lines = [
        r"\begin{table*}",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        f"\\caption{{{escape_latex(caption)}}}",
    ]
    lines += [f"\\begin{{tabular}}{{l{'r' * (len(section.header) - 1)}}}", r"\toprule", _latex_row(section.header)]
    lines += [r"\midrule", *map(_latex_row, section.rows), r"\bottomrule", r"\end{tabular}", r"\end{table*}"]
    return "\n".join(lines)


def _latex_row(cells: Sequence[str]) -> str:
    """One row of cells. A row may not begin with a bracket, which would be an option of the row before."""
    return " & ".join(escape_latex(cell) for cell in cells).replace("[", "{[}") + r" \\"


def escape_latex(text: str) -> str:
    """Text that LaTeX takes for nothing else, with the signs of numbers as such."""
    escaped = "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
    return _MINUS.sub("$-$", escaped)


def to_csv(table: Table) -> str:
    """Every number in a row of its own, rounded to four digits behind the point."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*Place._fields, "value"])
    for place, value in table.cells.items():
        writer.writerow([*place, f"{value:.4f}" if isinstance(value, float) else value])
    return file.getvalue()


def to_json(table: Table) -> str:
    """Everything, unrounded, one number per line."""
    cells = [
        json.dumps({**place._asdict(), "value": value}, ensure_ascii=False) for place, value in table.cells.items()
    ]
    head = {
        "schema": TABLE_SCHEMA,
        "name": table.name,
        "reference": table.reference,
        "systems": table.systems,
        "datasets": table.datasets,
        "bootstrap": table.bootstrap,
        "digests": table.digests,
    }
    text = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    return f'{text},\n  "cells": [\n    ' + ",\n    ".join(cells) + "\n  ]\n}\n"


def read_table(path: Path) -> Table:
    """Read a ``table.json``.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: nothing to verify. Make the table first.")
    content: dict[str, Any] = read_json(path)
    if content.get("schema") != TABLE_SCHEMA:
        raise ValueError(f"{path} has the schema {content.get('schema')!r}, expected {TABLE_SCHEMA!r}.")
    names = ("name", "reference", "systems", "datasets", "bootstrap", "digests")
    if unknown := sorted(set(content) - {"schema", *names, "cells"}):
        raise ValueError(f"{path} has what no table has: {', '.join(unknown)}.")
    cells = {}
    for cell in content["cells"]:
        place = Place(*(cell[name] for name in Place._fields))
        if place in cells or len(cell) > len(place) + 1:
            raise ValueError(f"{path}: two values at one place, or more than a value there: {cell}.")
        cells[place] = cell["value"]
    return Table(*(content[name] for name in names), cells)
