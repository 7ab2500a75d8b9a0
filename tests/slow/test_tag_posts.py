"""Tagging a lake that is killed, a worker of a Ray cluster or the whole run: every post stands once in the output."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts" / "tag_posts.py")
NUM_ROWS, NUM_LINES, PER_PART = 400, 400, 50
NUM_PARTS = (NUM_ROWS + NUM_LINES) // PER_PART


@pytest.fixture(scope="module")
def lake(make_lively_model, tiny_processor, make_posts, make_pictures, tmp_path_factory):
    """A folder with a model, pictures, and 800 posts in two files; every 40th line cannot be read or tagged."""
    folder = tmp_path_factory.mktemp("lake")
    make_lively_model(3).save_pretrained(folder / "model")
    tiny_processor.save_pretrained(folder / "model")
    (folder / "pictures").mkdir()
    for number, picture in enumerate(make_pictures(9)):
        picture.resize((600, 400)).save(folder / "pictures" / f"{number}.png")
    (folder / "posts").mkdir()
    make_posts(NUM_ROWS, seed=5).to_parquet(folder / "posts" / "a.parquet")
    with open(folder / "posts" / "b.jsonl", "w") as file:
        for number in range(NUM_LINES):
            post = {
                "id": f"line {number}",
                "text": "washington wins in paris today " * (1 + number % 7),
                "images": [f"{(number + place) % 9}.png" for place in range(number % 4)],
            }
            if number % 80 == 40:
                post["images"] = ["none.png"]
            file.write("{\n" if number % 80 == 0 else json.dumps(post) + "\n")
    return folder


class Tagging:
    """A run of the script in the lake's folder.

    Args:
        lake: The folder.
        output: Where it writes.
    """

    def __init__(self, lake: Path, output: Path):
        self.lake = lake
        self.output = output
        self.left: set[tuple[str, int]] = set()  # by those that were killed

    def start(self, *flags: str) -> subprocess.Popen:
        command = [sys.executable, SCRIPT, "posts", "--model", "model", "--images_dirs", "pictures"]
        command += ["--output_dir", str(self.output), "--posts_per_part", str(PER_PART), "--without_scores", *flags]
        return subprocess.Popen(
            command,
            cwd=self.lake,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def finish(process: subprocess.Popen) -> str:
        """What a run printed that must go through; 3 is the status of one with posts that cannot be read."""
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 3, printed[-4000:]
        return printed

    def parts(self) -> dict[str, int]:
        """The parts that are there, and when each was written."""
        return {path.name: path.stat().st_mtime_ns for path in self.output.glob("part-*")}

    def unfinished(self) -> set[tuple[str, int]]:
        """The parts that are being written, or were left so, each with the process that writes it."""
        names = [path.name for path in self.output.glob(".unfinished-part-*")]
        found = [re.fullmatch(r"\.unfinished-(part-\d+\.parquet)-(\d+)-\w+", name).groups() for name in names]
        return {(part, int(process)) for part, process in found}

    def wait_until_half_way(self, process: subprocess.Popen) -> None:
        """Wait until half of the parts are there."""
        deadline = time.monotonic() + 200
        while len(self.parts()) < NUM_PARTS // 2:
            assert process.poll() is None, process.communicate()[0][-4000:]
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def kill_writer(self, process: subprocess.Popen) -> tuple[int, str]:
        """Kill a process, with SIGKILL, in the midst of writing a part.

        Returns:
            The process, and the part, which was not there when the process was.
        """
        while True:
            assert process.poll() is None, process.communicate()[0][-4000:]
            assert len(self.parts()) < NUM_PARTS, "nothing is left to be killed"
            for part, writer in self.unfinished() - self.left:
                if stop(writer):  # it can neither finish the part nor begin the next one
                    if (part, writer) in self.unfinished():
                        os.kill(writer, signal.SIGKILL)
                        self.left.add((part, writer))
                        return writer, part
                    os.kill(writer, signal.SIGCONT)
            time.sleep(0.001)

    def rows(self) -> list[dict]:
        return pq.read_table(self.output).to_pylist()


@pytest.fixture(scope="module")
def alone(lake, tmp_path_factory) -> Tagging:
    """The run that nobody disturbs, in one process."""
    tagging = Tagging(lake, tmp_path_factory.mktemp("alone") / "out")
    printed = tagging.finish(tagging.start())
    assert f"Tagged: {NUM_ROWS + NUM_LINES} posts in {NUM_PARTS} parts." in printed
    places = [(row["file"], row["row"]) for row in tagging.rows()]
    assert places == [("posts/a.parquet", row + 1) for row in range(NUM_ROWS)] + [
        ("posts/b.jsonl", row + 1) for row in range(NUM_LINES)
    ]
    assert sum(len(row["entities"] or ()) for row in tagging.rows()) > NUM_ROWS
    return tagging


def stop(process: int) -> bool:
    """Stop a process where it is; whether there was one."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(process, signal.SIGSTOP)
        while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)
        return True
    return False


