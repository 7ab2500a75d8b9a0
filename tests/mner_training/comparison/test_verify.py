"""Verification: nothing is found where nothing was touched, and whatever is touched is found."""

import json
import random
import re
import shutil

import numpy as np
import pytest

from mner_training.comparison.results import read_results
from mner_training.comparison.table import make_table
from mner_training.comparison.table_files import write_table
from mner_training.comparison.verify import verify
from tests.comparison_runs import sign, write, write_comparison

SYSTEMS = {
    "IQCR-MI": {"errors": 0.1, "published": {"posts": [77.69, 79.44, 78.55]}},
    "UMT|MI & co": {"errors": 0.12, "seeds": [1, 2]},
    "GPT4": {"errors": 0, "not_run": "no endpoint"},
}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    folder = write_comparison(tmp_path_factory.mktemp("comparison"), SYSTEMS, num_posts=40)
    write_table(make_table(read_results(folder), replicates=200, seed=3), folder)
    return folder


@pytest.fixture
def folder(untouched, tmp_path):
    return shutil.copytree(untouched, tmp_path / "comparison")


def replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_an_untouched_table_follows_from_its_predictions(untouched):
    assert verify(untouched) == []


def test_any_number_of_the_json_that_is_touched_is_found(folder):
    content = json.loads((folder / "table.json").read_text())
    for cell in random.Random(0).sample(content["cells"], 12):
        before = cell["value"]
        cell["value"] = before + "x" if isinstance(before, str) else before + 0.01
        write(folder / "table.json", content)
        (found,) = verify(folder)
        assert (found.file, found.stored, found.recomputed) == ("table.json", cell["value"], pytest.approx(before))
        assert all(cell[name] in found.where for name in ("dataset", "system", "breakdown", "group", "measure"))
        cell["value"] = before


def test_a_number_that_was_added_or_removed_is_found(folder):
    content = json.loads((folder / "table.json").read_text())
    gone = content["cells"].pop(7)
    content["cells"].append({**gone, "measure": "invented", "value": 99.0})
    write(folder / "table.json", content)
    found = {it.where.rpartition(" / ")[2]: (it.stored, it.recomputed) for it in verify(folder)}
    assert found == {gone["measure"]: (None, gone["value"]), "invented": (99.0, None)}


@pytest.mark.parametrize("name", ["table.md", "table.tex", "table.csv"])
def test_any_cell_that_is_shown_is_found_if_touched(folder, name):
    text = (folder / name).read_text(encoding="utf-8")
    places = [match.span() for match in re.finditer(r"\d+\.\d\d", text)]
    for start, end in random.Random(1).sample(places, 8):
        digits = text[start:end]
        other = digits[:-1] + str((int(digits[-1]) + 1) % 10)
        (folder / name).write_text(text[:start] + other + text[end:], encoding="utf-8")
        (found,) = verify(folder)
        assert found.file == name
        assert other in found.stored
        assert digits in found.recomputed
        assert found.where.startswith(f"line {text[:start].count(chr(10)) + 1} ")


def test_lines_that_were_added_removed_or_said_otherwise_are_found(folder):
    lines = (folder / "table.md").read_text(encoding="utf-8").splitlines(keepends=True)
    row = next(number for number, line in enumerate(lines) if line.startswith("| UMT"))
    (folder / "table.md").write_text("".join(lines[:row] + lines[row + 1 :]), encoding="utf-8")
    (found,) = verify(folder)
    assert (found.stored, found.recomputed.split(" | ")[0]) == (None, "UMT\\|MI \\& co")
    (folder / "table.md").write_text("".join([*lines[:row], "| best | 3 of 3 |\n", *lines[row:]]), encoding="utf-8")
    (found,) = verify(folder)
    assert (found.stored, found.recomputed) == ("best | 3 of 3", None)
    (folder / "table.md").unlink()
    assert [str(it) for it in verify(folder)] == ["table.md, the file: None is stored, 'a table' was computed"]


