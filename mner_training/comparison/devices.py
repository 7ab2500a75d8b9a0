"""What the runs of a comparison run on: the GPUs that are dealt out to them, or the cores that they share."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch


class Slot(NamedTuple):
    """A place for one run at a time.

    Attributes:
        device: What it is called in the record.
        environment: What its runs have in their environment.
    """

    device: str
    environment: dict[str, str]


def make_slots(jobs: int | None, use_cpu: bool) -> list[Slot]:
    """Share out the machine.

    Args:
        jobs: How many runs at a time; ``None`` for one on each GPU, or one on the CPU.
        use_cpu: Whether no run uses a GPU.

    Returns:
        A slot for each run at a time. They share the cores evenly, unless ``OMP_NUM_THREADS`` says otherwise.

    Raises:
        ValueError: If there are fewer GPUs, or cores, than runs at a time.
    """
    gpus = [] if use_cpu else visible_gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most, what = (len(gpus), "GPUs, and two runs on one would share its memory") if gpus else (cores, "cores")
    jobs = (len(gpus) or 1) if jobs is None else jobs
    if not 1 <= jobs <= most:
        raise ValueError(f"--jobs {jobs}: there are {most} {what}. Give a number from 1 to {most}.")
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // jobs))
    if gpus:
        return [Slot(_gpu_name(gpu), {"CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": threads}) for gpu in gpus[:jobs]]
    return [Slot(describe_cpu(threads), {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": threads})] * jobs


def describe_cpu(threads: str) -> str:
    """What the record calls the CPU, for a run with so many threads."""
    return f"{_cpu_name()}, {threads} thread{'s' * (threads != '1')}"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; without taking one into use."""
    number = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:number] if named is not None else [str(gpu) for gpu in range(number)]


def _gpu_name(gpu: str) -> str:
    """What a GPU is called. Asked in a process of its own: this one would keep memory of each."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.get_device_name())"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpu}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def _cpu_name() -> str:
    """What the processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
