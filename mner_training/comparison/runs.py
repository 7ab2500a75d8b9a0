"""Runs of a comparison as processes beside each other: begun, taken up again, measured, and stopped together."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from datasets.utils import tqdm

from mner_training.checkpoints import checkpoint_to_resume, remove_checkpoint
from mner_training.comparison.devices import Slot, describe_cpu
from mner_training.comparison.file_names import PREDICTIONS_FILE, RECIPE_FILE, RECORD_FILE, RESULTS_FILE, RUN_FILE
from mner_training.comparison.plan import RunPlan
from mner_training.comparison.recipe import REPOSITORY
from mner_training.comparison.records import is_done
from mner_training.comparison.results import read_json, sha256
from mner_training.report import write_json

LOG_FILE = "log.txt"
# What a run leaves that predicts: everything else of its folder is kept.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
# Lines of the log that are shown of a run that failed.
_LAST_LINES = 20
# Seconds between two looks at the runs, and that they have to end when they are asked to.
_INTERVAL, _PATIENCE = 0.2, 10
# What asks this process to end.
_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `ru_maxrss` counts in KiB, on macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass
class _Job:
    """A run that is running; `most` is how many have been at the same time."""

    plan: RunPlan
    folder: Path
    slot: Slot
    process: subprocess.Popen
    log: IO[bytes]
    started: float
    resumed: bool
    most: int = 1


def sort_out(plans: Sequence[RunPlan], output: Path) -> tuple[list[RunPlan], list[RunPlan]]:
    """Part the runs that are done from those that are to do.

    Raises:
        ValueError: If any of them was begun with other arguments: before the first one starts.
    """
    done, to_do = [], []
    for plan in plans:
        (done if is_done(output / plan.folder, plan.arguments) else to_do).append(plan)
    return done, to_do


def run_all(
    plans: Sequence[RunPlan],
    output: Path,
    slots: Sequence[Slot],
    num_done: int = 0,
    keep_models: bool = False,
    lock: int | None = None,
) -> list[RunPlan]:
    """Run what is to do.

    Args:
        plans: The runs, in the order in which they start.
        output: The folder of the comparison.
        slots: Places to run in.
        num_done: Runs that were done before, for the progress bar.
        keep_models: Keep weights and checkpoints of runs that are done.
        lock: An open file that each run keeps open as well.

    Returns:
        The runs that failed; the end of their logs has been shown. However this function ends, no run goes on.
    """
    waiting, free, running, failed, freed = list(plans), list(slots), [], [], 0
    progress = tqdm(total=num_done + len(plans), initial=num_done, desc="Runs", unit=" runs")
    try:
        while waiting or running:
            while waiting and free:
                with _undisturbed():  # a run that is begun and not noted would outlive this process
                    running.append(_start(waiting.pop(0), output, free.pop(0), lock))
                for job in running:
                    job.most = max(job.most, len(running))
                _show(progress, running)
            for job in list(running):
                pid, status, usage = os.wait4(job.process.pid, os.WNOHANG)
                if not pid:
                    continue
                job.process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it as well
                job.log.close()
                running.remove(job)
                free.append(job.slot)
                if job.process.returncode == 0 and (job.folder / PREDICTIONS_FILE).is_file():
                    progress.write(_finish(job, usage.ru_maxrss * _RSS_UNIT, keep_models))
                    freed += 0 if keep_models else remove_models(job.folder)
                else:
                    failed.append(job.plan)
                    progress.write(_describe_failure(job))
                progress.update()
                _show(progress, running)
            time.sleep(_INTERVAL)
    finally:
        with _undisturbed():
            _stop(running)
        progress.close()
    if freed:
        print(f"Weights and checkpoints removed: {freed / 1e6:,.1f} MB. --keep_models keeps them.")
    return failed


def make_command(plan: RunPlan, folder: Path) -> list[str]:
    """Write the recipe of a run into its folder.

    Args:
        plan: The run.
        folder: Its folder.

    Returns:
        The command that begins it, or goes on from its last whole checkpoint.
    """
    begun = is_done(folder, plan.arguments) is False
    folder.mkdir(parents=True, exist_ok=True)
    description = f"{plan.system} on {plan.dataset} with the seed {plan.seed}."
    write_json(folder / RECIPE_FILE, {"description": description, **plan.arguments, "output_dir": str(folder)})
    command = [sys.executable, str(REPOSITORY / "run_mner.py"), str(folder / RECIPE_FILE)]
    if begun and checkpoint_to_resume("last", folder):
        return [*command, "--resume_from_checkpoint", "last"]
    return [*command, "--overwrite_output_dir"] if begun else command


def remove_models(folder: Path) -> int:
    """Remove the weights and checkpoints of a run.

    Returns:
        How many bytes that were.
    """
    size = 0
    for path in folder.glob("checkpoint-*"):
        size += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        remove_checkpoint(path)
    for pattern in WEIGHTS:
        for path in folder.glob(pattern):
            size += path.stat().st_size
            path.unlink()
    return size


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put off a request to end until the block has ended. What nobody handles is left as it is."""
    came = []
    handlers = {number: signal.getsignal(number) for number in _REQUESTS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda *request: came.append(request))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        handlers[came[0][0]](*came[0])


