"""What a search may vary, what it makes of a trial, and the recipe of the best."""

import json
import math

import optuna
import pytest
from transformers.trainer_utils import HPSearchBackend

from mner_training.recipes import parse_arguments
from mner_training.search import Trials, make_recipe, prepare_search, run_search
from mner_training.search_space import (
    SEARCHED_ARGUMENTS,
    check_model_values,
    check_search_space,
    split_values,
    suggest,
)
from mner_training.trainer import MNERTrainer
from tests.hidden_packages import hide_packages

START = ["--text_backbone", "some/encoder", "--dataset", "posts", "--use_cpu", "--do_train", "--search"]
SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
    "head_learning_rate": {"low": 0, "high": 0.01},
    "num_train_epochs": {"low": 2, "high": 8, "step": 2},
    "per_device_train_batch_size": {"choices": [8, 16]},
    "lr_scheduler_type": {"choices": ["linear", "cosine"]},
    "freeze_text": {"choices": [True, False]},
    "model_config.dropout": {"low": 0.0, "high": 0.5},
    "model_config.use_crf": {"choices": [True, False]},
}


def prepare(*flags: str, space=SPACE):
    """The arguments of a search, as `run_mner.py` prepares them."""
    model, data, training, _, search = parse_arguments([*START, "--search_space", json.dumps(space), *flags])
    prepare_search(search, model, data, training)
    return training, search


def test_space_of_a_recipe_arrives_as_it_stands(tmp_path):
    recipe = {"text_backbone": "some/encoder", "dataset": "posts", "use_cpu": True, "search_space": SPACE}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    search = parse_arguments([str(tmp_path / "recipe.json"), "--search", "--search_trials", "3"])[4]
    assert (search.search_space, search.search, search.search_trials) == (SPACE, True, 3)
    with pytest.raises(ValueError, match="`search_trials` must be at least 1, got 0"):
        parse_arguments([*START, "--search_trials", "0"])
    for hours in ("0", "-1", "nan"):
        with pytest.raises(ValueError, match=f"`search_hours` must be more than 0, got {hours}"):
            parse_arguments([*START, "--search_hours", hours])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("learning_rat", {"low": 0, "high": 1}, r"'learning_rat' cannot be searched\. What can: learning_rate, "),
        ("output_dir", {"choices": ["a", "b"]}, "'output_dir' cannot be searched"),
        ("seed", {"choices": [1, 2]}, "'seed' cannot be searched"),
        ("dropout", {"low": 0, "high": 1}, r"'dropout' cannot be searched.*model_config\.dropout"),
        ("model_config.max_images", {"choices": [1, 4]}, "cannot be searched"),
        ("model_config.text_config", {"choices": [1]}, "cannot be searched"),
        ("learning_rate", [1e-5, 1e-3], "must have one of the forms"),
        ("learning_rate", {"low": 1e-5}, "must have one of the forms"),
        ("learning_rate", {"low": 1e-5, "high": 1e-3, "choices": [1]}, "must have one of the forms"),
        ("learning_rate", {"low": 1e-5, "high": 1e-3, "Log": True}, "must have one of the forms"),
        ("learning_rate", {"low": 1e-3, "high": 1e-5}, "`low` is more than `high`"),
        ("learning_rate", {"low": "1e-5", "high": 1e-3}, "must be numbers"),
        ("learning_rate", {"low": 0.1, "high": float("inf")}, "must be numbers"),
        ("learning_rate", {"low": 0, "high": 1e-3, "log": True}, "more than 0 where `log` is true"),
        ("learning_rate", {"low": 1e-5, "high": 1e-3, "log": 1}, "`log` must be true or false"),
        ("learning_rate", {"low": -1e-5, "high": 1e-3}, "-1e-05 must be a number, and not less than 0"),
        ("num_train_epochs", {"low": 1, "high": 9, "step": 0}, "`step` must be more than 0"),
        ("num_train_epochs", {"low": 1, "high": 9, "step": 0.5}, "a `step` between integers must be one"),
        ("per_device_train_batch_size", {"low": 4.0, "high": 8.0}, "4.0 must be an integer, and not less than 1"),
        ("per_device_train_batch_size", {"choices": [8, 0]}, "0 must be an integer, and not less than 1"),
        ("per_device_train_batch_size", {"choices": ["8"]}, "'8' must be an integer"),
        ("per_device_train_batch_size", {"choices": [True]}, "True must be an integer"),
        ("freeze_text", {"choices": [1, 0]}, "1 must be true or false"),
        ("lr_scheduler_type", {"choices": ["linear", "curved"]}, "'?curved'? is not a valid SchedulerType"),
        ("learning_rate", {"choices": []}, "`choices` must be a list with something in it"),
        ("learning_rate", {"choices": 3}, "`choices` must be a list with something in it"),
        ("learning_rate", {"choices": [1e-3, None]}, "must be a number, a word, true or false"),
        ("model_config.use_gate", {"choices": [[True]]}, "must be a number, a word, true or false"),
        ("learning_rate", {"choices": [1e-3, 1e-3]}, "stands there twice"),
    ],
)
def test_space_that_cannot_be_is_refused_before_anything_runs(name, values, message):
    training = parse_arguments(START)[2]
    check_search_space(SPACE, training)
    with pytest.raises(ValueError, match=message) as error:
        check_search_space({**SPACE, name: values}, training)
    assert error.match(f"^`search_space`: '{name}'")


