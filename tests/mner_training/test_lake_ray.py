"""What of tagging on Ray can be tested without a cluster; tests/slow/test_tag_posts.py starts one."""

import pytest

from mner_training.lake_job import TaggingSettings
from mner_training.lake_ray import share_machines, tag_with_ray
from tests.hidden_packages import hide_packages


def node(cpus: float, gpus: int = 0, alive: bool = True) -> dict:
    return {"Alive": alive, "Resources": {name: value for name, value in (("CPU", cpus), ("GPU", gpus)) if value}}


@pytest.mark.parametrize(
    ("nodes", "num_workers", "expected"),
    [
        ([node(8)], None, (1, {"num_cpus": 8})),
        ([node(8), node(0), node(8, alive=False)], None, (1, {"num_cpus": 8})),
        ([node(8), node(6), node(8)], None, (3, {"num_cpus": 6})),
        ([node(8)], 3, (3, {"num_cpus": 2})),
        ([node(1)], 4, (4, {"num_cpus": 0.25})),
        ([node(8, 2), node(8, 2)], None, (4, {"num_cpus": 4, "num_gpus": 1.0})),
        ([node(16, 1)], 8, (8, {"num_cpus": 2, "num_gpus": 0.125})),
        ([node(16, 2)], 3, (3, {"num_cpus": 5, "num_gpus": 0.5})),
        ([node(16, 1)], 6, (6, {"num_cpus": 2, "num_gpus": 1 / 6})),
        ([node(2)], 6, (6, {"num_cpus": 2 / 6})),
        ([node(8, 2), node(64), node(2)], None, (2, {"num_cpus": 4, "num_gpus": 1})),
        ([node(8, 2), node(64), node(2)], 4, (4, {"num_cpus": 2, "num_gpus": 0.5})),
        ([node(4, 4), node(64, 1), node(64)], None, (5, {"num_cpus": 1, "num_gpus": 1})),
        ([node(4), node(0, 8)], None, (1, {"num_cpus": 4})),
    ],
)
def test_every_worker_finds_room(nodes, num_workers, expected):
    number, resources = share_machines(nodes, num_workers)
    assert (number, resources) == expected
    amounts = {"CPU": resources["num_cpus"], "GPU": resources.get("num_gpus", 0)}
    places = 0
    for machine in (node["Resources"] for node in nodes if node["Alive"]):
        # as Ray counts: in ten-thousandths
        counted = [(int(machine.get(name, 0) * 10_000), int(amount * 10_000)) for name, amount in amounts.items()]
        places += min(there // taken for there, taken in counted if taken)
    assert places >= number


@pytest.mark.parametrize("nodes", [[], [node(0)], [node(0, 4), node(8, alive=False)]])
def test_a_cluster_without_room_is_refused(nodes):
    with pytest.raises(ValueError, match=f"None of the {len(nodes)} machines of the cluster is alive and has CPUs"):
        share_machines(nodes, None)


def test_without_ray_the_cure_is_named(monkeypatch):
    hide_packages(monkeypatch, "ray")
    with pytest.raises(ImportError, match=r"needs Ray: pip install 'iqcr-mi\[lake\]'"):
        next(tag_with_ray(TaggingSettings("out", "model"), [], "local", None))
