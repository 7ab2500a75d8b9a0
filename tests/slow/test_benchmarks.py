"""Every benchmark runs, on tiny models; its figures are not looked at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["crf", "--rounds", "1"],
        ["training_step", "--rounds", "1", "--epoch_posts", "64", "--workers", "1"],
        ["inference", "--rounds", "1", "--without_scoring"],
        ["input_pipeline", "--rounds", "1"],
        ["memory"],
    ],
    ids=lambda command: command[0],
)
def test_benchmark_runs_and_leaves_the_figures_alone(command, tmp_path):
    name, *flags = command
    figures = tmp_path / "figures.json"
    result = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--tiny", "--output", str(figures), *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "no figures are written" in result.stdout
    assert not figures.exists()