def test_values_that_the_model_does_not_take_are_refused(make_model):
    config = make_model().config
    check_model_values(SPACE, config)
    for values in ({"low": 0.5, "high": 1.5}, {"choices": [0.1, "much"]}):
        with pytest.raises(ValueError, match=r"'model_config\.dropout' cannot be (1\.5|'much'): .*dropout"):
            check_model_values({"model_config.dropout": values}, config)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--search_space", "{}"], "There is nothing to search: give the recipe a `search_space`"),
        (["--do_train", "false", "--do_eval"], "A search trains: set `do_train`"),
        (["--test_split", "validation"], "validation split, which is the test split 'validation'"),
        (["--push_to_hub"], "A search has no model to share"),
        (["--resume_from_checkpoint", "runs/x/checkpoint-3"], "goes on with `--resume_from_checkpoint last`"),
    ],
)
def test_searches_that_cannot_be(flags, message):
    with pytest.raises(ValueError, match=message):
        prepare(*flags)


def test_without_optuna_the_cure_is_named(monkeypatch):
    hide_packages(monkeypatch, "optuna")
    with pytest.raises(ImportError, match=r"pip install 'iqcr-mi\[search\]'"):
        prepare()


def test_trials_write_no_checkpoints_and_predict_nothing():
    training, _ = prepare("--do_predict")
    assert (training.save_strategy, training.load_best_model_at_end) == ("no", False)
    assert (training.do_eval, training.do_predict, training.greater_is_better) == (True, False, True)
    training, _ = prepare("--metric_for_best_model", "loss", "--no_load_best_model_at_end")
    assert training.greater_is_better is False


