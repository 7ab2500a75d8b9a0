"""What a run leaves behind, without a model: the lines of the predictions, and the record."""

import json
import subprocess
import sys

import pytest
from datasets import Dataset
from transformers.utils import logging as transformers_logging

from mner_training import versions
from mner_training.data import EncodedSplit
from mner_training.recipes import parse_arguments
from mner_training.report import resumed_record, run_record, write_json, write_predictions
from mner_training.trainer import TaggedPost
from processing_iqcr.decoding import PostPrediction
from processing_iqcr.entities import Entity


def split_of(rows: list[dict], tags: list[list[str]] | None) -> EncodedSplit:
    return EncodedSplit("test", Dataset.from_list(rows), Dataset.from_list([]), tags, 0, [])


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_line_of_a_post_with_everything(tmp_path):
    row = {
        "id": "17",
        "tokens": ["Paris", "\x85", "l\u2028x"],
        "source": "generated",
        "images": [
            {"path": "/some/where/a.jpg", "bytes": None},
            {"path": None, "bytes": b"1"},
            {"path": "c.jpg", "bytes": None},
        ],
        "quality_scores": [0.5, None, 0.25],
        "relevance_scores": [0.1, -0.2, 0.3],
    }
    answer = TaggedPost(
        PostPrediction(["B-LOC", "O", "O"], [Entity(0, 1, "LOC")], [0.75]),
        image_weights=[0.5, 0.25],  # of the first two: the third is beyond `max_images`
        image_gates=[0.9, 0.1],
    )
    write_predictions(tmp_path / "predictions.jsonl", split_of([row], [["B-PER", "I-PER", "O"]]), [answer])
    assert read(tmp_path / "predictions.jsonl") == [
        {
            "schema": "iqcr-mi/predictions/1",
            "id": "17",
            "source": "generated",
            "words": ["Paris", "\x85", "l\u2028x"],
            "gold_tags": ["B-PER", "I-PER", "O"],
            "gold": [{"start": 0, "end": 2, "type": "PER"}],
            "predicted_tags": ["B-LOC", "O", "O"],
            "predicted": [{"start": 0, "end": 1, "type": "LOC", "probability": 0.75}],
            "images": [
                {"name": "a.jpg", "quality": 0.5, "relevance": 0.1, "weight": 0.5, "gate": 0.9},
                {"name": "1", "quality": None, "relevance": -0.2, "weight": 0.25, "gate": 0.1},
                {"name": "c.jpg", "quality": 0.25, "relevance": 0.3, "weight": None, "gate": None},
            ],
        }
    ]


def test_line_of_a_bare_post(tmp_path):
    answer = TaggedPost(PostPrediction(["O"], [], []), None, None)
    write_predictions(
        tmp_path / "predictions.jsonl", split_of([{"tokens": ["a"]}, {"tokens": ["b"]}], None), [answer] * 2
    )
    assert [line["id"] for line in read(tmp_path / "predictions.jsonl")] == ["0", "1"]
    assert read(tmp_path / "predictions.jsonl")[1] == {
        "schema": "iqcr-mi/predictions/1",
        "id": "1",
        "source": None,
        "words": ["b"],
        "gold_tags": None,
        "gold": None,
        "predicted_tags": ["O"],
        "predicted": [],
        "images": [],
    }


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("as it was\n")
    answer = TaggedPost(PostPrediction(["O"], [], []), None, None)
    with pytest.raises(ValueError, match="zip"):
        write_predictions(path, split_of([{"tokens": ["a"]}, {"tokens": ["b"]}], None), [answer])
    assert path.read_text() == "as it was\n"
    write_json(tmp_path / "run.json", {"path": tmp_path, "name": "é"})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"path": str(tmp_path), "name": "é"}
    circle = {}
    circle["self"] = circle
    with pytest.raises(ValueError, match="Circular"):
        write_json(tmp_path / "run.json", circle)
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["name"] == "é"


def test_record_names_command_versions_and_commit(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_mner.py", "recipe.json", "--hub_token", "hf_secret"])
    record = run_record({"seed": 1}, {"train": {"posts": 3}})
    assert record["command"] == ["run_mner.py", "recipe.json"]
    assert (record["recipe"], record["data"]) == ({"seed": 1}, {"train": {"posts": 3}})
    assert record["versions"]["python"] == sys.version.split()[0]
    for package in ("torch", "transformers", "datasets", "pillow"):
        assert record["versions"][package][0].isdigit()


def test_record_tells_places_from_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "posts").mkdir(parents=True)
    recipe = {"dataset": "me/posts", "text_backbone": "me/bert", "vision_backbone": str(tmp_path)}
    recipe["model_name_or_path"] = None
    assert run_record(recipe, {})["local"] == ["vision_backbone", "dataset"]