def assert_same(rows: list[dict], expected: list[dict]) -> None:
    """Row by row the same, numbers to what another number of threads may change."""
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        numbers, texts = split(row)
        other_numbers, other_texts = split(other)
        assert texts == other_texts
        assert numbers == pytest.approx(other_numbers, abs=1e-5)


def split(value, place: str = "") -> tuple[dict[str, float], dict[str, object]]:
    """The numbers with a fraction of a row, and all else of it, each with its place."""
    if isinstance(value, float):
        return {place: value}, {}
    if not isinstance(value, dict | list):
        return {}, {place: value}
    numbers, texts = {}, {place: len(value)}
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        inner_numbers, inner_texts = split(inner, f"{place}/{key}")
        numbers |= inner_numbers
        texts |= inner_texts
    return numbers, texts


def test_a_killed_worker_of_a_cluster_is_made_up_for(lake, alone, tmp_path):
    tagging = Tagging(lake, tmp_path / "out")
    process = tagging.start("--ray", "--workers", "2")
    try:
        tagging.wait_until_half_way(process)
        killed, part = tagging.kill_writer(process)
        assert killed != process.pid  # a worker, and not the run itself
        done = tagging.parts()
        assert part not in done
        printed = tagging.finish(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert part in tagging.parts()
    assert {name: tagging.parts()[name] for name in done} == done  # what was done is not done again
    assert f"Tagged: {NUM_ROWS + NUM_LINES} posts in {NUM_PARTS} parts." in printed
    assert not tagging.unfinished()
    assert_same(tagging.rows(), alone.rows())


def test_a_killed_run_is_taken_up(lake, alone, tmp_path):
    tagging = Tagging(lake, tmp_path / "out")
    for _ in range(2):
        process = tagging.start()
        before = len(tagging.parts())
        while len(tagging.parts()) < before + NUM_PARTS // 3:
            assert process.poll() is None, process.communicate()[0][-4000:]
            time.sleep(0.001)
        killed, part = tagging.kill_writer(process)
        assert killed == process.pid
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        done = tagging.parts()
        assert part not in done
    printed = tagging.finish(tagging.start())
    assert f"Taken up: {len(done)} of {NUM_PARTS} parts are done." in printed
    assert {name: tagging.parts()[name] for name in done} == done
    assert not tagging.unfinished()
    assert_same(tagging.rows(), alone.rows())


def test_workers_of_a_cluster_run_the_file_of_scorers(lake, tmp_path):
    config = json.loads((lake / "model" / "processor_config.json").read_text())
    shutil.copytree(lake / "model", tmp_path / "model")
    scorer = {"quality_scorer": {"name": "of a file"}}
    (tmp_path / "model" / "processor_config.json").write_text(json.dumps(config | scorer))
    (tmp_path / "scorers.py").write_text(
        "from processing_iqcr.scorers import register_quality_scorer\n"
        'register_quality_scorer("of a file", lambda images: [0.25] * len(images), version="1")\n'
    )
    (tmp_path / "posts.jsonl").write_text('{"text": "in paris", "images": ["0.png"]}\n' * 4)
    command = [sys.executable, SCRIPT, "posts.jsonl", "--model", "model", "--images_dirs", str(lake / "pictures")]
    command += ["--output_dir", "out", "--posts_per_part", "1", "--scorers_file", "scorers.py", "--ray"]
    subprocess.run([*command, "--workers", "2"], cwd=tmp_path, check=True, timeout=200)
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [(row["images"][0]["quality"], row["unscored"]) for row in rows] == [(0.25, 0)] * 4