def test_a_prediction_that_is_touched_is_found(folder):
    path = folder / "posts/system-1/seed-2/predictions.jsonl"
    posts = [json.loads(line) for line in path.read_text().splitlines()]
    right = next(
        post for post in posts if post["gold_tags"] == post["predicted_tags"] and "B-PER" in post["gold_tags"]
    )
    right["predicted_tags"][right["predicted_tags"].index("B-PER")] = "B-LOC"
    path.write_text("".join(json.dumps(post) + "\n" for post in posts))
    sign(path.parent)
    found = verify(folder)
    assert found[0].where == "SHA-256 of posts/system-1/seed-2/predictions.jsonl"
    touched = {(it.file, it.where) for it in found}
    assert ("table.json", "posts / UMT|MI & co / all / f1_mean") in touched
    assert ("posts/system-1/seed-2/all_results.json", "test_f1") in touched
    assert {it.file for it in found} >= {"table.md", "table.tex", "table.csv"}
    # No number of another system changes, but for the correction over systems.
    numbers = {it.where for it in found if it.file == "table.json"}
    assert not [it for it in numbers if it.startswith("posts / IQCR-MI")]


def test_a_prediction_that_changes_no_number_is_found(folder):
    replace(folder / "posts/system-0/seed-1/predictions.jsonl", '"probability": 0.5', '"probability": 0.9')
    with pytest.raises(ValueError, match=r"seed-1/predictions.jsonl is not what comparison_run.json beside it was"):
        verify(folder)
    sign(folder / "posts/system-0/seed-1")
    (found,) = verify(folder)
    assert found.where == "SHA-256 of posts/system-0/seed-1/predictions.jsonl"


@pytest.mark.parametrize(
    ("name", "old", "new", "measure"),
    [
        ("comparison.json", "78.55", "79.55", "posts / IQCR-MI / all / published_f1"),
        (
            "posts/system-0/seed-1/comparison_run.json",
            '"seconds": 11.0',
            '"seconds": 1.0',
            "posts / IQCR-MI / all / seconds",
        ),
    ],
)
def test_other_records_that_are_touched_are_found(folder, name, old, new, measure):
    replace(folder / name, old, new)
    assert measure in [it.where for it in verify(folder)]


def test_a_run_that_recorded_other_figures_is_found(folder):
    path = folder / "posts/system-0/seed-3/all_results.json"
    write(path, json.loads(path.read_text()) | {"test_recall": 0.5})
    (found,) = verify(folder)
    assert (found.file, found.where, found.stored) == ("posts/system-0/seed-3/all_results.json", "test_recall", 0.5)


def test_settings_that_are_touched_are_found(folder):
    replace(folder / "table.json", '"seed": 3', '"seed": 4')
    assert "posts / UMT|MI & co / all / difference_low" in [it.where for it in verify(folder)]


def test_a_second_value_at_a_place_and_what_no_table_has_are_refused(folder):
    content = json.loads((folder / "table.json").read_text())
    cell = next(cell for cell in content["cells"] if cell["measure"] == "f1_mean")
    for doctored in (
        {"cells": [cell | {"value": 99.0}, *content["cells"]]},
        {"cells": [cell | {"f1": 99.0}, *(other for other in content["cells"] if other is not cell)]},
        {"f1_mean": 99.0},
    ):
        write(folder / "table.json", content | doctored)
        with pytest.raises(ValueError, match=r"table.json(: two values at one place| has what no table has: f1_mean)"):
            verify(folder)


def test_another_numpy_counts_only_where_numbers_differ(folder):
    path = folder / "table.json"
    replace(path, f'"numpy": "{np.__version__}"', '"numpy": "1.0"')
    assert verify(folder) == []
    content = json.loads(path.read_text())
    next(cell for cell in content["cells"] if cell["measure"] == "difference_low")["value"] += 0.01
    write(path, content)
    assert [(it.where.partition(",")[0], it.stored) for it in verify(folder)][1:] == [("numpy", "1.0")]


def test_a_run_that_came_later_is_found(folder):
    shutil.copytree(folder / "posts/system-1/seed-1", folder / "posts/system-1/seed-3")
    sign(folder / "posts/system-1/seed-3", seed=3)
    assert "SHA-256 of posts/system-1/seed-3/predictions.jsonl" in [it.where for it in verify(folder)]


def test_nothing_to_verify(folder):
    (folder / "table.json").unlink()
    with pytest.raises(FileNotFoundError, match="nothing to verify"):
        verify(folder)
