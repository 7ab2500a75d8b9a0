"""The table of a comparison: every number of it as a cell, made from nothing but the stored runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np

from mner_training.comparison.breakdowns import make_breakdowns
from mner_training.comparison.counting import count_kinds, count_posts, read_posts
from mner_training.comparison.file_names import PREDICTIONS_FILE, TRAINING_ENTITIES_FILE
from mner_training.comparison.results import DatasetResults, Results, Run, SystemEntry
from mner_training.comparison.statistics import (
    LEVEL,
    POWER,
    REPLICATES,
    holm,
    interval,
    name_seed,
    p_value,
    resample_posts,
    resample_seeds,
    scores,
    smallest_visible,
)

MEASURES = ("precision", "recall", "f1")
# What ``comparison_run.json`` says a run took.
_COSTS = ("seconds", "peak_memory_bytes", "peak_gpu_memory_bytes", "jobs", "device")


class Place(NamedTuple):
    """Where a number stands.

    Attributes:
        dataset: The data set.
        system: The system; empty for what is known of a group of entities.
        breakdown: ``all``, ``seed``, or the name of a `Breakdown`.
        group: The seed or the group; empty for all.
        measure: What the number is; the list is in ``docs/comparing.md``.
    """

    dataset: str
    system: str
    breakdown: str
    group: str
    measure: str


@dataclass
class Table:
    """A comparison in numbers, unrounded: percent, seconds and bytes.

    Attributes:
        name: What the comparison is called.
        reference: The system that the others are compared with.
        systems: The systems, in the order of the rows.
        datasets: The data sets, in their order.
        bootstrap: ``replicates``, ``seed``, ``level`` and ``power``, and the ``numpy`` whose draws they were.
        digests: SHA-256 of every file of predictions by its path in the folder of the comparison.
        cells: All numbers. What is not known, such as the deviation of a single run, has no cell.
    """

    name: str
    reference: str
    systems: list[str]
    datasets: list[str]
    bootstrap: dict[str, Any]
    digests: dict[str, str] = field(default_factory=dict)
    cells: dict[Place, float | int | str] = field(default_factory=dict)

    def groups(self, dataset: str, breakdown: str) -> list[str]:
        """The groups of a breakdown that there are numbers of, in their order."""
        found = [place.group for place in self.cells if place[:3] == (dataset, "", breakdown) and place.group]
        return list(dict.fromkeys(found))

    def single_runs(self, dataset: str, system: str, measure: str = "f1") -> list[float]:
        """A figure of each run of a row."""
        place = (dataset, system, "seed")
        return [value for it, value in self.cells.items() if it[:3] == place and it.measure == measure]


def make_table(results: Results, replicates: int = REPLICATES, seed: int = 0) -> Table:
    """Compute every number of a comparison.

    Args:
        results: The runs.
        replicates: Bootstrap replicates of the intervals and p-values.
        seed: Of their draws.

    Returns:
        The table.
    """
    table = Table(
        results.name,
        results.reference,
        [system.name for system in results.systems],
        [dataset.name for dataset in results.datasets],
        {"replicates": replicates, "seed": seed, "level": LEVEL, "power": POWER, "numpy": np.__version__},
    )
    for dataset in results.datasets:
        _add_rows(table, results, dataset)
        runs = {name: runs for name, runs in dataset.runs.items() if runs}
        if not runs:
            continue
        gold = read_posts(dataset.gold)
        predicted = {run.folder: read_posts(run.tags) for of_system in runs.values() for run in of_system}
        _set(table, (dataset.name, "", "all", ""), _software([run for of in runs.values() for run in of]))
        _add_scores(table, dataset, runs, gold, predicted)
        _add_differences(table, dataset.name, runs, gold, predicted)
        _add_breakdowns(table, dataset, runs, gold, predicted)
        table.digests |= {f"{run.folder}/{PREDICTIONS_FILE}": run.digest for of in runs.values() for run in of}
        if dataset.training_digest is not None:
            table.digests[f"{dataset.name}/{TRAINING_ENTITIES_FILE}"] = dataset.training_digest
    return table


def _set(table: Table, place: Sequence[str], numbers: Mapping[str, Any]) -> None:
    """Put numbers at a place; those that are not known are left out."""
    for measure, number in numbers.items():
        if number is not None:
            table.cells[Place(*place, measure)] = number


def _spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation of the sample."""
    return {f"{name}_mean": mean(values), f"{name}_sd": stdev(values) if len(values) > 1 else None}


def _add_rows(table: Table, results: Results, dataset: DatasetResults) -> None:
    """What is known of each row beside its scores: its runs, what they took, and the published figures."""
    for system in results.systems:
        runs = dataset.runs[system.name]
        done = [run.seed for run in runs]
        missing = [] if system.not_run else [seed for seed in results.seeds if seed not in done]
        _set(
            table,
            (dataset.name, system.name, "all", ""),
            {
                "seeds": len(done),
                "seeds_missing": ", ".join(map(str, missing)) or None,
                "not_run": system.not_run,
                **_published(system, dataset.name),
                **_cost(runs),
            },
        )


def _published(system: SystemEntry, dataset: str) -> dict[str, float | None]:
    """The published figures of a system, in percent."""
    figures = system.published.get(dataset) or (None,) * 3
    return {f"published_{name}": figure for name, figure in zip(MEASURES, figures, strict=True)}


