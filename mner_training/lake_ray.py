"""Tagging on a cluster through Ray Data: workers that hold the model, and stretches that are given to them.

Only the stretches' places and the counts of the parts travel; posts are read, tagged and written by the workers. If a
worker is killed, Ray starts another one and gives it the stretches that were not done. A part has its name only when
it is whole, and a worker writes none that is there, so a stretch that is given out twice stands once in the output.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from transformers.utils import logging

from mner_training.lake_files import Stretch
from mner_training.lake_job import TaggingSettings, Worker
from mner_training.lake_parts import PartCounts

# The address that stands for a cluster of this machine alone, which ends with the run.
LOCAL = "local"

# Bytes for what travels, on this machine; Ray would set aside a third of its memory.
_OBJECT_STORE_BYTES = 200_000_000
# Ray keeps books on each block; above this number several stretches share one.
_MAX_BLOCKS = 10_000


def tag_with_ray(
    settings: TaggingSettings, todo: Sequence[tuple[int, Stretch]], address: str, num_workers: int | None
) -> Iterator[tuple[int, PartCounts]]:
    """Tag stretches on a Ray cluster.

    Args:
        settings: What the workers have to know.
        todo: The stretches, with the numbers of their parts.
        address: Of the cluster, as `ray.init` takes it; `LOCAL` starts one on this machine and ends it.
        num_workers: How many workers; ``None`` for one per GPU, or where there is none one per machine.

    Yields:
        The number of each part that was written and what it holds, in any order.

    Raises:
        ImportError: If Ray is not installed.
        ConnectionError: If there is no such cluster.
        ValueError: If a worker could not go on.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import: nothing is reported to anybody
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("Tagging on a cluster needs Ray: pip install 'iqcr-mi[lake]'.") from error
    if address == LOCAL:
        ray.init(address=LOCAL, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
    else:
        ray.init(address=address)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = -1  # a stretch may take hours
        num_workers, resources = share_machines(ray.nodes(), num_workers)
        items = [{"number": number} | stretch._asdict() for number, stretch in todo]
        counts = ray.data.from_items(items, override_num_blocks=min(len(items), _MAX_BLOCKS)).map(
            _RayWorker,
            fn_constructor_kwargs={"settings": asdict(settings), "folder": os.getcwd()},
            compute=ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=2),
            **resources,
        )
        for row in counts.iter_rows():
            if row["problem"]:
                raise ValueError(row["problem"])
            yield row["number"], PartCounts(*(row[name] for name in PartCounts._fields))
    except ray.exceptions.RayError as error:
        raise ValueError(f"The cluster failed; the same command takes the run up again. {error}") from error
    finally:
        ray.shutdown()


class _RayWorker:
    """A worker as Ray Data calls it."""

    def __init__(self, settings: dict[str, Any], folder: str):
        if os.path.isdir(folder):  # where relative paths hold
            os.chdir(folder)
        logging.disable_progress_bar()  # of loading the model, among the lines of all workers
        self.worker, self.problem = None, ""
        try:
            self.worker = Worker(TaggingSettings(**settings))
        except (OSError, ValueError) as error:
            self.problem = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Tag one stretch; what should end the run is a sentence, for Ray would wrap the error in pages of its own."""
        number, counts, problem = row["number"], PartCounts(0, 0, 0), self.problem
        try:
            if self.worker:
                counts = self.worker.tag(number, Stretch(**{name: row[name] for name in Stretch._fields}))
        except (OSError, ValueError) as error:
            problem = str(error)
        return {"number": number, "problem": problem} | counts._asdict()


def share_machines(nodes: Sequence[dict[str, Any]], num_workers: int | None) -> tuple[int, dict[str, float]]:
    """Divide a cluster among workers, so that all of them find room. Where there are GPUs, each needs a share of one.

    Args:
        nodes: The machines, as `ray.nodes` gives them.
        num_workers: As in `tag_with_ray`.

    Returns:
        How many workers there are to be, and what each may take.

    Raises:
        ValueError: If there is no machine that could run a worker.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    if not machines:
        raise ValueError(
            f"None of the {len(nodes)} machines of the cluster is alive and has CPUs, so no worker finds room. "
            "Start one, or end what was started with --num-cpus=0."
        )
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    num_workers = num_workers or gpus or len(machines)
    if not gpus:
        on_one = math.ceil(num_workers / len(machines))
        return num_workers, {"num_cpus": _cpus(min(machine["CPU"] for machine in machines) / on_one)}
    on_gpu = math.ceil(num_workers / gpus)
    # for as many workers as a machine's GPUs may take, however unlike the machines are
    cpus = min(
        machine["CPU"] / min(num_workers, int(machine["GPU"]) * on_gpu)
        for machine in machines
        if int(machine.get("GPU", 0))
    )
    return num_workers, {"num_cpus": _cpus(cpus), "num_gpus": 1 / on_gpu}


def _cpus(amount: float) -> float:
    """CPUs as Ray can give them: whole ones, or a part of one."""
    return math.floor(amount) if amount >= 1 else amount
