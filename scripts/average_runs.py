"""Average runs that differ in their seed alone: ``python scripts/average_runs.py NAME=FOLDER,FOLDER,... ...``.

Prints one Markdown row per name: mean ± standard deviation (of the sample, n - 1) of the test scores, in percent.
"""

import json
import statistics
import sys
from pathlib import Path

METRICS = ("precision", "recall", "f1", "strict_f1", "macro_f1")


def read_scores(folder: Path, split: str = "test") -> dict[str, float]:
    """The scores of one run, in percent.

    Args:
        folder: What `run_mner.py` wrote to.
        split: The prefix of the metrics.

    Returns:
        Percent by name in `METRICS`.

    Raises:
        ValueError: If the run has no such scores.
    """
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    missing = [name for name in METRICS if f"{split}_{name}" not in results]
    if missing:
        raise ValueError(f"{folder}/all_results.json has no {split}_{missing[0]}: was the run stopped before the end?")
    return {name: 100 * results[f"{split}_{name}"] for name in METRICS}


def average(folders: list[Path]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each metric over runs; the deviation of a single run is 0."""
    runs = [read_scores(folder) for folder in folders]
    return {
        name: (
            statistics.mean(run[name] for run in runs),
            statistics.stdev(run[name] for run in runs) if len(runs) > 1 else 0.0,
        )
        for name in METRICS
    }


def main(arguments: list[str]) -> None:
    """Print the table."""
    print("| system | runs | precision | recall | F1 | strict F1 | macro F1 |")
    print("|---|---|---|---|---|---|---|")
    for argument in arguments:
        name, _, folders = argument.partition("=")
        paths = [Path(folder) for folder in folders.split(",")]
        cells = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in average(paths).values()]
        print(f"| {name} | {len(paths)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