def _start(plan: RunPlan, output: Path, slot: Slot, lock: int | None) -> _Job:
    """Begin a run, or take it up again; what it prints goes to its log."""
    folder = output / plan.folder
    command = make_command(plan, folder)
    log = (folder / LOG_FILE).open("ab")
    environment = {
        "PYTHONUNBUFFERED": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment | os.environ | slot.environment,
        start_new_session=True,  # Ctrl-C is for the comparison, which ends its runs with all that they have started
        pass_fds=() if lock is None else (lock,),
    )
    return _Job(plan, folder, slot, process, log, time.monotonic(), "--resume_from_checkpoint" in command)


def _finish(job: _Job, peak_memory: int, keep_models: bool) -> str:
    """Record that a run is done; one line on it."""
    seconds = time.monotonic() - job.started
    run, results = read_json(job.folder / RECORD_FILE), read_json(job.folder / RESULTS_FILE)
    on_cpu = job.plan.arguments.get("use_cpu")
    splits = {name: run["data"][run["recipe"][f"{name}_split"]] for name in ("train", "validation")}
    record = {
        "system": job.plan.system,
        "dataset": job.plan.dataset,
        "seed": job.plan.seed,
        "arguments": job.plan.arguments,
        # A part of the time would not compare with the whole of another run.
        "seconds": None if job.resumed else round(seconds, 1),
        "resumed": job.resumed,
        "jobs": job.most,
        "peak_memory_bytes": peak_memory,
        "peak_gpu_memory_bytes": results.get("train_peak_gpu_memory_bytes"),
        "device": describe_cpu(job.slot.environment["OMP_NUM_THREADS"]) if on_cpu else job.slot.device,
        "keep_models": keep_models,
        "commit": run["commit"],
        "versions": run["versions"],
        "words_and_tags_sha256": {name: split["words_and_tags_sha256"] for name, split in splits.items()},
        "predictions_sha256": sha256(job.folder / PREDICTIONS_FILE),
    }
    write_json(job.folder / RUN_FILE, record)
    return f"{_name(job.plan)}: F1 {100 * results['test_f1']:.2f} after {seconds:.0f} s"


def _describe_failure(job: _Job) -> str:
    """What a run that failed said last."""
    path = job.folder / LOG_FILE
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    status = job.process.returncode
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with the status {status}"
    if status == 0:
        how = f"left no {PREDICTIONS_FILE}"
    return "\n".join([f"FAILED: {_name(job.plan)} {how}. The end of {path}:", *(f"    {line}" for line in lines)])


def _stop(running: Sequence[_Job]) -> None:
    """End runs and all that they have started."""
    for job in running:
        _signal(job, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    for job in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.0, deadline - time.monotonic()))
        _signal(job, signal.SIGKILL)  # workers that outlive it, too
        job.process.wait()
        job.log.close()


def _signal(job: _Job, number: int) -> None:
    """Send a signal to the processes of a run, if there still are any."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.process.pid, number)


def _show(progress, running: Sequence[_Job]) -> None:
    """Show what is running."""
    progress.set_postfix_str("; ".join(_name(job.plan) for job in running))


def _name(plan: RunPlan) -> str:
    """What messages call a run."""
    return f"{plan.system} on {plan.dataset}, seed {plan.seed}"
