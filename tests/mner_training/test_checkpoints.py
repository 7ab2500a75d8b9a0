"""The checkpoint to go on from, and its weights back in the model."""

import json
import logging
import shutil

import pytest
import torch
from transformers import AutoModelForTokenClassification
from transformers.utils import logging as transformers_logging

from mner_training.checkpoints import (
    best_checkpoint,
    checkpoint_to_resume,
    load_weights,
    prepare_output_dir,
    remove_checkpoint,
    remove_older_checkpoints,
    seal,
    what_is_missing,
)


def write_checkpoint(folder, best=None):
    """A whole checkpoint, one of its files in a folder of its own."""
    (folder / "shards").mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}))
    (folder / "scheduler.pt").write_bytes(b"rate")
    (folder / "shards" / "0.distcp").write_bytes(b"weights")
    seal(folder)
    return folder


@pytest.fixture
def run(tmp_path):
    """Checkpoints of steps 9, 10 and 100, of which the last was not finished, and a folder of another name."""
    for step in (9, 10, 100):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-100" / "complete.json").unlink()
    (tmp_path / "checkpoint-x").mkdir()
    return tmp_path


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(transformers_logging.get_logger("transformers"), "propagate", True)
    caplog.set_level(logging.WARNING)
    return caplog


class TestCheckpointToResume:
    def test_newest_whole_checkpoint_by_number(self, run, warnings):
        assert checkpoint_to_resume("last", run) == str(run / "checkpoint-10")
        (line,) = warnings.messages
        assert line == f"{run}/checkpoint-100 is no whole checkpoint and is passed over: it has no complete.json, " + (
            "which is written last."
        )

    def test_nothing_to_go_on_from(self, tmp_path, run, warnings):
        assert checkpoint_to_resume(None, run) is None
        assert checkpoint_to_resume("last", tmp_path / "not there yet") is None
        assert not warnings.messages
        for step in (9, 10):
            (run / f"checkpoint-{step}" / "complete.json").unlink()
        assert checkpoint_to_resume("last", run) is None
        assert len(warnings.messages) == 3

    def test_checkpoint_that_is_named_has_to_be_whole_and_there(self, run):
        with pytest.raises(ValueError, match=r"100 is no whole checkpoint: it has no complete.json.*`last`"):
            checkpoint_to_resume(str(run / "checkpoint-100"), run)
        with pytest.raises(FileNotFoundError, match=r"There is no folder 'True'.*a checkpoint's folder, or `last`"):
            checkpoint_to_resume("True", run)

    def test_no_way_back_behind_later_checkpoints(self, run, tmp_path):
        with pytest.raises(FileExistsError, match=r"has come further than .*checkpoint-9: it holds checkpoint-10\."):
            checkpoint_to_resume(str(run / "checkpoint-9"), run)
        assert checkpoint_to_resume(str(run / "checkpoint-10"), run) == str(run / "checkpoint-10")
        assert checkpoint_to_resume(str(run / "checkpoint-9"), tmp_path / "new") == str(run / "checkpoint-9")


class TestWhole:
    def test_every_file_counts_with_its_size(self, tmp_path):
        checkpoint = write_checkpoint(tmp_path / "checkpoint-1")
        assert what_is_missing(checkpoint) is None
        for path in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != "complete.json"):
            content = path.read_bytes()
            path.unlink()
            assert what_is_missing(checkpoint) is not None
            path.write_bytes(content[:-1])
            assert what_is_missing(checkpoint) is not None
            path.write_bytes(content)
            assert what_is_missing(checkpoint) is None
        (checkpoint / "shards" / "0.distcp").write_bytes(b"weight")
        assert what_is_missing(checkpoint) == "shards/0.distcp has 6 bytes instead of 7"
        shutil.rmtree(checkpoint / "shards")
        assert what_is_missing(checkpoint) == "shards/0.distcp is not there"

    def test_weights_alone_are_not_enough(self, tmp_path):
        checkpoint = tmp_path / "checkpoint-1"
        checkpoint.mkdir()
        (checkpoint / "trainer_state.json").write_text("{}")
        seal(checkpoint)  # as with `save_only_model`
        assert what_is_missing(checkpoint) == "it was saved without scheduler.pt"

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": 1}', '{"files": ["model.safetensors"]}'])
    def test_seal_that_says_nothing(self, tmp_path, content):
        checkpoint = write_checkpoint(tmp_path / "checkpoint-1")
        (checkpoint / "complete.json").write_text(content)
        assert what_is_missing(checkpoint) is not None

    def test_removal_begins_with_the_seal(self, tmp_path, monkeypatch):
        checkpoint = write_checkpoint(tmp_path / "checkpoint-1")

        def interrupted(folder):
            raise KeyboardInterrupt

        monkeypatch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            remove_checkpoint(checkpoint)
        assert (checkpoint / "scheduler.pt").exists()
        assert what_is_missing(checkpoint) is not None


