"""Runs of run_mner.py in processes of their own, which kill themselves at a named moment.

A server that has imported everything forks a process for each run: most of a short run is importing.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest


class Moment(NamedTuple):
    """A moment of a run.

    Attributes:
        operation: ``step`` is a training step, before its gradient; ``mkdir``, ``remove``, ``rename``, ``rmdir`` what
            the operating system is about to do; ``write`` when a file is about to be written and ``torn`` when half
            of it is there.
        path: Of the file or folder, in the run's folder; of a rename the new name; of a step its number, from 1.
    """

    operation: str
    path: str


@contextlib.contextmanager
def run_server() -> Iterator[ForkServerContext]:
    """A server of processes that have imported run_mner.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(["run_mner"])
        server.Process(target=int).start()
        yield server


def start(
    server: ForkServerContext, argv: list[str], folder: Path, kill: Moment | None = None, environment=None
) -> BaseProcess:
    """Begin a run in a folder; it dies at the moment `kill`, and keeps a log of its moments if there is none."""
    process = server.Process(target=_run, args=(argv, folder, kill, environment or {}))
    process.start()
    return process


def _run(argv: list[str], folder: Path, kill: Moment | None, environment: dict[str, str]) -> None:
    """Run in this process, which ends."""
    os.environ |= {"OMP_NUM_THREADS": "1"} | environment
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = f"{folder.name}.{os.environ.get('RANK', 0)}"
    output = os.open(folder.parent / f"{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import run_mner

    multiprocessing.set_start_method("fork", force=True)  # for the workers of a data loader
    _watch(_Watcher(folder, kill, folder.parent / f"{name}.log"))
    sys.argv = ["run_mner.py", *argv]
    run_mner.main([*argv, "--output_dir", str(folder)])


class _Watcher:
    """Writes down the moments of a run, or waits for one of them."""

    def __init__(self, folder: Path, kill: Moment | None, log: Path):
        self.folder, self.kill = str(folder), kill
        self.log = None if kill else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def see(self, operation: str, path: str | os.PathLike) -> None:
        """Die here, if it is the moment."""
        path = os.path.abspath(path) if operation != "step" else path
        moment = Moment(operation, os.path.relpath(path, self.folder) if operation != "step" else path)
        if moment.path.startswith(".."):
            return
        if self.log is not None:
            os.write(self.log, f"{moment.operation} {moment.path}\n".encode())
        if moment == self.kill:
            self.kill = None  # opening the file is a moment as well
            if operation == "torn":
                size = os.path.getsize(path) if os.path.exists(path) else 0
                os.truncate(os.open(path, os.O_WRONLY | os.O_CREAT), size // 2)
            os.kill(os.getpid(), signal.SIGKILL)


def _watch(watcher: _Watcher) -> None:
    """Have Python, torch, safetensors and the Trainer report what they do."""
    import torch
    import transformers.modeling_utils

    from mner_training.trainer import MNERTrainer

    events = {"os.remove": "remove", "os.mkdir": "mkdir", "os.rmdir": "rmdir"}
    inside = []  # what removes the files of a folder names them relative to it

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            written = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wxa+")
            if written and isinstance(path, str | os.PathLike):
                watcher.see("write", path)
                watcher.see("torn", path)
        elif event == "os.rename":
            watcher.see("rename", arguments[1])
        elif event == "shutil.rmtree":
            inside[:] = [str(arguments[0])]
        elif event in events and isinstance(arguments[0], str | os.PathLike):
            relative = event != "os.mkdir" and len(arguments) > 1 and arguments[1] not in (None, -1)
            watcher.see(events[event], os.path.join(inside[0], arguments[0]) if relative else arguments[0])

    sys.addaudithook(hook)

    def watched(write, path_at):
        def write_and_tell(*args, **kwargs):
            path = args[path_at] if len(args) > path_at else kwargs["filename"]
            watcher.see("write", path)
            write(*args, **kwargs)
            watcher.see("torn", path)

        return write_and_tell

    # These write from outside of Python, which sees nothing of it.
    torch.save = watched(torch.save, 1)
    transformers.modeling_utils.safe_save_file = watched(transformers.modeling_utils.safe_save_file, 1)

    step, taken = MNERTrainer.training_step, []

    def training_step(*args, **kwargs):
        taken.append(1)
        watcher.see("step", str(len(taken)))
        return step(*args, **kwargs)

    MNERTrainer.training_step = training_step


def moments(folder: Path, rank: int = 0) -> list[Moment]:
    """What a run that was not killed did, in order."""
    log = folder.parent / f"{folder.name}.{rank}.log"
    return [Moment(*line.split(" ", 1)) for line in log.read_text().splitlines()]


def output(folder: Path, rank: int = 0) -> str:
    """What the last run in a folder printed."""
    return (folder.parent / f"{folder.name}.{rank}.txt").read_text()[-4000:]