def git(folder, *command):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *settings, *command], check=True, capture_output=True)


def test_commit_of_the_source_tree_alone(tmp_path, monkeypatch):
    package = tmp_path / "tree" / "mner_training"
    package.mkdir(parents=True)
    (package / "versions.py").write_text("")
    monkeypatch.setattr(versions, "__file__", str(package / "versions.py"))
    assert versions.source_commit() is None
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "someone else's project, which holds the environment")
    assert versions.source_commit() is None
    git(tmp_path / "tree", "init")
    git(tmp_path / "tree", "add", ".")
    git(tmp_path / "tree", "commit", "-m", "ours")
    commit = versions.source_commit()
    assert len(commit) == 40
    (package / "versions.py").write_text("changed")
    assert versions.source_commit() == commit + "+"


class TestTakenUp:
    """What is recorded and said of a run that goes on from a checkpoint."""

    def arguments(self, *flags: str) -> dict:
        model, data, training, *_ = parse_arguments(["--text_backbone", "me/bert", "--dataset", "posts", *flags])
        return vars(model) | vars(data) | training.to_dict()

    def go_on(self, folder, *flags: str, posts: str = "a1", earlier: dict | None = None) -> list[dict]:
        """The record of a run with `flags`, which goes on from one without."""
        data = {"train": {"sha256": "a1"}}
        write_json(folder / "run.json", run_record(self.arguments(), data) | (earlier or {}))
        return resumed_record(folder / "checkpoint-3", self.arguments(*flags), {"train": {"sha256": posts}})

    @pytest.fixture
    def warnings(self, caplog, monkeypatch):
        monkeypatch.setattr(transformers_logging.get_logger("transformers"), "propagate", True)
        monkeypatch.setattr(transformers_logging.get_logger("mner_training"), "propagate", True)
        return caplog

    @pytest.mark.parametrize(
        ("name", "value", "before", "now"),
        [
            ("learning_rate", "0.001", 5e-5, 1e-3),
            ("seed", "7", 42, 7),
            ("dataset", "others", "posts", "others"),
            ("model_config", '{"use_gate": false}', {}, {"use_gate": False}),
            ("lr_scheduler_type", "cosine", "linear", "cosine"),
            ("num_train_epochs", "2", 3.0, 2.0),
        ],
    )
    def test_other_training_is_recorded_and_said(self, tmp_path, warnings, name, value, before, now):
        record = self.go_on(tmp_path, f"--{name}", value)
        assert record == [{"checkpoint": str(tmp_path / "checkpoint-3"), "changed": {name: [before, now]}}]
        (line,) = warnings.messages
        assert f"{tmp_path}/checkpoint-3 was trained with other arguments" in line
        assert f": {name} was {before!r} and is {now!r}. " in line

    def test_other_posts_of_the_same_name(self, tmp_path, warnings):
        assert self.go_on(tmp_path, posts="b2")[0]["changed"] == {"training posts": ["a1", "b2"]}
        assert "training posts was 'a1' and is 'b2'" in warnings.text

    def test_longer_training_is_recorded_alone(self, tmp_path, warnings):
        assert self.go_on(tmp_path, "--num_train_epochs", "5")[0]["changed"] == {"num_train_epochs": [3.0, 5.0]}
        assert not warnings.messages

    def test_what_does_not_train_may_differ(self, tmp_path, warnings):
        flags = ["--output_dir", "x", "--logging_steps", "3", "--per_device_eval_batch_size", "2", "--do_predict"]
        flags += ["--push_to_hub", "--hub_model_id", "me/x", "--dataloader_num_workers", "2", "--disable_tqdm", "true"]
        flags += ["--resume_from_checkpoint", "last", "--run_name", "x", "--save_total_limit", "4", "--do_eval"]
        assert self.go_on(tmp_path, *flags)[0]["changed"] == {}
        assert not warnings.messages

    def test_each_time_stays_in_the_record(self, tmp_path):
        first = self.go_on(tmp_path, "--seed", "7")
        assert self.go_on(tmp_path, earlier={"resumed": first})[0] == first[0]
        (tmp_path / "run.json").unlink()
        (only,) = resumed_record(tmp_path / "checkpoint-3", self.arguments(), {})
        assert only["changed"] is None
