"""``run_mner.py --search`` with the real Optuna: what it finds is what a run with it reaches, stopped or not."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

import run_mner
from tests.killed_runs import Moment, output, run_server, start

pytestmark = pytest.mark.slow

SPACE = {
    "learning_rate": {"low": 1e-3, "high": 2e-2, "log": True},
    "per_device_train_batch_size": {"choices": [8, 16]},
    "warmup_steps": {"low": 0.0, "high": 0.5},
    "freeze_text": {"choices": [True, False]},
    "model_config.dropout": {"low": 0.0, "high": 0.5},
    "model_config.initial_quality_scale": {"choices": [1, 10]},
}
SEARCH = ["--search", "--search_space", json.dumps(SPACE), "--search_trials", "7"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread in this process, as in those that are killed: sums over two are rounded differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def without_test(tiny_corpus, tmp_path_factory) -> Path:
    """The tiny corpus as a search may see it: there is no test split."""
    folder = tmp_path_factory.mktemp("without_test")
    for name in ("train", "validation"):
        shutil.copy(tiny_corpus / f"{name}.parquet", folder)
    return folder


@pytest.fixture(scope="module")
def flags(tiny_backbones, without_test) -> list[str]:
    text, vision = map(str, tiny_backbones)
    backbones = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    training = ["--do_train", "--do_predict", "--num_train_epochs", "2", "--seed", "3", "--use_cpu"]
    training += ["--metric_for_best_model", "loss"]  # two trainings that agree in F1 may be different ones
    return [*backbones, *training, "--disable_tqdm", "true", "--dataset", str(without_test)]


@pytest.fixture(scope="module")
def searched(flags, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of a search, and what it returned."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    return folder, run_mner.main([*flags, *SEARCH, "--output_dir", str(folder)])


def trials(result: dict) -> list[dict]:
    """The trials without their durations, and without their numbers, which count those that were killed."""
    kept = ("state", "value", "values")
    return [{name: trial[name] for name in kept} for trial in result["trials"]]


def test_best_of_the_trials_is_found_and_others_are_stopped(searched):
    folder, result = searched
    assert json.loads((folder / "search.json").read_text()) == result
    assert len(result["trials"]) == 7
    complete = [trial for trial in result["trials"] if trial["state"] == "complete"]
    assert len(complete) >= 5
    assert {trial["state"] for trial in result["trials"]} == {"complete", "pruned"}
    assert result["best"]["value"] == min(trial["value"] for trial in complete)
    assert len({trial["value"] for trial in complete}) > 1
    assert all(set(trial["values"]) == set(SPACE) for trial in result["trials"])
    assert len({json.dumps(trial["values"]) for trial in result["trials"]}) == 7


def test_no_trial_leaves_anything(searched):
    folder, _ = searched
    assert {path.name for path in folder.iterdir()} == {"best_recipe.json", "run.json", "search.db", "search.json"}


def test_run_with_the_best_recipe_reaches_what_the_trial_did(searched, tiny_corpus, tmp_path):
    folder, result = searched
    recipe = str(folder / "best_recipe.json")
    results = run_mner.main([recipe, "--dataset", str(tiny_corpus), "--output_dir", str(tmp_path / "run")])
    assert results["eval_loss"] == result["best"]["value"]
    assert "test_f1" in results  # as the search's recipe asked for
    made = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    for name, value in result["best"]["values"].items():
        place = made["model_config"] if name.startswith("model_config.") else made
        assert place[name.removeprefix("model_config.")] == value
    assert json.loads((folder / "best_recipe.json").read_text())["output_dir"] == str(folder / "best")


def test_killed_search_goes_on_as_one_that_was_not(searched, flags, tmp_path):
    _, result = searched
    asked = [*flags, *SEARCH, "--resume_from_checkpoint", "last"]
    with run_server() as server:
        for moment in (Moment("step", "20"), Moment("rename", "best_recipe.json"), Moment("rename", "search.json")):
            process = start(server, asked, tmp_path / "run", moment)
            process.join()
            assert process.exitcode == -signal.SIGKILL, output(tmp_path / "run")
    again = run_mner.main([*asked, "--output_dir", str(tmp_path / "run")])
    assert trials(again) == trials(result)
    assert again["best"]["values"] == result["best"]["values"]
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"best_recipe.json", "search.json"}
    assert not list((tmp_path / "run").glob("*.partial"))


def test_search_that_is_finished_can_be_made_longer_and_not_another(searched, flags, tmp_path):
    folder, result = searched
    shutil.copytree(folder, tmp_path / "run")
    asked = [*flags, *SEARCH, "--output_dir", str(tmp_path / "run")]
    with pytest.raises(FileExistsError, match="holds an earlier run"):
        run_mner.main(asked)
    asked += ["--resume_from_checkpoint", "last"]
    (tmp_path / "run" / "search.json").unlink()
    assert run_mner.main(asked) == result
    longer = run_mner.main([*asked, "--search_trials", "8"])
    assert trials(longer)[:7] == trials(result)
    assert len(longer["trials"]) == 8
    with pytest.raises(ValueError, match="holds a search with other arguments"):
        run_mner.main([*asked, "--num_train_epochs", "3"])
