"""The recipe of a comparison: which systems on which data sets with which seeds, and the arguments of each run."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from mner_training.recipes import RECIPE_ARGUMENTS, field_names, read_recipe

# The systems' recipes are named relative to it.
REPOSITORY = Path(__file__).resolve().parents[2]
# What each run has from the comparison, or must not have: it is not to be shared, and a token not to be written down.
OF_THE_RUN = ("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "seed", "do_train", "do_eval")
OF_THE_RUN += ("do_predict", "push_to_hub", "hub_token", "search", "search_space", "search_trials", "search_hours")
_ARGUMENTS = field_names(RECIPE_ARGUMENTS)


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        name: As it is shown.
        folder: The name of its folders.
        arguments: Of `run_mner.py`: those of its recipe, without what is of the run.
        changes: Of `run_mner.py`: what differs from its recipe.
        published: By data set the published precision, recall and F1 in percent; ``None`` for one that is not.
        not_run: Why there are no runs of it; ``None`` if there are.
    """

    name: str
    folder: str
    arguments: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    published: dict[str, list[float | None]] = field(default_factory=dict)
    not_run: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A recipe that has been read and checked.

    Attributes:
        name: That of its file.
        description: What it compares.
        reference: The system that the others are compared with.
        seeds: Of the runs of each system on each data set.
        datasets: Arguments of each data set, by name.
        systems: The rows.
        common: Arguments of every run; what a data set or a system says is nearer.
        expected_hours: Of a run, by system and data set; where it is known.
        expected_on: What the hours were reckoned for, in words.
    """

    name: str
    description: str
    reference: str
    seeds: list[int]
    datasets: dict[str, dict[str, Any]]
    systems: list[System]
    common: dict[str, Any]
    expected_hours: dict[str, dict[str, float]]
    expected_on: str


def read_comparison(path: str | Path) -> Comparison:
    """Read a recipe; ``docs/comparing.md`` describes its fields.

    Args:
        path: A JSON file.

    Returns:
        The comparison. The recipes of its systems have been read.

    Raises:
        FileNotFoundError: If the recipe, or that of a system, is not there.
        ValueError: If it is no JSON, a field is unknown, missing or of a wrong kind, or two names would be one folder.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_double)
    except ValueError as error:
        raise ValueError(f"Comparison {path} cannot be read as JSON: {error}.") from error
    where = f"Comparison {path}"
    _check_fields(
        where, content, ("description", "reference", "seeds", "datasets", "systems"), ("expected_hours", "common")
    )
    _check(where, "description", content["description"], str)
    for name in ("datasets", "systems"):
        _check(where, name, content[name], dict)
    seeds = content["seeds"]
    check_seeds(seeds, where)
    datasets = {
        name: _read_arguments(f"{where}, data set {name!r}", value) for name, value in content["datasets"].items()
    }
    for name in datasets:
        if slug(name) != name:
            raise ValueError(
                f"{where}: the data set {name!r} becomes a folder, so its name may hold small letters, digits and "
                f"single hyphens alone, such as {slug(name)!r}."
            )
    systems = [_read_system(where, name, value, datasets) for name, value in content["systems"].items()]
    names = {}
    for system in systems:
        if system.folder in names:
            raise ValueError(
                f"{where}: the systems {names[system.folder]!r} and {system.name!r} would both have the folder "
                f"{system.folder!r}. Name one of them otherwise."
            )
        names[system.folder] = system.name
    reference = content["reference"]
    if reference not in names.values():
        raise ValueError(f"{where}: the reference {reference!r} is none of its systems, {', '.join(names.values())}.")
    hours = content.get("expected_hours", {})
    if hours:
        _check_hours(f"{where}, expected_hours", hours, names.values(), datasets)
    common = _read_arguments(f"{where}, common", content.get("common", {}))
    return Comparison(
        path.stem,
        content["description"],
        reference,
        seeds,
        datasets,
        systems,
        common,
        hours.get("per_run", {}),
        hours.get("on", ""),
    )


