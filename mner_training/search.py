"""``run_mner.py --search``: the best values of a search space, by validation alone, with Optuna."""

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from transformers import PreTrainedModel, set_seed
from transformers.trainer_utils import SaveStrategy

from mner_training.arguments import MNERTrainingArguments, SearchArguments
from mner_training.building import build_model, find_config_class
from mner_training.report import write_json
from mner_training.search_space import check_model_values, check_search_space, split_values, suggest
from mner_training.trainer import MNERTrainer

SEARCH_FILE, BEST_RECIPE, STUDY_FILE = "search.json", "best_recipe.json", "search.db"
_STUDY = "search"
# What stands in the arguments of a run, and in no recipe made from it.
_NOT_IN_RECIPE = ("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "hub_token", "local_rank")


def prepare_search(search: SearchArguments, model_args, data_args, args: MNERTrainingArguments) -> None:
    """Check that a search can be made, and set the training's arguments for its trials.

    Args:
        search: What is searched.
        model_args: `ModelArguments`.
        data_args: `DataArguments`.
        args: The training's arguments, changed in place: trials write no checkpoints, and nothing is predicted.

    Raises:
        ImportError: If Optuna is not installed.
        ValueError: If the space is not valid, or the arguments do not go together with a search.
    """
    _import_optuna()
    check_search_space(search.search_space, args, find_config_class(model_args))
    if not args.do_train:
        raise ValueError("A search trains: set `do_train`.")
    if args.world_size > 1:
        raise ValueError(f"A search runs in one process, got {args.world_size}. Start run_mner.py without a launcher.")
    if args.push_to_hub:
        raise ValueError("A search has no model to share: train the best recipe with `push_to_hub`, not the search.")
    if data_args.validation_split == data_args.test_split:
        raise ValueError(
            f"A search selects on the validation split, which is the test split {data_args.test_split!r} here. Set "
            "another `validation_split`."
        )
    if args.resume_from_checkpoint not in (None, "last"):
        raise ValueError("A search goes on with `--resume_from_checkpoint last`: its trials have no checkpoints.")
    args.do_eval, args.do_predict = True, False
    args.save_strategy, args.load_best_model_at_end = SaveStrategy.NO, False
    if args.greater_is_better is None:
        args.greater_is_better = not args.metric_for_best_model.endswith("loss")
    # The Trainer casts a trial's value to the type that stands there: a share of 0.05 beside the usual 0 would be 0.
    for field in fields(args):
        if field.name in search.search_space and float in (get_args(field.type) or (field.type,)):
            value = getattr(args, field.name)
            setattr(args, field.name, value if value is None else float(value))


class Trials:
    """The models of the trials, each made from a trial's values, and what they reach.

    Args:
        model_args: `ModelArguments`.
        args: The training's arguments.
        space: The search space.
        labels: The tag set to train on.
        means: Mean scores of the training data.
        words: What `build_words` gave.
        config: The configuration of the model without a trial's values.

    Raises:
        ValueError: If the space has a value that the configuration does not take.
    """

    def __init__(self, model_args, args: MNERTrainingArguments, space: dict[str, Any], labels, means, words, config):
        check_model_values(space, config)
        self.model_args, self.args, self.space = model_args, args, space
        self.labels, self.means, self.words = labels, means, words
        self.reached: list[float] = []

    def make_model(self, trial: Any = None) -> PreTrainedModel:
        """A fresh model with a trial's values, as a run with them would begin with."""
        self.reached = []
        arguments, model_fields = split_values(suggest(trial, self.space) if trial is not None else {})
        model_args = copy.copy(self.model_args)
        model_args.model_config = model_args.model_config | model_fields
        model = build_model(model_args, self.labels, self.means, self.words)
        model.freeze_backbones(
            text=arguments.get("freeze_text", self.args.freeze_text),
            vision=arguments.get("freeze_vision", self.args.freeze_vision),
        )
        set_seed(self.args.seed)  # as the Trainer does behind a model that it is given
        return model

    def training_values(self, trial: Any) -> dict[str, Any]:
        """A trial's values of the training's arguments."""
        return split_values(suggest(trial, self.space))[0]

    def objective(self, metrics: dict[str, float]) -> float:
        """The best figure of the trial so far: a run ends with its best checkpoint, so this is what it would reach."""
        name = self.args.metric_for_best_model
        figure = metrics[name if name.startswith("eval_") else f"eval_{name}"]
        if math.isnan(figure):  # which Optuna refuses: the trial would fail, and be done again for ever
            figure = -math.inf if self.args.greater_is_better else math.inf
        self.reached.append(figure)
        return max(self.reached) if self.args.greater_is_better else min(self.reached)


def run_search(
    trainer: MNERTrainer, trials: Trials, search: SearchArguments, recipe: dict[str, Any]
) -> dict[str, Any]:
    """Try values until there are enough trials, and write which were the best.

    A trial draws its values from the seed, its number and the trials before it, so that a search that was stopped goes
    on as one that was not. From the sixth on, trials that are worse than the median of the others at the same epoch
    are stopped: Optuna's median pruner.

    Args:
        trainer: A trainer with the models of `trials`.
        trials: The models.
        search: What is searched, and for how long.
        recipe: The recipe that the best values are put into.

    Returns:
        What ``search.json`` holds.

    Raises:
        ValueError: If the folder holds a search for something else, or the time was over before the first trial.
    """
    optuna = _import_optuna()
    args, folder = trainer.args, Path(trainer.args.output_dir)
    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    place = {"storage": f"sqlite:///{(folder / STUDY_FILE).absolute()}", "study_name": _STUDY, "load_if_exists": True}
    direction = "maximize" if args.greater_is_better else "minimize"
    study = optuna.create_study(direction=direction, **place)
    asked = json.loads(json.dumps({"recipe": recipe, "search_space": search.search_space}))
    if study.user_attrs.setdefault("asked", asked) != asked:
        raise ValueError(f"{folder} holds a search with other arguments. Choose another output_dir.")
    study.set_user_attr("asked", asked)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # it was killed, and is done again
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    start = time.monotonic()
    while (number := len(study.get_trials(states=done))) < search.search_trials:
        if search.search_hours is not None and time.monotonic() - start > 3600 * search.search_hours:
            break
        seed = int(np.random.SeedSequence((args.seed, number)).generate_state(1)[0])
        trainer.hyperparameter_search(
            hp_space=trials.training_values,
            compute_objective=trials.objective,
            n_trials=1,
            direction=direction,
            backend="optuna",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(),
            **place,
        )
        _write_results(study.get_trials(states=done), args, search, recipe)
    # Once more: a search may have been killed behind its last trial and before these files.
    return _write_results(study.get_trials(states=done), args, search, recipe)


def make_recipe(parts: Sequence[Any], asked: dict[str, Any], args: MNERTrainingArguments) -> dict[str, Any]:
    """The arguments of a run as a recipe: those that differ from what they are without being given.

    Args:
        parts: The arguments of model, data and scoring.
        asked: Those of the training by name, as they were before a search set them.
        args: Those of the training.
    """
    recipe = {}
    for part in parts:
        for field in fields(part):
            usual = field.default if field.default_factory is MISSING else field.default_factory()
            value = getattr(part, field.name)
            if value != usual and value not in (None, {}, []):
                recipe[field.name] = value
    usual = type(args)(output_dir=args.output_dir, use_cpu=args.use_cpu).to_dict() | {"use_cpu": False}
    given = {name: value for name, value in asked.items() if value != usual.get(name) and value is not None}
    return recipe | {name: value for name, value in given.items() if name not in _NOT_IN_RECIPE}


def _write_results(
    trials: Sequence[Any], args: MNERTrainingArguments, search: SearchArguments, recipe: dict[str, Any]
) -> dict[str, Any]:
    """Write what came of the trials so far."""
    if not any(trial.state.name == "COMPLETE" for trial in trials):
        raise ValueError("No training of this search is complete, so none is the best. Give it more `search_hours`.")
    folder, result = Path(args.output_dir), _result(trials, args, search)
    write_json(folder / BEST_RECIPE, _best_recipe(recipe, result, folder))
    write_json(folder / SEARCH_FILE, result)
    return json.loads(json.dumps(result))


def _result(trials: Sequence[Any], args: MNERTrainingArguments, search: SearchArguments) -> dict[str, Any]:
    """What ``search.json`` holds."""
    best: Callable = max if args.greater_is_better else min
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]  # the first five are never stopped
    top = best(complete, key=lambda trial: trial.value)
    return {
        "metric": args.metric_for_best_model,
        "greater_is_better": args.greater_is_better,
        "seed": args.seed,
        "search_space": search.search_space,
        "best": {"trial": top.number, "value": top.value, "values": top.params},
        "trials": [
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "value": trial.value,
                "values": trial.params,
                "seconds": trial.duration.total_seconds(),
            }
            for trial in trials
        ],
    }


def _best_recipe(recipe: dict[str, Any], result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The recipe with the best values in it."""
    arguments, model_fields = split_values(result["best"]["values"])
    description = (
        f"The best of {len(result['trials'])} trials of a search: trial {result['best']['trial']}, "
        f"{result['metric']} {result['best']['value']:.4f} on the validation split with seed {result['seed']}."
    )
    model_config = recipe.get("model_config", {}) | model_fields
    output = {"output_dir": str(folder / "best")}
    return {"description": description} | recipe | arguments | output | {"model_config": model_config}


def _import_optuna():
    """Optuna, or the cure."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError("A search needs Optuna: pip install 'iqcr-mi[search]'.") from error
    return optuna
