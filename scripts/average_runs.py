"""Average runs that differ in their seed alone: ``python scripts/average_runs.py NAME=FOLDER,FOLDER,... ...``.

Prints one Markdown row per name: mean ± standard deviation (of the sample, n - 1) of the test scores, in percent. For
runs on a corpus of several sources a row per source follows; sources have no macro F1.
"""

import json
import re
import statistics
import sys
from pathlib import Path

METRICS = ("precision", "recall", "f1", "strict_f1", "macro_f1")


def read_scores(folder: Path, split: str = "test") -> dict[str, dict[str, float]]:
    """The scores of one run, in percent.

    Args:
        folder: What `run_mner.py` wrote to.
        split: The prefix of the metrics.

    Returns:
        Percent by name in `METRICS`: those of all posts under ``""``, those of each source under its name.

    Raises:
        ValueError: If the run has no such scores.
    """
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    missing = [name for name in METRICS if f"{split}_{name}" not in results]
    if missing:
        raise ValueError(f"{folder}/all_results.json has no {split}_{missing[0]}: was the run stopped before the end?")
    scores = {"": {name: 100 * results[f"{split}_{name}"] for name in METRICS}}
    for key in results:
        # Sources alone have a number of posts; a key ending in _f1 could as well be that of a type `source_a`.
        if match := re.fullmatch(f"{split}_source_(.+)_posts", key, re.DOTALL):
            start = key.removesuffix("posts")
            scores[match[1]] = {name: 100 * results[start + name] for name in METRICS if start + name in results}
    return scores


def average(runs: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each metric over runs; the deviation of a single run is 0."""
    return {
        name: (
            statistics.mean(run[name] for run in runs),
            statistics.stdev(run[name] for run in runs) if len(runs) > 1 else 0.0,
        )
        for name in runs[0]
    }


def main(arguments: list[str]) -> None:
    """Print the table."""
    print("| system | runs | precision | recall | F1 | strict F1 | macro F1 |")
    print("|---|---|---|---|---|---|---|")
    for argument in arguments:
        name, _, folders = argument.partition("=")
        runs = [read_scores(Path(folder)) for folder in folders.split(",")]
        for source in dict.fromkeys(source for run in runs for source in run):
            # A run made before sources were told apart has none: the row counts the runs that are in its mean.
            having = [run[source] for run in runs if source in run]
            averages = average(having)
            cells = ["{:.2f} ± {:.2f}".format(*averages[metric]) if metric in averages else "" for metric in METRICS]
            label = f"{name}, {source}" if source else name
            print(f"| {label} | {len(having)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
