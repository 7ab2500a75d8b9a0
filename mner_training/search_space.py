"""What a search varies: checked before anything runs, and asked of a trial."""

import math
from dataclasses import fields
from typing import Any, get_args

from transformers import PreTrainedConfig, TrainingArguments

from mner_training.model_types import config_fields
from modeling_iqcr import IQCRConfig
from modeling_iqcr.tagger_config import TaggerConfig

MODEL_PREFIX = "model_config."
# The arguments of the training that may be varied. Others say what is trained on, or where things are written to.
SEARCHED_ARGUMENTS = (
    "learning_rate",
    "head_learning_rate",
    "vision_learning_rate",
    "weight_decay",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "warmup_steps",
    "lr_scheduler_type",
    "max_grad_norm",
    "optim",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "freeze_text",
    "freeze_vision",
)
# Fields of the model that the posts are prepared by, once for all trials, or that the data and the backbones decide.
_FIXED_FIELDS = {"max_images", "use_images", "mean_quality_score", "mean_relevance_score", "confidence_temperature"}
_KEYS = [{"choices"}, {"low", "high"}, {"low", "high", "log"}, {"low", "high", "step"}]
_FORMS = '{"low": 1e-5, "high": 5e-5, "log": true}, {"low": 1, "high": 9, "step": 2} or {"choices": [8, 16]}'


def check_search_space(
    space: dict[str, Any], args: TrainingArguments, config_class: type[TaggerConfig] = IQCRConfig
) -> None:
    """Refuse a search space that does not say clearly what is searched.

    Args:
        space: By name, an argument of the training or ``model_config.`` and a field of the model, either bounds
            (``low``, ``high`` and, where wanted, ``log`` or ``step``), which are included, or ``choices``.
        args: The arguments of the training.
        config_class: Of the model's configuration.

    Raises:
        ValueError: If a name is none that can be searched, or what stands at it is none of the three forms.
    """
    if not space:
        raise ValueError(
            'There is nothing to search: give the recipe a `search_space` such as {"learning_rate": {"low": 1e-5, '
            '"high": 5e-5, "log": true}}, or --search_space.'
        )
    model_fields = {MODEL_PREFIX + name for name in set(config_fields(config_class)) - _FIXED_FIELDS}
    for name, values in space.items():
        if name not in SEARCHED_ARGUMENTS and name not in model_fields:
            known = ", ".join((*SEARCHED_ARGUMENTS, *sorted(model_fields)))
            raise ValueError(f"`search_space`: {name!r} cannot be searched. What can: {known}.")
        if not isinstance(values, dict) or set(values) not in _KEYS:
            raise ValueError(f"`search_space`: {name!r} must have one of the forms {_FORMS}, got {values!r}.")
        problem = _problem_of_choices(values["choices"]) if "choices" in values else _problem_of_bounds(values)
        if problem is None and name in SEARCHED_ARGUMENTS:
            problem = next((found for value in _ends(values) if (found := _problem_of_value(name, value, args))), None)
        if problem:
            raise ValueError(f"`search_space`: {name!r}: {problem}, got {values!r}.")


def check_model_values(space: dict[str, Any], config: PreTrainedConfig) -> None:
    """Refuse values that the model's configuration does not take.

    Raises:
        ValueError: If a bound or a choice of a field is not valid, beside the other fields as they are.
    """
    for name, values in space.items():
        for value in _ends(values) if name.startswith(MODEL_PREFIX) else ():
            try:
                type(config).from_dict(config.to_dict() | {name.removeprefix(MODEL_PREFIX): value})
            except (ValueError, TypeError) as error:
                raise ValueError(f"`search_space`: {name!r} cannot be {value!r}: {error}") from error


def suggest(trial: Any, space: dict[str, Any]) -> dict[str, Any]:
    """Ask a trial of Optuna for one value of each name; asked again, it gives the same ones."""
    suggested = {}
    for name, values in space.items():
        if "choices" in values:
            suggested[name] = trial.suggest_categorical(name, values["choices"])
        elif _is_integer(values["low"]) and _is_integer(values["high"]):
            suggested[name] = trial.suggest_int(name, **values)
        else:
            suggested[name] = trial.suggest_float(name, **values)
    return suggested


def split_values(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of a search space as arguments of the training, and as fields of the model."""
    arguments = {name: value for name, value in values.items() if not name.startswith(MODEL_PREFIX)}
    return arguments, {name.removeprefix(MODEL_PREFIX): values[name] for name in values if name not in arguments}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _ends(values: dict[str, Any]) -> list[Any]:
    """The values that a range lies between, or all choices."""
    return values["choices"] if "choices" in values else [values["low"], values["high"]]


def _problem_of_choices(choices: Any) -> str | None:
    if not isinstance(choices, list) or not choices:
        return "`choices` must be a list with something in it"
    if not all(isinstance(value, str | int | float | bool) for value in choices):
        return "a choice must be a number, a word, true or false"
    if len({_with_type(value) for value in choices}) < len(choices):
        return "a choice stands there twice"
    return None


def _with_type(value: Any) -> str:
    """A value with its type: 1 and true are two choices."""
    return f"{type(value).__name__} {value}"


def _problem_of_bounds(values: dict[str, Any]) -> str | None:
    low, high, step = values["low"], values["high"], values.get("step", 1)
    if not all(_is_number(value) for value in (low, high, step)):
        return "`low`, `high` and `step` must be numbers"
    if not isinstance(values.get("log", False), bool):
        return "`log` must be true or false"
    if low > high:
        return "`low` is more than `high`"
    if values.get("log") and low <= 0:
        return "`low` must be more than 0 where `log` is true"
    if step <= 0:
        return "`step` must be more than 0"
    if _is_integer(low) and _is_integer(high) and not _is_integer(step):
        return "a `step` between integers must be one"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _problem_of_value(name: str, value: Any, args: TrainingArguments) -> str | None:
    """What an argument of the training has against a value."""
    kind = next(field.type for field in fields(args) if field.name == name)
    kinds = get_args(kind) or (kind,)  # `float | None` has two
    if bool in kinds:
        return None if isinstance(value, bool) else f"{value!r} must be true or false"
    if float in kinds:
        return None if _is_number(value) and value >= 0 else f"{value!r} must be a number, and not less than 0"
    if int in kinds:
        return None if _is_integer(value) and value >= 1 else f"{value!r} must be an integer, and not less than 1"
    try:
        type(getattr(args, name))(value)
    except ValueError as error:
        return str(error)
    return None
