"""What a comparison's folder says of its runs: done, begun, with other arguments; and the command that comes of it."""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import pytest

import run_mner
from mner_training.checkpoints import prepare_output_dir, seal
from mner_training.comparison import runs
from mner_training.comparison.devices import Slot, make_slots
from mner_training.comparison.plan import plan_runs
from mner_training.comparison.recipe import read_comparison
from mner_training.comparison.records import describe_comparison, is_done, locked, write_training_entities
from mner_training.comparison.runs import make_command, remove_models, run_all, sort_out
from mner_training.corpus_loading import load_folder


@pytest.fixture
def comparison(tmp_path, tiny_backbones, tiny_corpus):
    """Two settings of IQCR-MI on the tiny corpus, quick to run."""
    text, vision = map(str, tiny_backbones)
    system = {"text_backbone": text, "vision_backbone": vision, "max_length": 32, "window_overlap": 8}
    system |= {"use_cpu": True, "disable_tqdm": True, "num_train_epochs": 1, "per_device_train_batch_size": 8}
    (tmp_path / "system.json").write_text(json.dumps(system))
    path = str(tmp_path / "system.json")
    recipe = {
        "description": "Two settings.",
        "reference": "both",
        "seeds": [1, 2],
        "datasets": {"tiny": {"dataset": str(tiny_corpus)}},
        "systems": {
            "both": {"recipe": path, "published": {"tiny": [50, 50, 50]}},
            "w/o IQW": {"recipe": path, "set": {"model_config": {"use_quality": False}}},
            "GPT": {"not_run": "no endpoint"},
        },
    }
    (tmp_path / "pair.json").write_text(json.dumps(recipe))
    return read_comparison(tmp_path / "pair.json")


@pytest.fixture
def plans(comparison):
    return plan_runs(comparison, ["both", "w/o IQW"], ["tiny"], [1, 2], {}, {})


def run(command: list[str]) -> None:
    """A command of `make_command`, here."""
    assert command[:2] == [sys.executable, run_mner.__file__]
    run_mner.main(command[2:])


def test_run_follows_its_recipe_and_its_models_can_be_removed(plans, tmp_path):
    plan = plans[2]
    folder = tmp_path / "out" / plan.folder
    assert is_done(folder, plan.arguments) is None
    run(make_command(plan, folder))
    recorded = json.loads((folder / "run.json").read_text())["recipe"]
    assert {name: recorded[name] for name in plan.arguments} == plan.arguments
    assert (recorded["seed"], recorded["output_dir"]) == (2, str(folder))

    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".jsonl", ".md")}
    weights = [folder / "model.safetensors", *folder.glob("checkpoint-*/*")]
    size = sum(path.stat().st_size for path in weights)
    assert len(weights) > 5
    assert remove_models(folder) == size
    assert not list(folder.glob("checkpoint-*"))
    assert not list(folder.rglob("*.safetensors"))
    assert {"predictions.jsonl", "all_results.json", "run.json", "recipe.json"} <= kept.keys()
    assert all((folder / name).read_bytes() == content for name, content in kept.items())


class TestGoingOn:
    def test_begun_run_goes_on_from_its_last_whole_checkpoint(self, plans, tmp_path):
        folder = tmp_path / "out" / plans[0].folder
        assert make_command(plans[0], folder)[3:] == []
        checkpoint = folder / "checkpoint-6"
        checkpoint.mkdir()
        for name in ("trainer_state.json", "scheduler.pt", "model.safetensors"):
            (checkpoint / name).write_text("{}")
        # Killed while the checkpoint was being written: from the beginning.
        assert make_command(plans[0], folder)[3:] == ["--overwrite_output_dir"]
        seal(checkpoint)
        assert make_command(plans[0], folder)[3:] == ["--resume_from_checkpoint", "last"]

    def test_begun_run_without_a_checkpoint_is_done_anew(self, plans, tmp_path):
        folder = tmp_path / "out" / plans[0].folder
        make_command(plans[0], folder)
        (folder / "run.json").write_text("{}")  # the killed run had come so far: run_mner.py alone would refuse
        run(make_command(plans[0], folder))
        assert (folder / "predictions.jsonl").exists()

    def test_done_runs_are_told_from_those_to_do(self, plans, tmp_path):
        for plan, done in zip(plans, (True, False, True), strict=False):
            folder = tmp_path / plan.folder
            make_command(plan, folder)
            if done:
                (folder / "comparison_run.json").write_text(json.dumps({"arguments": plan.arguments}))
        done, to_do = sort_out(plans, tmp_path)
        assert (done, to_do) == ([plans[0], plans[2]], [plans[1], plans[3]])

    @pytest.mark.parametrize("done", [True, False])
    def test_other_arguments_are_refused_with_the_difference(self, plans, tmp_path, done):
        plan = plans[0]
        folder = tmp_path / plan.folder
        make_command(plan, folder)
        if done:
            (folder / "comparison_run.json").write_text(json.dumps({"arguments": plan.arguments}))
        other = plan._replace(arguments=plan.arguments | {"num_train_epochs": 7, "weight_decay": 0.1})
        message = f"{folder} holds a run with other arguments: num_train_epochs was 1 and is 7, weight_decay was None"
        with pytest.raises(ValueError, match=message):
            sort_out([*plans[1:], other], tmp_path)