def slug(name: str) -> str:
    """A name as that of a folder: small letters, digits, and a hyphen for any run of other characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def check_seeds(seeds: Sequence[int], where: str) -> None:
    """Refuse anything but different numbers from 0 on.

    Raises:
        ValueError: If there is none, one is no such number, or one stands twice: it would count as two runs.
    """
    if not isinstance(seeds, list) or not seeds:
        raise ValueError(f"{where}: `seeds` must be a list of numbers, got {seeds!r}.")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"{where}: {seed!r} is no seed, which is a whole number from 0 to 2**32 - 1.")
        if seeds.count(seed) > 1:
            raise ValueError(f"{where}: the seed {seed} stands there twice.")


def refuse_of_the_run(where: str, arguments: Iterable[str]) -> None:
    """Refuse what the comparison itself decides.

    Raises:
        ValueError: If arguments of `OF_THE_RUN` are among them.
    """
    taken = [name for name in OF_THE_RUN if name in arguments]
    if taken:
        raise ValueError(
            f"{where} may not set {', '.join(taken)}: each run of a comparison has its own folder and seed, and "
            "trains, evaluates and predicts. See --output_dir and --seeds."
        )


def _read_system(where: str, name: str, content: Any, datasets: Mapping[str, Any]) -> System:
    """A system of the recipe, its own recipe read."""
    where = f"{where}, system {name!r}"
    _check_fields(where, content, (), ("recipe", "set", "published", "not_run"))
    if not slug(name):
        raise ValueError(f"{where}: a name needs a letter or a digit.")
    published = content.get("published", {})
    if "published" in content:
        _check(where, "published", published, dict)
    for dataset, scores in published.items():
        if dataset not in datasets:
            raise ValueError(f"{where}, published: there is no data set {dataset!r}, only {', '.join(datasets)}.")
        known = [score for score in scores if score is not None] if isinstance(scores, list) else []
        right = known and len(scores) == 3
        if not right or not all(_is_number(score) and 1 < score <= 100 for score in known):
            raise ValueError(
                f"{where}, published on {dataset}: expected precision, recall and F1 in percent, null for those that "
                f"are not published, got {scores!r}."
            )
    not_run = content.get("not_run")
    if (not_run is None) == ("recipe" not in content):
        raise ValueError(f"{where}: give either its `recipe` or, in `not_run`, why it has none.")
    if not_run is not None:
        _check(where, "not_run", not_run, str)
        return System(name, slug(name), published=published, not_run=not_run)
    _check(where, "recipe", content["recipe"], str)
    path = REPOSITORY / content["recipe"]
    if not path.is_file():
        raise FileNotFoundError(f"{where}: there is no recipe {path}.")
    recipe = {key: value for key, value in read_recipe(path).items() if key not in OF_THE_RUN}
    _check_known(f"{where}, recipe {content['recipe']}", recipe)
    return System(name, slug(name), recipe, _read_arguments(f"{where}, set", content.get("set", {})), published)


def _check_hours(where: str, hours: Any, systems: Iterable[str], datasets: Mapping[str, Any]) -> None:
    """Refuse hours that are of no run or no hours."""
    _check_fields(where, hours, ("on", "per_run"), ())
    _check(where, "on", hours["on"], str)
    _check(where, "per_run", hours["per_run"], dict)
    for system, per_dataset in hours["per_run"].items():
        _check(f"{where}, per_run", system, per_dataset, dict)
        unknown = [name for name in (system,) if name not in systems] or sorted(set(per_dataset) - set(datasets))
        if unknown:
            raise ValueError(f"{where}: there is no {unknown[0]!r} in the comparison.")
        for dataset, value in per_dataset.items():
            if not _is_number(value) or value <= 0:
                raise ValueError(f"{where}: {system} on {dataset} must take a number of hours, got {value!r}.")


def _check(where: str, name: str, value: Any, kind: type) -> None:
    """Refuse a field that is of another kind, or empty."""
    if not isinstance(value, kind) or not value:
        what = "a JSON object with one entry at least" if kind is dict else "a text"
        raise ValueError(f"{where}: `{name}` must be {what}, got {value!r}.")


def _is_number(value: Any) -> bool:
    """Whether a value is a number; JSON's true and false are numbers to Python."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _read_arguments(where: str, content: Any) -> dict[str, Any]:
    """Arguments of `run_mner.py` in a recipe of a comparison."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a JSON object with arguments of run_mner.py, got {content!r}.")
    _check_known(where, content)
    refuse_of_the_run(where, content)
    return content


def _check_known(where: str, arguments: Iterable[str]) -> None:
    """Refuse what `run_mner.py` does not take."""
    unknown = sorted(set(arguments) - _ARGUMENTS)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}. `python run_mner.py --help` lists all arguments.")


def _check_fields(where: str, content: Any, needed: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse unknown and missing fields of an object."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(content).__name__}.")
    unknown, missing = sorted(set(content) - {*needed, *optional}), [name for name in needed if name not in content]
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}. Known are {', '.join((*needed, *optional))}.")
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} is missing.")


def _no_double(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name stands twice: the first value would be lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands in one object twice")
    return content
