"""scripts/compare_systems.py as a user starts it: whole comparisons, runs that fail, and runs that are stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import ResNetConfig, ResNetModel, ViTImageProcessorPil

from mner_training.comparison.recipe import read_comparison
from tests.small_release import write_release

ROOT = Path(__file__).resolve().parents[2]
TEXT = ("google-bert/bert-base-uncased", "google-bert/bert-base-cased", "FacebookAI/roberta-base")
VIT, RESNET = "google/vit-base-patch16-224", "microsoft/resnet-152"
SCORERS_FILE = """
import numpy
from processing_iqcr.scorers import register_quality_scorer, register_relevance_scorer

register_quality_scorer("file-bright", lambda images: [numpy.asarray(i).mean() / 255 for i in images], version="1")
register_relevance_scorer("file-length", lambda texts, images: [len(text) / 100 for text in texts], version="1")
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny_resnet(tmp_path_factory) -> Path:
    """A ResNet of two stages."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("resnet")
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def small_run(tmp_path, tiny_backbones, tiny_resnet):
    """Function that gives the flags which make a recipe for MNER-MI and a GPU run on its release in small, here."""

    def flags(recipe: str) -> list[str]:
        text, vision = map(str, tiny_backbones)
        folders = dict.fromkeys(TEXT, text) | {VIT: vision, RESNET: str(tiny_resnet)}
        comparison = read_comparison(ROOT / "recipes" / "compare" / recipe)
        used = {
            system.arguments.get(name)
            for system in comparison.systems
            for name in ("text_backbone", "vision_backbone")
        }
        (tmp_path / "scorers.py").write_text(SCORERS_FILE)
        scorers = ["--quality_scorer", "file-bright", "--relevance_scorer", "file-length"]
        scorers += ["--scorers_file", str(tmp_path / "scorers.py"), "--score_cache", str(tmp_path / "scores.sqlite")]
        backbones = json.dumps({hub: folder for hub, folder in folders.items() if hub in used})
        small = ["--max_length", "32", "--window_overlap", "8", "--num_train_epochs", "1", "--bf16", "false"]
        small += ["--use_cpu", "--dataloader_num_workers", "0"]
        return [
            "--dataset_source",
            str(write_release(tmp_path / "MNER-MI")),
            "--backbones",
            backbones,
            *scorers,
            *small,
        ]

    return flags


def start(*arguments: str | Path) -> subprocess.Popen:
    """Begin a comparison."""
    command = [sys.executable, str(ROOT / "scripts" / "compare_systems.py"), *map(str, arguments)]
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # tests that run in the background pass over Ctrl-C, and their children would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def compare(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and output of a comparison."""
    process = start(*arguments)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def all_files(folder: Path) -> dict[Path, bytes]:
    """The content of all that runs and table left."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_whole(recipe: Path, out: Path, dataset: str) -> dict[str, Path]:
    """Every system of a recipe has run with the seed 1 and stands in the table; its run's folder by name."""
    comparison = read_comparison(recipe)
    table = (out / "table.md").read_text(encoding="utf-8")
    folders = {}
    for system in comparison.systems:
        folder = folders[system.name] = out / dataset / system.folder / "seed-1"
        record = read(folder / "comparison_run.json")
        assert (record["system"], record["dataset"], record["seed"]) == (system.name, dataset, 1)
        assert record["seconds"] > 1
        assert record["peak_memory_bytes"] > 1e8
        assert record["device"].endswith(" thread")
        assert not list(folder.rglob("*.safetensors"))
        rows = [line for line in table.splitlines() if line.startswith(f"| {system.name} | 1 of 1 |")]
        assert len(rows) == 1, system.name
        if dataset in system.published:
            assert " / ".join(f"{score:.2f}" for score in system.published[dataset]) in rows[0]
    return folders


def test_table2_on_the_small_release(tmp_path, small_run):
    recipe, out = ROOT / "recipes" / "compare" / "table2.json", tmp_path / "out"
    command = [
        recipe,
        "--output_dir",
        out,
        "--datasets",
        "mner-mi",
        "--seeds",
        "1",
        "--jobs",
        "2",
        *small_run(recipe.name),
    ]
    status, output = compare(*command)
    assert status == 0, output
    folders = check_whole(recipe, out, "mner-mi")
    types = {name: read(folder / "config.json")["model_type"] for name, folder in folders.items()}
    assert types["IQCR-MI"] == "iqcr"
    assert {types["BERT"], types["BERT-CRF"], types["RoBERTa-CRF"]} == {"bert_crf"}
    assert types["HBiLSTM-CRF"] == "lstm_crf"
    assert [read(folders[name] / "config.json")["max_images"] for name in ("UMT", "UMT-MI")] == [1, 4]
    assert read(out / "mner-mi" / "training_entities.json") == [
        ["Los Angeles", "LOC"],
        ["Oscars", "MISC"],
        ["Washington", "PER"],
    ]
    # Again: all is done, and the table is the same to the byte.
    before = all_files(out)
    status, output = compare(*command)
    assert (status, "10 runs, 10 of them done" in output) == (0, True), output
    assert all_files(out) == before


