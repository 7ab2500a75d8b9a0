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
    ],
)
def test_every_worker_finds_room(nodes, num_workers, expected):
    number, resources = share_machines(nodes, num_workers)
    assert (number, resources) == expected
    room = {
        name: sum(
            node["Resources"].get(resource, 0) // resources[name]
            for node in nodes
            if node["Alive"] and node["Resources"].get("CPU")
        )
        for name, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU"))
        if name in resources
    }
    assert all(places >= number for places in room.values())


def test_without_ray_the_cure_is_named(monkeypatch):
    hide_packages(monkeypatch, "ray")
    with pytest.raises(ImportError, match=r"needs Ray: pip install 'iqcr-mi\[lake\]'"):
        next(tag_with_ray(TaggingSettings("out", "model"), [], "local", None))
