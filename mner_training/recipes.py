"""A recipe in JSON, and flags that override it, to the arguments of a program."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from mner_training.arguments import (
    DataArguments,
    MNERTrainingArguments,
    ModelArguments,
    ScoringArguments,
    SearchArguments,
    read_object,
)

# Keys of a recipe that are for its reader: what it is, and where each value comes from.
RECIPE_NOTES = ("description", "sources")
# What a recipe of `run_mner.py` may hold.
RECIPE_ARGUMENTS = (ModelArguments, DataArguments, MNERTrainingArguments, ScoringArguments, SearchArguments)


class _Parser(HfArgumentParser):
    """A parser whose errors are exceptions, without two pages of usage before them."""

    def error(self, message: str):
        raise ValueError(f"{message}. `python {self.prog} --help` lists all arguments.")


def parse_arguments(
    argv: list[str],
) -> tuple[ModelArguments, DataArguments, MNERTrainingArguments, ScoringArguments, SearchArguments]:
    """Read a recipe and the flags after it.

    Args:
        argv: Command-line arguments; the first one may be a recipe (``*.json``), flags override its values.

    Returns:
        The arguments of model, data, training, scoring and search.

    Raises:
        ValueError: If the recipe is no JSON object, an argument is unknown or has a wrong value, or arguments do not
            fit together.
        FileNotFoundError: If there is no such recipe.
    """
    return parse_recipe(argv, RECIPE_ARGUMENTS, "run_mner.py")


def parse_recipe(argv: list[str], dataclass_types: tuple[type, ...], prog: str) -> tuple:
    """Read of a recipe, and of the flags after it, what a program asks for.

    Args:
        argv: Command-line arguments; the first one may be a recipe (``*.json``), flags override its values.
        dataclass_types: What the program takes. Of a recipe it may pass over the rest of `RECIPE_ARGUMENTS`.
        prog: The program's name, for its errors.

    Returns:
        One object of each type.

    Raises:
        ValueError: As `parse_arguments`.
        FileNotFoundError: If there is no such recipe.
    """
    # An abbreviated flag would set another argument than the one that was meant, and say nothing.
    parser = _Parser(dataclass_types, allow_abbrev=False, prog=prog)
    if argv and argv[0].endswith(".json"):
        recipe = read_recipe(argv[0])
        in_recipes, taken = field_names(RECIPE_ARGUMENTS), field_names(set(RECIPE_ARGUMENTS) & set(dataclass_types))
        unknown = sorted(set(recipe) - in_recipes)
        if unknown:
            raise ValueError(f"Recipe {argv[0]}: unknown {', '.join(unknown)}. `python run_mner.py --help` lists all.")
        recipe = {name: value for name, value in recipe.items() if name in taken}
        # What has no form as a flag stays as it is; everything else is a flag, checked as flags are.
        as_is = {name: value for name, value in recipe.items() if value is None or isinstance(value, list)}
        parser.set_defaults(**as_is)
        argv = [_as_flag(name, value) for name, value in recipe.items() if name not in as_is] + argv[1:]
    return parser.parse_args_into_dataclasses(args=_merge_model_config(argv), look_for_args_file=False)


def parse_flags(argv: list[str], prog: str) -> dict[str, Any]:
    """Read flags of `run_mner.py` without those that are not there.

    Args:
        argv: Command-line arguments, no recipe among them.
        prog: The program's name, for its errors.

    Returns:
        The value of each flag, as it would stand in a recipe.

    Raises:
        ValueError: If a flag is unknown or its value is of a wrong kind.
    """
    parser = _Parser(RECIPE_ARGUMENTS, allow_abbrev=False, prog=prog)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return vars(parser.parse_args(_merge_model_config(argv)))


def field_names(dataclass_types: Iterable[type]) -> set[str]:
    """The names of what dataclasses take."""
    return {field.name for dataclass in dataclass_types for field in fields(dataclass) if field.init}


def _merge_model_config(argv: list[str]) -> list[str]:
    """One `--model_config` out of several: a flag changes the fields that it names and leaves the recipe's others."""
    merged, rest = {}, []
    arguments = iter(argv)
    for argument in arguments:
        if argument.partition("=")[0] != "--model_config":
            rest.append(argument)
            continue
        value = argument.partition("=")[2] if "=" in argument else next(arguments, "")
        merged |= read_object(value, "model_config")
    return [*rest, f"--model_config={json.dumps(merged)}"] if merged else rest


def _as_flag(name: str, value: Any) -> str:
    """A value of a recipe as it would stand on the command line."""
    return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The values of a recipe, without the notes for its reader."""
    try:
        recipe = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"Recipe {path} is not JSON: {error}.") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"Recipe {path} must be a JSON object, got {type(recipe).__name__}.")
    return {name: value for name, value in recipe.items() if name not in RECIPE_NOTES}