def test_table3_on_the_small_release(tmp_path, small_run):
    recipe, out = ROOT / "recipes" / "compare" / "table3.json", tmp_path / "out"
    flags = small_run(recipe.name)
    status, output = compare(
        recipe, "--output_dir", out, "--datasets", "mner-mi-plus", "--seeds", "1", "--jobs", "2", *flags
    )
    assert status == 0, output
    folders = check_whole(recipe, out, "mner-mi-plus")
    configs = {name: read(folder / "config.json") for name, folder in folders.items()}
    used = {name: (config["use_quality"], config["use_relevance"]) for name, config in configs.items()}
    assert used.pop("w/o IQW") == (False, True)
    assert used.pop("w/o CMW") == (True, False)
    assert used.pop("w/o IQW and CMW") == (False, False)
    assert set(used.values()) == {(True, True)}
    pictures = {}
    for name, folder in folders.items():
        lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
        pictures[name] = [[image["name"] for image in line["images"]] for line in lines]
        control = read(folder / "run.json")["data"]["corpus"].get("control")
        assert (control or {"name": None})["name"] == (
            name.replace(" ", "_") if name in used and name != "IQCR-MI" else None
        )
    assert len(pictures["IQCR-MI"]) == 2
    assert pictures["swapped pictures"] == pictures["IQCR-MI"][::-1]
    status, output = compare(recipe, "--output_dir", out, "--verify")
    assert status == 0, output


@pytest.fixture
def long_recipe(tmp_path, tiny_backbones, tiny_corpus) -> Path:
    """Two runs of eight short epochs on the tiny corpus, the second of which fails."""
    text, vision = map(str, tiny_backbones)
    system = {"text_backbone": text, "vision_backbone": vision, "max_length": 32, "window_overlap": 8}
    system |= {"use_cpu": True, "num_train_epochs": 8, "per_device_train_batch_size": 8, "learning_rate": 1e-3}
    (tmp_path / "system.json").write_text(json.dumps(system))
    path = str(tmp_path / "system.json")
    content = {
        "description": "One that is stopped and one that fails.",
        "reference": "IQCR-MI",
        "seeds": [1],
        "datasets": {"tiny": {"dataset": str(tiny_corpus)}},
        "systems": {
            "IQCR-MI": {"recipe": path},
            "broken": {"recipe": path, "set": {"text_backbone": str(tmp_path / "nowhere")}},
        },
    }
    (tmp_path / "long.json").write_text(json.dumps(content))
    return tmp_path / "long.json"


def run_of(process: subprocess.Popen) -> int:
    """The process of the run that a comparison has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(int(pid) for pid in children if b"run_mner.py" in Path(f"/proc/{pid}/cmdline").read_bytes())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, process: subprocess.Popen | None = None):
    """Wait until something is true, while a process lives."""
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    return value


def checkpoints(folder: Path) -> set[str]:
    """The checkpoints that are whole."""
    return {path.parent.name for path in folder.glob("checkpoint-*/complete.json")}


def test_stopped_and_killed_comparison_goes_on_and_failures_stay_apart(tmp_path, long_recipe):
    out = tmp_path / "out"
    folder = out / "tiny" / "iqcr-mi" / "seed-1"
    alone = ["--systems", "IQCR-MI", "--output_dir"]
    assert compare(long_recipe, *alone, tmp_path / "whole")[0] == 0

    # Ctrl-C ends the run as well.
    process = start(long_recipe, *alone, out)
    wait_for(lambda: checkpoints(folder), process)
    run = run_of(process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, "The same command goes on" in output) == (130, True), output
    assert not is_alive(run)
    first = checkpoints(folder)

    # A comparison that is killed leaves its run behind, which keeps the folder to itself.
    process = start(long_recipe, *alone, out)
    wait_for(lambda: checkpoints(folder) - first, process)
    run = run_of(process)
    process.kill()
    process.wait()
    os.kill(run, signal.SIGSTOP)  # or it would be done before we have looked
    assert is_alive(run)
    status, output = compare(long_recipe, *alone, out)
    assert status == 1
    assert "Another process works on" in output
    os.killpg(run, signal.SIGKILL)
    wait_for(lambda: not is_alive(run))

    (out / "tiny" / "training_entities.json").write_text("[]")  # of the data set as it was before
    # What has been stopped twice ends as what has not, and the run that fails takes nothing with it.
    status, output = compare(long_recipe, "--output_dir", out, "--keep_models")
    assert status == 1
    assert "FAILED: broken on tiny, seed 1 ended with the status 1" in output
    assert "nowhere" in output
    assert (
        f"1 of 2 runs failed; the same command tries them again:\n    {out / 'tiny' / 'broken' / 'seed-1'}" in output
    )
    assert read(out / "tiny" / "training_entities.json") == read(tmp_path / "whole/tiny/training_entities.json") != []
    record = read(folder / "comparison_run.json")
    assert (record["resumed"], record["seconds"]) == (True, None)
    assert len(read(folder / "run.json")["resumed"]) == 2
    assert (folder / "model.safetensors").exists()
    whole = tmp_path / "whole" / "tiny" / "iqcr-mi" / "seed-1"
    assert (folder / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    assert not (whole / "model.safetensors").exists()
    table = (out / "table.md").read_text()
    assert "| IQCR-MI | 1 of 1 |" in table
    assert "| broken | 0 of 1 |" in table
