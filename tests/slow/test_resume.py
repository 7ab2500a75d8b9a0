"""A run that is killed, at any moment, and taken up again ends as one that was not: bit for bit."""

import json
import re
import signal
import socket
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mner_training.checkpoints import checkpoint_to_resume, what_is_missing
from tests.killed_runs import Moment, moments, output, run_server, start

pytestmark = pytest.mark.slow

FLAGS = ["--do_train", "--do_eval", "--do_predict", "--use_cpu", "--disable_tqdm", "true", "--logging_steps", "1"]
FLAGS += ["--model_config", '{"dropout": 0.3, "image_dropout": 0.3}', "--seed", "1", "--num_train_epochs", "2"]
FLAGS += ["--learning_rate", "3e-3", "--resume_from_checkpoint", "last"]
# 48 posts are 6 steps an epoch, of two batches each: checkpoints 4 and 8 lie in the midst of an epoch.
STEPS = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2"]
STEPS += ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", "4", "--eval_steps", "4"]
# After the checkpoint of the first epoch's last step comes the evaluation at its end.
APART = ["--per_device_train_batch_size", "8", "--no_load_best_model_at_end", "--save_strategy", "steps"]
APART += ["--save_steps", "6", "--save_total_limit", "2"]
EPOCHS = ["--per_device_train_batch_size", "8"]
# The first checkpoint is the best, and stays: the run ends with its weights, and removes the last checkpoint.
WORST = [*STEPS, "--greater_is_better", "false"]

# Moments of the run with `STEPS`, which keeps one checkpoint: the second one is written, and the first one removed.
MOMENTS = [
    Moment("rename", "run.json"),
    Moment("step", "3"),
    Moment("torn", "checkpoint-4/model.safetensors"),
    Moment("rename", "checkpoint-4/complete.json"),
    Moment("step", "11"),
    Moment("torn", "checkpoint-8/model.safetensors"),
    Moment("torn", "checkpoint-8/optimizer.pt"),
    Moment("torn", "checkpoint-8/rng_state.pth"),
    Moment("torn", "checkpoint-8/trainer_state.json"),
    Moment("rename", "checkpoint-8/complete.json"),
    Moment("remove", "checkpoint-4/complete.json"),
    Moment("remove", "checkpoint-4/model.safetensors"),
    Moment("torn", "model.safetensors"),
    Moment("rename", "train_results.json"),
    Moment("torn", "all_results.partial"),
    Moment("torn", "predictions.partial"),
    Moment("torn", "README.md"),
]


class Runs:
    """Runs with the same posts and backbones.

    Args:
        server: What forks them.
        flags: Their flags.
        folder: Where they write to.
    """

    def __init__(self, server, flags: list[str], folder: Path):
        self.server, self.flags, self.folder = server, flags, folder
        self.whole: dict[tuple[str, ...], Path] = {}

    def finish(self, flags: list[str], folder: Path) -> Path:
        """A run that must go through."""
        process = start(self.server, [*self.flags, *flags], folder)
        process.join()
        assert process.exitcode == 0, output(folder)
        return folder

    def kill(self, flags: list[str], folder: Path, moment: Moment) -> None:
        """A run that dies at a moment."""
        process = start(self.server, [*self.flags, *flags], folder, moment)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"There was no {moment}.\n{output(folder)}"

    def unbroken(self, flags: list[str]) -> Path:
        """The folder of the run that nobody killed, made once."""
        key = tuple(flags)
        if key not in self.whole:
            self.whole[key] = self.finish(flags, self.folder / f"unbroken{len(self.whole)}")
        return self.whole[key]


@pytest.fixture(scope="module")
def runs(tiny_backbones, tiny_corpus, tmp_path_factory) -> Runs:
    text, vision = map(str, tiny_backbones)
    backbones = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    with run_server() as server:
        yield Runs(server, [*backbones, "--dataset", str(tiny_corpus), *FLAGS], tmp_path_factory.mktemp("runs"))


def figures(values: dict) -> dict:
    """The figures that depend on data and model alone; the training loss is of the steps since the start."""
    return {name: value for name, value in values.items() if not re.search("runtime|per_second|flos|train_loss", name)}


def assert_same(folder: Path, whole: Path, history: bool = True) -> None:
    """Weights, all results, all predictions, and the loss, the gradient and the evaluations on the way."""
    weights, expected = (load_file(path / "model.safetensors") for path in (folder, whole))
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensor.equal(weights[name]), name
    results, expected = (json.loads((path / "all_results.json").read_text()) for path in (folder, whole))
    assert figures(results) == figures(expected)
    assert (folder / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    state, expected = (json.loads((path / "trainer_state.json").read_text()) for path in (folder, whole))
    assert state["global_step"] == expected["global_step"]
    assert state["best_global_step"] == expected["best_global_step"]
    histories = [[figures(entry) for entry in entries["log_history"]] for entries in (state, expected)]
    assert histories[0] == histories[1] or not history
    names = [sorted(path.name for path in run.iterdir()) for run in (folder, whole)]
    assert names[0] == names[1]  # nothing half written is left
    for checkpoint in folder.glob("checkpoint-*"):
        assert what_is_missing(checkpoint) is None


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: " ".join(moment))
def test_killed_at_any_moment(runs, tmp_path, moment):
    runs.kill(STEPS, tmp_path / "run", moment)
    assert_same(runs.finish(STEPS, tmp_path / "run"), runs.unbroken(STEPS))