class TestComparisonFile:
    def test_says_what_was_asked_for_now_and_before(self, comparison, tmp_path):
        content = describe_comparison(tmp_path, comparison, ["w/o IQW"], ["tiny"], [2])
        assert [row["name"] for row in content["systems"]] == ["both", "w/o IQW"]  # never without the reference
        assert content["seeds"] == [2]
        (tmp_path / "comparison.json").write_text(json.dumps(content))
        content = describe_comparison(tmp_path, comparison, ["GPT"], ["tiny"], [1])
        assert [(row["name"], row["folder"], row["not_run"]) for row in content["systems"]] == [
            ("both", "both", None),
            ("w/o IQW", "w-o-iqw", None),
            ("GPT", "gpt", "no endpoint"),
        ]
        assert content["systems"][0]["published"] == {"tiny": [50, 50, 50]}
        assert (content["seeds"], content["datasets"], content["reference"]) == ([1, 2], ["tiny"], "both")

    def test_another_comparison_is_refused(self, comparison, tmp_path):
        (tmp_path / "comparison.json").write_text(json.dumps({"name": "another"}))
        with pytest.raises(ValueError, match="holds the comparison 'another', and this one is 'pair'"):
            describe_comparison(tmp_path, comparison, ["both"], ["tiny"], [1])

    def test_what_the_recipe_no_longer_has_does_not_vanish(self, comparison, tmp_path):
        content = describe_comparison(tmp_path, comparison, ["both"], ["tiny"], [1])
        content["systems"].append({"name": "old", "folder": "old"})
        content |= {"datasets": ["tiny", "large"], "reference": "old"}
        (tmp_path / "comparison.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="the recipe no longer has: old, large, old as the reference"):
            describe_comparison(tmp_path, comparison, ["both"], ["tiny"], [1])


class TestProcesses:
    """Runs that train nothing: what counts is how they are started, noted and ended."""

    WHOLE = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
time.sleep(float(sys.argv[2]))
splits = {"train": {"words_and_tags_sha256": "1"}, "validation": {"words_and_tags_sha256": "2"}}
recipe = {"train_split": "train", "validation_split": "validation"}
(folder / "run.json").write_text(json.dumps({"recipe": recipe, "data": splits, "commit": "abc", "versions": {}}))
(folder / "all_results.json").write_text(json.dumps({"test_f1": 0.5}))
(folder / "predictions.jsonl").write_text("")
"""
    STUBBORN = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    )

    @pytest.fixture
    def command(self, monkeypatch):
        """Function that sets what runs instead of `run_mner.py`."""

        def set_command(make) -> None:
            def make_command(plan, folder):
                folder.mkdir(parents=True, exist_ok=True)
                return [sys.executable, "-c", *make(plan, folder)]

            monkeypatch.setattr(runs, "make_command", make_command)

        return set_command

    def test_record_says_how_many_went_on_at_a_time_and_where(self, plans, tmp_path, command):
        command(lambda plan, folder: [self.WHOLE, str(folder), "0.1" if plan.seed == 1 else "1.5"])
        slots = [Slot("card", {"OMP_NUM_THREADS": "1"})] * 3
        plans = [plan._replace(arguments=plan.arguments | {"use_cpu": plan.seed == 1}) for plan in plans]
        assert run_all(plans[2:3], tmp_path, slots) == []
        assert run_all([plans[0], plans[1], plans[3]], tmp_path, slots) == []
        records = [json.loads((tmp_path / plan.folder / "comparison_run.json").read_text()) for plan in plans]
        assert [record["jobs"] for record in records] == [3, 3, 1, 3]
        assert [record["device"] == "card" for record in records] == [False, False, True, True]
        assert records[0]["device"].endswith(", 1 thread")
        assert records[0]["words_and_tags_sha256"] == {"train": "1", "validation": "2"}

    def test_second_request_to_end_leaves_no_run_behind(self, plans, tmp_path, command, monkeypatch):
        monkeypatch.setattr(runs, "_PATIENCE", 1)
        command(lambda plan, folder: [self.STUBBORN])
        # where several workers share the tests, each of them passes over Ctrl-C
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        started = []
        monkeypatch.setattr(runs.subprocess, "Popen", lambda *a, new=runs.subprocess.Popen, **k: keep(new(*a, **k)))

        def keep(process):
            started.append(process.pid)
            return process

        def interrupt():
            logs = [tmp_path / plan.folder / "log.txt" for plan in plans[:2]]
            while not all(path.exists() and "up" in path.read_text() for path in logs):
                time.sleep(0.05)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.4)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                run_all(plans[:2], tmp_path, [Slot("CPU", {"OMP_NUM_THREADS": "1"})] * 2)
            assert len(started) == 2
            for pid in started:
                with pytest.raises(ProcessLookupError):
                    os.killpg(pid, 0)
        finally:
            thread.join()
            for pid in started:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            after = signal.signal(signal.SIGINT, before)
        assert after is signal.default_int_handler


def test_a_run_that_is_overwritten_is_no_longer_done(tmp_path):
    (tmp_path / "comparison_run.json").write_text("{}")
    prepare_output_dir(tmp_path, do_train=True, overwrite=True)
    assert not (tmp_path / "comparison_run.json").exists()


def test_training_entities_are_those_of_the_training_split(comparison, plans, tmp_path, tiny_corpus):
    write_training_entities(tmp_path, comparison, plans)
    entities = json.loads((tmp_path / "tiny" / "training_entities.json").read_text())
    assert entities == sorted(entities)
    train = load_folder(tiny_corpus)["train"]
    names = train.features["ner_tags"].feature.names
    # "washington jordan" is always one PER in these posts, "paris" one LOC: neighbours of one kind stay apart.
    assert {"B-PER", "B-LOC"} <= {names[tag] for tags in train["ner_tags"] for tag in tags}
    assert entities == [["paris", "LOC"], ["washington jordan", "PER"]]


def test_folder_belongs_to_one_process_at_a_time(tmp_path):
    with locked(tmp_path / "out"), pytest.raises(BlockingIOError, match="Another process works on"):
        locked(tmp_path / "out").__enter__()
    with locked(tmp_path / "out"):
        pass


class TestSlots:
    def test_cores_are_shared_evenly(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
        slots = make_slots(3, use_cpu=True)
        assert [slot.environment for slot in slots] == [{"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}] * 3
        assert slots[0].device.endswith(", 2 threads")
        assert make_slots(None, use_cpu=True)[0].environment["OMP_NUM_THREADS"] == "8"
        for jobs in (0, 9):
            with pytest.raises(ValueError, match=f"--jobs {jobs}: there are 8 cores"):
                make_slots(jobs, use_cpu=True)

    def test_threads_that_the_user_sets_stay(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert make_slots(1, use_cpu=True)[0].environment["OMP_NUM_THREADS"] == "1"

    def test_gpus_are_dealt_out(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        monkeypatch.setattr("mner_training.comparison.devices._gpu_name", lambda gpu: f"card {gpu}")
        slots = make_slots(None, use_cpu=False)
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["5", "GPU-abc"]
        assert [slot.device for slot in slots] == ["card 5", "card GPU-abc"]
        assert len(make_slots(1, use_cpu=False)) == 1
        with pytest.raises(ValueError, match="--jobs 3: there are 2 GPUs"):
            make_slots(3, use_cpu=False)
