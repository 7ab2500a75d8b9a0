"""The runs of a comparison: every system on every data set with every seed, each with all its arguments."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mner_training.arguments import read_object
from mner_training.comparison.recipe import Comparison, refuse_of_the_run

_BACKBONES = {"text_backbone": "text_revision", "vision_backbone": "vision_revision"}


class RunPlan(NamedTuple):
    """One run of a comparison.

    Attributes:
        system: The system's name.
        dataset: The data set's name.
        seed: Its seed.
        folder: Its folder under that of the comparison.
        arguments: All arguments of `run_mner.py` but the folder.
    """

    system: str
    dataset: str
    seed: int
    folder: str
    arguments: dict[str, Any]


def plan_runs(
    comparison: Comparison,
    systems: Iterable[str],
    datasets: Iterable[str],
    seeds: Iterable[int],
    flags: Mapping[str, Any],
    backbones: Mapping[str, str],
) -> list[RunPlan]:
    """List runs with their arguments.

    The nearest value counts: a flag, else the system's change, the data set's, that which is common to all, and last
    that of the system's recipe. ``model_config`` is merged field by field.

    Args:
        comparison: The recipe.
        systems: Names of systems; those that are not run are passed over.
        datasets: Names of data sets.
        seeds: The seeds.
        flags: Arguments of every run, as on the command line.
        backbones: Folders to take instead of backbones, by the names of these.

    Returns:
        The runs, seed by seed, so that a comparison that is stopped has all systems with the first seeds.

    Raises:
        ValueError: If flags name what is of the run, or backbones that no run has.
    """
    refuse_of_the_run("The flags after the recipe", flags)
    chosen = [system for system in comparison.systems if system.name in set(systems) and system.not_run is None]
    plans, used = [], set()
    for seed in seeds:
        for dataset in datasets:
            for system in chosen:
                arguments = merge_arguments(
                    system.arguments, comparison.common, comparison.datasets[dataset], system.changes, flags
                )
                for name, revision in _BACKBONES.items():
                    if arguments.get(name) in backbones:
                        used.add(arguments[name])
                        arguments[name] = backbones[arguments[name]]
                        arguments.pop(revision, None)  # a folder has none
                arguments |= {"do_train": True, "do_eval": True, "do_predict": True, "seed": seed}
                plans.append(RunPlan(system.name, dataset, seed, f"{dataset}/{system.folder}/seed-{seed}", arguments))
    unused = sorted(set(backbones) - used)
    if plans and unused:
        known = sorted({plan.arguments[name] for plan in plans for name in _BACKBONES if plan.arguments.get(name)})
        raise ValueError(f"--backbones: no run has {', '.join(unused)}. There are: {', '.join(known)}.")
    return plans


def merge_arguments(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge arguments of `run_mner.py`.

    Args:
        layers: The arguments, the nearest last.

    Returns:
        The nearest value of each argument. ``model_config`` is merged field by field, and a backbone that is named
        without a revision has none, whatever revision a layer below gave to another one.
    """
    merged, model_config = {}, {}
    for layer in layers:
        for name, revision in _BACKBONES.items():
            if name in layer and layer[name] != merged.get(name):
                merged.pop(revision, None)
        merged |= layer
        model_config |= read_object(layer.get("model_config"), "model_config")
    return merged | ({"model_config": model_config} if model_config else {})
