"""Reading the folder of a comparison: what is not done is known, and runs that do not compare are refused."""

import json
import shutil

import pytest

from mner_training.comparison.results import read_results
from tests.comparison_runs import sign, write, write_comparison

SYSTEMS = {
    "IQCR-MI": {"errors": 0.1, "published": {"posts": [77.69, 79.44, 78.55]}},
    "BERT": {"errors": 0.2, "text_only": True, "seeds": [1, 3]},
    "GPT4": {"errors": 0, "not_run": "no endpoint"},
}


@pytest.fixture
def folder(tmp_path):
    return write_comparison(tmp_path, SYSTEMS, num_posts=12)


def change(path, line, **fields):
    """Change one line of a file of predictions, counted from 1; None as a field's value removes it."""
    lines = path.read_text().splitlines()
    post = json.loads(lines[line - 1]) | fields
    lines[line - 1] = json.dumps({name: value for name, value in post.items() if value is not ...})
    path.write_text("\n".join(lines) + "\n")
    sign(path.parent)


def test_runs_that_are_done(folder):
    results = read_results(folder)
    assert (results.reference, results.seeds) == ("IQCR-MI", [1, 2, 3])
    assert [(system.name, system.not_run) for system in results.systems] == [
        ("IQCR-MI", None),
        ("BERT", None),
        ("GPT4", "no endpoint"),
    ]
    (dataset,) = results.datasets
    assert {name: [run.seed for run in runs] for name, runs in dataset.runs.items()} == {
        "IQCR-MI": [1, 2, 3],
        "BERT": [1, 3],
        "GPT4": [],
    }
    assert [len(it) for it in (dataset.words, dataset.gold, dataset.runs["BERT"][1].tags)] == [12] * 3
    assert dataset.training_entities


def test_a_run_without_its_record_is_not_done(folder):
    (folder / "posts/system-0/seed-2/comparison_run.json").unlink()
    (folder / "posts/system-0/seed-2/predictions.jsonl").write_text("half a li")
    (folder / "posts/training_entities.json").unlink()
    (dataset,) = read_results(folder).datasets
    assert [run.seed for run in dataset.runs["IQCR-MI"]] == [1, 3]
    assert dataset.training_entities is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "other"}, "posts 'other' and 'p4'.* differs in id\\."),
        ({"words": ["a"], "gold_tags": ["O"], "predicted_tags": ["O"]}, "differs in words and gold tags"),
    ],
)
def test_runs_with_other_posts_are_refused(folder, fields, named):
    change(folder / "posts/system-1/seed-3/predictions.jsonl", 5, **fields)
    with pytest.raises(ValueError, match=f"posts/system-1/seed-3 and posts/system-0/seed-1 .* line 5 .*{named}"):
        read_results(folder)


def test_posts_in_another_order_or_fewer_are_refused(folder):
    path = folder / "posts/system-1/seed-3/predictions.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:] + lines[2:3]))
    sign(path.parent)
    with pytest.raises(ValueError, match=r"seed-3 and .* line 3 .*'p3' and 'p2'"):
        read_results(folder)
    path.write_text("".join(lines[:-1]))
    sign(path.parent)
    with pytest.raises(ValueError, match="system-1/seed-3 has 11 posts and posts/system-0/seed-1 12"):
        read_results(folder)


def test_a_run_that_is_copied_is_no_run_of_another_seed_or_system(folder):
    runs = folder / "posts"
    shutil.copytree(runs / "system-1/seed-1", runs / "system-1/seed-2")
    with pytest.raises(ValueError, match="system-1/seed-2 holds another run than its name says: seed was 1 and is 2"):
        read_results(folder)
    shutil.rmtree(runs / "system-1/seed-2")
    shutil.rmtree(runs / "system-0/seed-1")
    shutil.copytree(runs / "system-1/seed-1", runs / "system-0/seed-1")
    with pytest.raises(ValueError, match=r"system-0/seed-1 holds another run .*: system was 'BERT' and is 'IQCR-MI'"):
        read_results(folder)


def test_predictions_that_are_not_the_runs_own_are_refused(folder):
    other = folder / "posts/system-1/seed-3/predictions.jsonl"
    shutil.copy(folder / "posts/system-1/seed-1/predictions.jsonl", other)
    with pytest.raises(ValueError, match=r"seed-3/predictions.jsonl is not what comparison_run.json beside it was"):
        read_results(folder)


def test_runs_of_a_row_with_other_arguments_are_refused(folder):
    arguments = {"control": None, "num_train_epochs": 1}
    sign(folder / "posts/system-1/seed-3", arguments=arguments | {"seed": 3})
    with pytest.raises(ValueError, match=r"seed-3 has other arguments than .*seed-1: num_train_epochs was None and"):
        read_results(folder)
    sign(folder / "posts/system-1/seed-1", arguments=arguments | {"seed": 1})  # other rows may have others
    assert len(read_results(folder).datasets[0].runs["BERT"]) == 2


@pytest.mark.parametrize("split", ["train", "validation"])
def test_runs_with_other_training_data_are_refused(folder, split):
    digests = {"train": "1", "validation": "2"} | {split: "3"}
    sign(folder / "posts/system-1/seed-1", words_and_tags_sha256=digests)
    with pytest.raises(ValueError, match=f"system-1/seed-1 and .* other words or tags .*: {split} was '.' and is '3'"):
        read_results(folder)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"schema": "iqcr-mi/predictions/2"}, "expected an object of the schema 'iqcr-mi/predictions/1'"),
        ({"images": ...}, "the post has no images"),
        ({"predicted_tags": ["O"] * 40}, "post 'p1': every word needs both tags, got .* 40 in predicted_tags"),
        ({"gold_tags": None}, "0 in gold_tags"),
    ],
)
def test_lines_that_are_no_predictions_are_refused(folder, fields, named):
    change(folder / "posts/system-0/seed-1/predictions.jsonl", 2, **fields)
    with pytest.raises(ValueError, match=f"predictions.jsonl, line 2.*{named}"):
        read_results(folder)


def test_what_is_no_comparison_is_refused(folder):
    with pytest.raises(FileNotFoundError, match=r"There is no .*comparison.json"):
        read_results(folder / "posts")
    (folder / "posts/system-0/seed-1/predictions.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"seed-1 has comparison_run.json.*no predictions.jsonl"):
        read_results(folder)
    content = json.loads((folder / "comparison.json").read_text())
    write(folder / "comparison.json", content | {"reference": "BERT-CRF"})
    with pytest.raises(ValueError, match="the reference 'BERT-CRF' is none of its systems"):
        read_results(folder)
    write(folder / "comparison.json", content | {"schema": "other"})
    with pytest.raises(ValueError, match="schema 'other', expected 'iqcr-mi/comparison/1'"):
        read_results(folder)
    (folder / "comparison.json").write_text("{")
    with pytest.raises(ValueError, match=r"comparison.json cannot be read as JSON"):
        read_results(folder)