def _cost(runs: Sequence[Run]) -> dict[str, float | int | str | None]:
    """The mean time of runs, their highest memory, how many ran beside each other, and where."""
    of = {name: [run.record[name] for run in runs if run.record.get(name) is not None] for name in _COSTS}
    return {
        "seconds": mean(of["seconds"]) if of["seconds"] else None,
        "peak_memory_bytes": max(of["peak_memory_bytes"], default=None),
        "peak_gpu_memory_bytes": max(of["peak_gpu_memory_bytes"], default=None),
        "jobs": ", ".join(map(str, sorted(set(of["jobs"])))) or None,
        "device": ", ".join(dict.fromkeys(of["device"])) or None,
    }


def _software(runs: Sequence[Run]) -> dict[str, str | None]:
    """The commits that runs were made with, and the packages of which they had several versions."""
    versions: dict[str, dict[str, None]] = {}
    for run in runs:
        for package, version in (run.record.get("versions") or {}).items():
            versions.setdefault(package, {})[version] = None
    several = [f"{package} {' and '.join(found)}" for package, found in versions.items() if len(found) > 1]
    return {
        "commits": ", ".join(dict.fromkeys(run.record.get("commit") or "unknown" for run in runs)),
        "several_versions": ", ".join(several) or None,
    }


def _add_scores(table: Table, dataset: DatasetResults, runs: dict, gold: list, predicted: dict) -> None:
    """Precision, recall and F1, lenient and strict, of each run and over runs."""
    strict_gold = read_posts(dataset.gold, strict=True)
    _set(table, (dataset.name, "", "all", ""), {"posts": len(gold), "gold": sum(map(len, gold))})
    for name, of_system in runs.items():
        collected: dict[str, list[float]] = {}
        for run in of_system:
            lenient = scores(count_posts(gold, predicted[run.folder]).sum(axis=0))
            strict = scores(count_posts(strict_gold, read_posts(run.tags, strict=True)).sum(axis=0))
            figures = dict(zip(MEASURES, map(float, lenient), strict=True)) | {"strict_f1": float(strict[2])}
            _set(table, (dataset.name, name, "seed", str(run.seed)), figures)
            for measure, figure in figures.items():
                collected.setdefault(measure, []).append(figure)
        for measure, values in collected.items():
            _set(table, (dataset.name, name, "all", ""), _spread(measure, values))


def _add_differences(table: Table, dataset: str, runs: dict, gold: list, predicted: dict) -> None:
    """Intervals of F1, and the differences of all systems to the reference."""
    of_runs = [(name, count_posts(gold, predicted[run.folder])) for name, of in runs.items() for run in of]
    counts = np.stack([of_run for _, of_run in of_runs])
    replicates, seed = table.bootstrap["replicates"], table.bootstrap["seed"]
    resampled, observed = resample_posts(counts, replicates, seed), scores(counts.sum(axis=1))[:, 2]
    drawn, means = {}, {}
    for name in runs:
        own = [number for number, (of, _) in enumerate(of_runs) if of == name]
        drawn[name] = resample_seeds(observed[own], resampled[:, own], name_seed(seed, name))
        means[name] = float(observed[own].mean())
        low, high = interval(drawn[name])
        _set(table, (dataset, name, "all", ""), {"f1_low": low, "f1_high": high})
    if table.reference not in runs:
        return
    others = [name for name in runs if name != table.reference]
    differences = {name: drawn[name] - drawn[table.reference] for name in others}
    p_values = [p_value(differences[name]) for name in others]
    for name, p, adjusted in zip(others, p_values, holm(p_values), strict=True):
        low, high = interval(differences[name])
        figures = {"difference": means[name] - means[table.reference], "difference_low": low, "difference_high": high}
        visible = smallest_visible(float(differences[name].std(ddof=1)))
        figures |= {"p": p, "p_holm": adjusted, "smallest_visible": visible}
        _set(table, (dataset, name, "all", ""), figures)


def _add_breakdowns(table: Table, dataset: DatasetResults, runs: dict, gold: list, predicted: dict) -> None:
    """The scores of each group of entities."""
    breakdowns, missing = make_breakdowns(dataset, gold, list(predicted.values()), table.reference)
    for name, reason in missing.items():
        _set(table, (dataset.name, "", name, ""), {"missing": reason})
    nothing = np.zeros(3, int)
    for breakdown in breakdowns:
        place = (dataset.name, "", breakdown.name)
        _set(table, (*place, ""), {"source": breakdown.source})
        gold_counts = count_kinds(gold, gold, breakdown.group_of)
        for group in breakdown.groups:
            number = int(gold_counts.get(group, nothing)[2])
            _set(table, (*place, group), {"gold": number, **breakdown.facts.get(group, {})})
        for name, of_system in runs.items():
            counted = [count_kinds(gold, predicted[run.folder], breakdown.group_of) for run in of_system]
            for group in breakdown.groups:
                counts = np.array([of_run.get(group, nothing) for of_run in counted])
                # Of nothing that was to be found there is no recall, and no F1 if nothing was predicted either.
                wanted, found = counts[:, 2].any(), counts[:, 1:].any()
                for measure, values, known in zip(
                    MEASURES, scores(counts).T.tolist(), (True, wanted, found), strict=True
                ):
                    if known:
                        _set(table, (dataset.name, name, breakdown.name, group), _spread(measure, values))
