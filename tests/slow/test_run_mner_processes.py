"""run_mner.py as a command: in two processes at once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ONE = [sys.executable, str(ROOT / "run_mner.py")]
# `--cpu` would start one process, whatever number is asked for; with `--use_cpu` of the script no GPU is touched.
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
TWO = [*LAUNCH, "--main_process_port", "0", str(ROOT / "run_mner.py")]


@pytest.fixture(scope="module")
def start(tiny_backbones, tiny_corpus, tmp_path_factory) -> list[str]:
    """Flags of a new tagger without dropout."""
    folder = tmp_path_factory.mktemp("without_dropout")
    backbones = []
    for name, source in zip(("text", "vision"), tiny_backbones, strict=True):
        shutil.copytree(source, folder / name)
        config = json.loads((folder / name / "config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (folder / name / "config.json").write_text(json.dumps(config))
        backbones += [f"--{name}_backbone", str(folder / name)]
    lengths = ["--max_length", "32", "--window_overlap", "8", "--model_config", '{"dropout": 0.0}']
    return [*backbones, *lengths, "--dataset", str(tiny_corpus), "--use_cpu", "--disable_tqdm", "true"]


def settings() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run(command: list[str], folder: Path) -> dict:
    """The results of a run that must go through."""
    command = [*command, "--output_dir", str(folder)]
    result = subprocess.run(command, env=settings(), capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return json.loads((folder / "all_results.json").read_text())


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def state(folder: Path) -> dict:
    return json.loads((folder / "trainer_state.json").read_text())


def test_two_processes_give_what_one_gives(start, tmp_path):
    speed = ["--do_train", "--do_eval", "--do_predict", "--num_train_epochs", "3", "--learning_rate", "3e-3"]
    alone = run([*ONE, *start, *speed, "--per_device_train_batch_size", "8"], tmp_path / "alone")
    both = run([*TWO, *start, *speed, "--per_device_train_batch_size", "4"], tmp_path / "both")
    assert set(both) == set(alone)
    # as many steps with half the posts per process: there were two
    assert state(tmp_path / "both")["global_step"] == state(tmp_path / "alone")["global_step"] == 18
    assert both["test_support"] == alone["test_support"]
    assert both["test_f1"] > 0.8
    assert [line["words"] for line in lines(tmp_path / "both")] == [
        line["words"] for line in lines(tmp_path / "alone")
    ]

    # The same checkpoint: 13 posts in 15 rows, which two processes cannot share evenly.
    checkpoint = ["--model_name_or_path", str(tmp_path / "alone"), *start[start.index("--dataset") :]]
    again = [*checkpoint, "--do_eval", "--do_predict", "--per_device_eval_batch_size", "2"]
    shared = run([*TWO, *again], tmp_path / "shared")
    for name, value in alone.items():
        if name.startswith(("eval_", "test_")) and not name.endswith(("runtime", "per_second", "loss")):
            assert shared[name] == value, name
    for new, old in zip(lines(tmp_path / "shared"), lines(tmp_path / "alone"), strict=True):
        assert new["predicted_tags"] == old["predicted_tags"]
        assert [image["weight"] for image in new["images"]] == pytest.approx(
            [image["weight"] for image in old["images"]], abs=1e-5
        )


def test_two_processes_give_the_update_of_one_large_batch(start, tmp_path):
    step = ["--do_train", "--max_steps", "1", "--optim", "sgd", "--learning_rate", "0.5", "--eval_strategy", "no"]
    step += ["--save_strategy", "no", "--no_load_best_model_at_end", "--train_sampling_strategy", "sequential"]
    run([*ONE, *start, *step, "--per_device_train_batch_size", "8"], tmp_path / "alone")
    run([*ONE, *start, *step, "--per_device_train_batch_size", "8", "--learning_rate", "0"], tmp_path / "start")
    run([*TWO, *start, *step, "--per_device_train_batch_size", "4"], tmp_path / "both")
    alone, both, before = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "both", "start"))
    assert (alone["classifier.weight"] - before["classifier.weight"]).abs().max() > 1e-2
    for name, tensor in alone.items():
        torch.testing.assert_close(both[name], tensor, atol=1e-5, rtol=0)