def test_unbroken_run_passes_all_moments_and_no_two_steps_are_alike(runs):
    assert set(MOMENTS) <= set(moments(runs.unbroken(STEPS)))
    state = json.loads((runs.unbroken(STEPS) / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert len(losses) == len(set(losses)) == 12


def test_killed_over_and_over_again(runs, tmp_path):
    for moment in (
        Moment("step", "2"),
        Moment("torn", "checkpoint-4/optimizer.pt"),
        Moment("torn", "checkpoint-8/optimizer.pt"),
        Moment("torn", "checkpoint-8/optimizer.pt"),
        Moment("remove", "checkpoint-4/model.safetensors"),
        Moment("step", "5"),  # the fifth since it was taken up
        Moment("torn", "model.safetensors"),
    ):
        runs.kill(STEPS, tmp_path / "run", moment)
    assert_same(runs.finish(STEPS, tmp_path / "run"), runs.unbroken(STEPS))


def test_unfinished_checkpoint_that_is_named_is_refused(runs, tmp_path):
    runs.kill(STEPS, tmp_path / "run", Moment("torn", "checkpoint-8/rng_state.pth"))
    named = [*STEPS, "--resume_from_checkpoint", str(tmp_path / "run" / "checkpoint-8")]
    process = start(runs.server, [*runs.flags, *named], tmp_path / "run")
    process.join()
    assert process.exitcode == 1
    words = r"ValueError: .*checkpoint-8 is no whole checkpoint: it has no complete\.json"
    assert re.search(words, output(tmp_path / "run"))
    named = [*STEPS, "--resume_from_checkpoint", str(tmp_path / "run" / "checkpoint-4")]
    assert_same(runs.finish(named, tmp_path / "run"), runs.unbroken(STEPS))


@pytest.mark.parametrize(
    ("flags", "moment"),
    [
        (WORST, Moment("torn", "checkpoint-12/model.safetensors")),
        (WORST, Moment("remove", "checkpoint-12/model.safetensors")),  # by the Trainer, at its end
        (WORST, Moment("rename", "eval_results.json")),
        ([*STEPS, "--dataloader_num_workers", "2", "--dataloader_persistent_workers"], Moment("step", "19")),
        ([*STEPS, "--train_sampling_strategy", "random"], Moment("step", "19")),
        ([*STEPS, "--max_steps", "8", "--no_load_best_model_at_end"], Moment("rename", "train_results.json")),
        (EPOCHS, Moment("step", "8")),
        ([*EPOCHS, "--dataloader_num_workers", "2", "--dataloader_persistent_workers"], Moment("step", "8")),
        (APART, Moment("step", "8")),
    ],
    ids=lambda value: " ".join(value if isinstance(value, Moment) else value[2:]),
)
def test_killed_in_other_settings(runs, tmp_path, flags, moment):
    whole = runs.unbroken(flags)
    runs.kill(flags, tmp_path / "run", moment)
    # In the setting apart the evaluation at the first epoch's end is not made up for; nothing hangs on it.
    assert_same(runs.finish(flags, tmp_path / "run"), whole, history=flags is not APART)


class TestTwoProcesses:
    # Checkpoint 4 lies in the midst of the second epoch of three steps.
    flags = ("--per_device_train_batch_size", "8", *STEPS[4:], "--num_train_epochs", "4")

    def run(self, runs, folder: Path, kills: tuple[Moment | None, Moment | None] = (None, None)) -> list[int]:
        """Both exit codes; when one process dies the other is killed, as its launcher does."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes = [
            start(runs.server, [*runs.flags, *self.flags], folder, kill, shared | {"RANK": rank, "LOCAL_RANK": rank})
            for rank, kill in zip("01", kills, strict=True)
        ]
        dying = 1 if kills[1] else 0
        processes[dying].join()
        if any(kills):
            processes[1 - dying].join(3)
            processes[1 - dying].kill()
        for process in processes:
            process.join()
        return [process.exitcode for process in processes]

    @pytest.fixture(scope="class")
    def whole(self, runs) -> Path:
        folder = runs.folder / "two"
        assert self.run(runs, folder) == [0, 0], output(folder)
        return folder

    @pytest.mark.parametrize(
        ("kills", "left"),
        [
            ((None, Moment("write", "checkpoint-8/rng_state_1.pth")), "checkpoint-4"),
            ((Moment("rename", "checkpoint-8/complete.json"), None), "checkpoint-4"),
            ((Moment("step", "11"), None), "checkpoint-8"),
        ],
        ids=str,
    )
    def test_killed(self, runs, whole, tmp_path, kills, left):
        folder = tmp_path / "run"
        assert -signal.SIGKILL in self.run(runs, folder, kills)
        assert checkpoint_to_resume("last", folder) == str(folder / left)
        assert self.run(runs, folder) == [0, 0], output(folder)
        assert_same(folder, whole)