def test_trial_trains_with_its_values(make_model, tmp_path):
    values = {"warmup_steps": 0.05, "weight_decay": 0.25, "num_train_epochs": 0.5, "head_learning_rate": 0.125}
    values |= {"learning_rate": 0.5, "vision_learning_rate": 0.5, "max_grad_norm": 0.5, "adam_epsilon": 0.5}
    values |= {"adam_beta1": 0.5, "adam_beta2": 0.5, "optim": "adamw_torch", "lr_scheduler_type": "cosine"}
    values |= {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
    values |= {"freeze_text": True, "freeze_vision": False}
    assert set(values) == set(SEARCHED_ARGUMENTS)
    flags = ["--weight_decay", "0", "--num_train_epochs", "3", "--output_dir", str(tmp_path)]
    training, search = prepare(*flags, space={name: {"choices": [value]} for name, value in values.items()})
    trials = Trials(None, training, search.search_space, None, None, None, make_model().config)
    trainer = MNERTrainer(model=make_model(), args=training, eval_dataset=[])
    trainer.hp_search_backend, trainer.hp_space = HPSearchBackend.OPTUNA, trials.training_values
    trainer._hp_search_setup(optuna.trial.FixedTrial(values))
    assert {name: getattr(trainer.args, name) for name in values} == values


@pytest.mark.parametrize(
    ("metric", "figures", "reached"),
    [
        ("f1", [0.2, 0.6, 0.5], [0.2, 0.6, 0.6]),
        ("eval_loss", [3.0, 1.0, 2.0], [3.0, 1.0, 1.0]),
        ("loss", [math.nan, 3.0, math.nan], [math.inf, 3.0, 3.0]),  # a training that diverged
    ],
)
def test_trial_reaches_its_best_evaluation(make_model, metric, figures, reached):
    training, search = prepare("--metric_for_best_model", metric)
    trials = Trials(None, training, search.search_space, None, None, None, make_model().config)
    name = f"eval_{metric.removeprefix('eval_')}"
    assert [trials.objective({name: figure, "eval_other": 9.0}) for figure in figures] == reached


def test_trial_is_asked_for_each_value_in_its_form():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = []
    for _ in range(40):
        trial = study.ask()
        values = suggest(trial, SPACE)
        assert values == suggest(trial, SPACE) == trial.params
        assert list(values) == list(SPACE)
        seen.append(values)
    for name, space in SPACE.items():
        values = {trial[name] for trial in seen}
        if "choices" in space:
            assert values == set(space["choices"])
        else:
            assert space["low"] <= min(values) < max(values) <= space["high"]
    assert {trial["num_train_epochs"] for trial in seen} == {2, 4, 6, 8}
    # evenly over the orders of magnitude: a range without `log` would have one in eleven below 1e-4
    assert 10 < sum(trial["learning_rate"] < 1e-4 for trial in seen) < 30
    arguments, fields = split_values(seen[0])
    assert set(fields) == {"dropout", "use_crf"}
    assert set(arguments) == set(SPACE) - {"model_config.dropout", "model_config.use_crf"}


def test_search_that_is_over_before_its_first_trial_says_so(make_model, tmp_path):
    training, search = prepare("--search_hours", "1e-12", "--output_dir", str(tmp_path))
    trainer = MNERTrainer(model=make_model(), args=training, eval_dataset=[])
    trials = Trials(None, training, SPACE, None, None, None, make_model().config)
    with pytest.raises(ValueError, match=r"No training of this search is complete.*`search_hours`"):
        run_search(trainer, trials, search, {})


@pytest.mark.parametrize("left", [None, '{"best": "of an earlier trial"}'])
def test_search_that_was_killed_behind_its_last_trial_writes_its_results(make_model, tmp_path, left):
    space = {"learning_rate": {"low": 0.0, "high": 1.0}}
    training, search = prepare("--search_trials", "2", "--output_dir", str(tmp_path), space=space)
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'search.db'}", study_name="search", direction="maximize"
    )
    for figure in (0.5, 0.25):
        trial = study.ask()
        trial.suggest_float("learning_rate", 0.0, 1.0)
        study.tell(trial, figure)
    files = [tmp_path / "search.json", tmp_path / "best_recipe.json"]
    for file in files if left else ():
        file.write_text(left)
    trainer = MNERTrainer(model=make_model(), args=training, eval_dataset=[])
    trials = Trials(None, training, space, None, None, None, make_model().config)
    result = run_search(trainer, trials, search, {"dataset": "posts"})
    written, recipe = (json.loads(file.read_text()) for file in files)
    assert written == result
    assert [trial["value"] for trial in result["trials"]] == [0.5, 0.25]
    assert (result["best"]["value"], result["best"]["values"]) == (0.5, study.trials[0].params)
    assert (recipe["dataset"], recipe["learning_rate"]) == ("posts", study.trials[0].params["learning_rate"])


def test_recipe_of_a_run_is_that_run(tmp_path):
    flags = ["--learning_rate", "3e-4", "--head_learning_rate", "1e-3", "--model_config", '{"use_gate": false}']
    flags += ["--images_dirs", "a", "b", "--quality_scorer", '{"name": "maniqa", "num_crops": 2}', "--do_predict"]
    flags += [
        "--save_total_limit",
        "3",
        "--lr_scheduler_type",
        "cosine",
        "--optim",
        "adamw_torch_fused",
        "--seed",
        "5",
    ]
    flags += ["--eval_strategy", "steps", "--eval_steps", "7", "--save_strategy", "steps", "--save_steps", "14"]
    flags += ["--freeze_text", "--broken_images", "drop", "--max_length", "99", "--logging_steps", "3", "--seed", "5"]
    run = parse_arguments([*START[:-1], *flags, "--output_dir", str(tmp_path / "run")])
    recipe = make_recipe((run[0], run[1], run[3]), run[2].to_dict(), run[2])
    assert not {"output_dir", "search", "per_device_train_batch_size"} & set(recipe)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    again = parse_arguments([str(tmp_path / "recipe.json"), "--output_dir", str(tmp_path / "run")])
    for part, other in zip(run, again, strict=True):
        before, after = (value.to_dict() if hasattr(value, "to_dict") else vars(value) for value in (part, other))
        assert before == after