class TestRoom:
    @pytest.mark.parametrize(
        ("best", "limit", "left"),
        [
            (None, None, [2, 4, 6, 10]),
            (None, 0, [2, 4, 6, 10]),
            (None, 1, [10]),
            (None, 2, [6, 10]),
            (4, 1, [4, 10]),
            (4, 2, [4, 10]),
            (4, 3, [4, 6, 10]),
            (10, 1, [10]),
            (10, 2, [6, 10]),
            (1, 2, [6, 10]),  # in another folder
        ],
    )
    def test_oldest_go_first_and_the_best_stays(self, tmp_path, best, limit, left):
        for step in (2, 4, 6, 8, 10):
            write_checkpoint(tmp_path / f"checkpoint-{step}")
        (tmp_path / "checkpoint-8" / "complete.json").unlink()  # of a run that was killed
        remove_older_checkpoints(tmp_path / "checkpoint-10", best and f"/elsewhere/checkpoint-{best}", limit)
        assert sorted(int(path.name.split("-")[1]) for path in tmp_path.iterdir()) == left
        assert all(what_is_missing(path) is None for path in tmp_path.iterdir())


class TestBest:
    def test_found_where_it_is_now(self, tmp_path):
        best = write_checkpoint(tmp_path / "old" / "checkpoint-3")
        last = write_checkpoint(tmp_path / "old" / "checkpoint-6", best=str(best))
        assert best_checkpoint(last, tmp_path / "new") == str(best)
        shutil.move(tmp_path / "old", tmp_path / "moved")
        moved = tmp_path / "moved" / "checkpoint-6"
        assert best_checkpoint(moved, tmp_path / "moved") == str(tmp_path / "moved" / "checkpoint-3")
        assert best_checkpoint(moved, tmp_path / "new") == str(tmp_path / "moved" / "checkpoint-3")
        shutil.rmtree(tmp_path / "moved" / "checkpoint-3")
        with pytest.raises(FileNotFoundError, match=rf"names {best} as the best .*Put it beside checkpoint-6, or"):
            best_checkpoint(moved, tmp_path / "moved")

    def test_none_yet(self, tmp_path):
        assert best_checkpoint(write_checkpoint(tmp_path / "checkpoint-1"), tmp_path) is None


@pytest.mark.parametrize("left", ["run.json", "all_results.json", "predictions.jsonl", "search.db", "checkpoint-10"])
def test_folder_of_an_earlier_run_is_refused(tmp_path, left):
    (tmp_path / left).mkdir() if left.startswith("checkpoint") else (tmp_path / left).write_text("{}")
    with pytest.raises(FileExistsError, match=f"holds an earlier run \\({left}\\).*overwrite_output_dir"):
        prepare_output_dir(tmp_path, do_train=True, overwrite=False)


def test_overwriting_removes_the_earlier_run_and_nothing_else(run):
    shutil.rmtree(run / "checkpoint-x")
    for name in ("run.json", "all_results.json", "notes.txt", "model.safetensors"):
        (run / name).write_text("{}")
    prepare_output_dir(run, do_train=False, overwrite=True)
    assert (run / "checkpoint-10").is_dir()
    prepare_output_dir(run, do_train=True, overwrite=True)
    assert sorted(path.name for path in run.iterdir()) == ["model.safetensors", "notes.txt"]
    prepare_output_dir(run / "new", do_train=True, overwrite=False)


@pytest.mark.parametrize("origin", ["made", "loaded"])
def test_every_weight_comes_back(make_model, tmp_path, origin):
    """A model that was loaded remembers how its weights were named, and saves them under those names."""
    trained = make_model(seed=1)
    if origin == "loaded":
        trained.save_pretrained(tmp_path / "before")
        trained = AutoModelForTokenClassification.from_pretrained(tmp_path / "before")
    trained.save_pretrained(tmp_path / "checkpoint")
    expected = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    for parameter in trained.parameters():
        parameter.data.add_(1)
    for model in (trained, make_model(seed=2)):
        load_weights(model, tmp_path / "checkpoint")
        assert model.state_dict().keys() == expected.keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_checkpoint_of_another_model_is_refused(make_model, tmp_path):
    make_model(use_images=False).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"does not fit the model: .*cannot be taken from it"):
        load_weights(make_model(), tmp_path)
    with pytest.raises((ValueError, RuntimeError), match=r"does not fit the model|mismatched"):
        load_weights(make_model(use_images=False, num_labels=3), tmp_path)
