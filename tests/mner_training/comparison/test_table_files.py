"""The files of the table: names that are no markup, rows that fit, numbers that come back, and a figure."""

import csv
import io
import re

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from mner_training.comparison import table_files
from mner_training.comparison.layout import lay_out
from mner_training.comparison.results import read_results
from mner_training.comparison.table import Place, make_table
from mner_training.comparison.table_files import escape_latex, read_table, table_texts, write_table
from tests.comparison_runs import write_comparison
from tests.hidden_packages import hide_packages

STRANGE = "[a] UMT|MI_$x$ & <b>50%</b> {~^#} \\"
SYSTEMS = {
    "IQCR-MI": {"errors": 0.1, "published": {"posts": [77.69, 79.44, 78.55]}},
    STRANGE: {"errors": 0.12, "seeds": [1], "published": {"posts": [70, None, 71.5]}},
    "GPT4": {"errors": 0, "not_run": "no endpoint"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_comparison(tmp_path_factory.mktemp("comparison"), SYSTEMS, datasets=("posts", "plus"))


@pytest.fixture(scope="module")
def table(folder):
    return make_table(read_results(folder), replicates=200)


def test_the_main_table(table):
    section = lay_out(table, "posts")[0]
    rows = {row[0]: dict(zip(section.header, row, strict=True)) for row in section.rows}
    number = {place.measure: value for place, value in table.cells.items() if place[:3] == ("posts", "IQCR-MI", "all")}
    ours, strange, gpt = (rows[name] for name in SYSTEMS)
    assert ours["F1"] == f"{number['f1_mean']:.2f} ± {number['f1_sd']:.2f}"
    assert (ours["seeds"], ours["difference to IQCR-MI"]) == ("3 of 3", "reference")
    assert ours["published P / R / F1"] == "77.69 / 79.44 / 78.55"
    assert strange["published P / R / F1"] == "70.00 / ? / 71.50"
    assert (strange["seeds"], gpt["seeds"]) == ("1 of 3", "not run: no endpoint")
    assert "±" not in strange["F1"]
    assert re.fullmatch(r"\[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]", strange["95 % interval"])
    notes = " ".join(section.notes)
    assert f"in no mean: {STRANGE}: 2, 3." in notes
    assert f"the interval covers the choice of posts alone: {STRANGE}." in notes


def test_a_reference_with_one_seed_is_noted(tmp_path):
    systems = {"A": {"errors": 0.1, "seeds": [1]}, "B": {"errors": 0.2}}
    notes = lay_out(make_table(read_results(write_comparison(tmp_path, systems)), replicates=5), "posts")[0].notes
    assert notes[-2].endswith("alone: A.")
    assert notes[-1] == "A is the reference, so that no difference covers the choice of its seed."


def test_markdown_shows_names_as_they_are(table):
    parsed = MarkdownIt("commonmark").enable("table").parse(table_texts(table)["table.md"])
    cells, inside = [], False
    for token in parsed:
        inside = token.type in ("td_open", "th_open") or (inside and token.type not in ("td_close", "th_close"))
        if inside and token.type == "inline":
            assert all(child.type == "text" or child.type == "text_special" for child in token.children), token.content
            cells.append("".join(child.content for child in token.children))
    shown = [
        cell
        for dataset in table.datasets
        for it in lay_out(table, dataset)
        for row in [it.header, *it.rows]
        for cell in row
    ]
    assert cells == shown
    assert STRANGE in cells


def test_latex_has_as_many_cells_in_every_row(table):
    text = table_texts(table)["table.tex"]
    tabulars = re.findall(r"\\begin\{tabular\}\{(lr*)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(tabulars) == text.count(r"\begin{table*}") == 2 * 7
    for columns, body in tabulars:
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        assert (body.count(r"\toprule"), body.count(r"\midrule"), body.count(r"\bottomrule")) == (1, 1, 1)
    assert not re.search(r"^\[", text, re.MULTILINE)  # behind a row's end it would be an option of that
    bare = re.sub(r"\\[&%$#_{}\\]|\$\\pm\$|\$-\$|\\text[a-z]+\{\}", "", text)
    for _, body in re.findall(r"\\begin\{tabular\}\{(lr*)\}(.*?)\\end\{tabular\}", bare, re.DOTALL):
        assert not re.search(r"[%$#_~^<>|±]", body)
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")


def test_latex_of_text():
    assert escape_latex("a_b & 5 % ± -0.5, +1, w-o 2-3") == r"a\_b \& 5 \% $\pm$ $-$0.5, +1, w-o 2-3"
    assert escape_latex("\\ {}\n~^") == r"\textbackslash{} \{\} \textasciitilde{}\textasciicircum{}"


def test_csv_and_json_have_every_number(table, tmp_path):
    rows = list(csv.DictReader(io.StringIO(table_texts(table)["table.csv"])))
    assert len(rows) == len(table.cells) > 300
    for stored, (place, value) in zip(rows, table.cells.items(), strict=True):
        assert stored["value"] == (f"{value:.4f}" if isinstance(value, float) else str(value))
        assert Place(*(stored[name] for name in Place._fields)) == place
    (tmp_path / "table.json").write_text(table_texts(table)["table.json"], encoding="utf-8")
    assert read_table(tmp_path / "table.json") == table


def test_written_files_and_the_figure(table, folder, tmp_path):
    paths = write_table(table, tmp_path)
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir())
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.format == "PNG"
        colors = {color for _, color in figure.convert("RGB").getcolors(1 << 24)}
    assert {(0x1D, 0x7A, 0x46), (0x2A, 0x6F, 0x97), (0xB5, 0x53, 0x1C)} <= colors  # reference, system, published


def test_without_matplotlib_the_other_files_are_written(table, tmp_path, monkeypatch):
    (tmp_path / "figure.png").write_bytes(b"of an earlier table")
    hide_packages(monkeypatch, "matplotlib")
    warnings = []
    monkeypatch.setattr(table_files.logger, "warning", warnings.append)
    assert [path.name for path in write_table(table, tmp_path)] == ["table.md", "table.tex", "table.csv", "table.json"]
    assert not (tmp_path / "figure.png").exists()
    assert "iqcr-mi[plots]" in warnings[0]


def test_a_comparison_without_any_run(tmp_path):
    folder = write_comparison(tmp_path, {"IQCR-MI": {"errors": 0, "seeds": []}})
    table = make_table(read_results(folder), replicates=10)
    write_table(table, folder)
    assert "0 of 3" in (folder / "table.md").read_text()
    assert "No run is done." in (folder / "table.md").read_text()
