"""What the benchmarks share: runs side by side, ratios with their spread, the machine, the file of the figures."""

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parent / "results"


def in_turn(runs: Mapping[str, Callable], device: str, rounds: int, calls: int = 1) -> dict[str, list[float]]:
    """Measure runs side by side: each once per round, in turn, so that what slows the machine down slows all of them.

    Args:
        runs: What to measure, by name.
        device: ``"cpu"`` or ``"cuda"``, which is waited for.
        rounds: Rounds, after one that warms up and is not counted; every second one goes in reverse.
        calls: Calls of a run in a row, whose mean is one measurement.

    Returns:
        For each run its seconds a call, round by round.
    """
    seconds = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name in list(runs) if number % 2 else reversed(runs):
            gc.collect()
            wait_for(device)
            started = time.perf_counter()
            for _ in range(calls):
                runs[name]()
            wait_for(device)
            if number:
                seconds[name].append((time.perf_counter() - started) / calls)
    return seconds


def wait_for(device: str) -> None:
    """Let a GPU finish what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def ratio(seconds: Mapping[str, Sequence[float]], of: str, to: str) -> dict[str, float | list[float]]:
    """How many times longer one run takes than another, within each round: the median, the least and the most."""
    quotients = [first / second for first, second in zip(seconds[of], seconds[to], strict=True)]
    return {"ratio": statistics.median(quotients), "range": [min(quotients), max(quotients)]}


def show_ratio(found: Mapping) -> str:
    """A ratio and its spread, in words."""
    return f"{found['ratio']:.2f} ({found['range'][0]:.2f} to {found['range'][1]:.2f})"


def median_ms(seconds: Sequence[float]) -> float:
    """The median in milliseconds."""
    return 1000 * statistics.median(seconds)


def devices() -> list[str]:
    """The CPU, and the first NVIDIA GPU if there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def describe_machine(*packages: str) -> dict[str, str | int]:
    """What the figures were measured on: Python, threads, GPU, and the versions of torch and of what is named."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **{package: _version(package) for package in ("torch", *packages)},
    }


def _cpu_model() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def make_parser(description: str, name: str) -> argparse.ArgumentParser:
    """A parser with the flag that all benchmarks have.

    Args:
        description: The benchmark's docstring.
        name: Its file's name; the figures go to ``results/<name>.json``.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS / f"{name}.json", help="where the figures go, as JSON")
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="tries the benchmark out, with encoders of two layers of width 32 where there are any; writes no figures",
    )
    return parser


def add_model_type(parser: argparse.ArgumentParser) -> None:
    """Add the flag by which a benchmark measures another system than IQCR-MI."""
    parser.add_argument(
        "--model_type", default="iqcr", help="system, such as umt (default: iqcr); of others no figures are written"
    )


def write_figures(options: argparse.Namespace, figures: Mapping, *packages: str) -> None:
    """Write the figures with the machine, the versions and the command that they came from.

    None are written of a tiny model or of another system.
    """
    if options.tiny:
        print("Tried out with --tiny: no figures are written.")
        return
    if getattr(options, "model_type", "iqcr") != "iqcr":
        print("Figures are kept of IQCR-MI alone: none are written.")
        return
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": describe_machine(*packages), "command": ["python", *sys.argv], **figures}
    options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"Figures in {options.output}")
