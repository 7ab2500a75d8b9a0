"""Scoring that is killed, shared by two processes, or out of room: nothing is lost, and hardly anything done twice.

The scorers here write down each picture before they score it, so a picture that is computed again stands twice in the
log, whatever the package says of itself.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value, load_dataset
from PIL import Image as PILImage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "scripts" / "score_images.py")
ONE = [sys.executable, SCRIPT]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
TWO = [*LAUNCH, "--main_process_port", "0", SCRIPT]
TRAIN_TWO = [*TWO[:-1], str(ROOT / "run_mner.py")]

NUM_PICTURES = 800
# Seconds that a picture takes: 64 of them, the largest batch there is, take half a second.
PAUSE = 0.008
LARGEST_BATCH = 64

SCORERS = f"""
import hashlib, os, time
import numpy
from processing_iqcr.scorers import register_quality_scorer, register_relevance_scorer


def log(*words):
    file = os.open(os.environ["SCORING_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)


def bright(images):
    log("call", os.getpid(), len(images))
    scores = []
    for image in images:
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        if digest == os.environ.get("SCORING_BREAKS_AT"):
            raise RuntimeError("the scorer broke")
        log("picture", os.getpid(), digest)
        time.sleep({PAUSE})
        scores.append(float(numpy.asarray(image).mean()) / 255)
    return scores


def length(texts, images):
    return [len(text) / 100 for text in texts]


register_quality_scorer("bright", bright, version="1")
register_relevance_scorer("length", length, version="1")
"""


class Corpus:
    """Posts with pictures of noise, no two the same, and two files that are no pictures.

    Args:
        folder: Where the data set is written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        generator = np.random.default_rng(0)
        # By the checksum of a picture's file: that of its pixels, which is in the log, and its brightness.
        self.pixels: dict[bytes, str] = {}
        self.means: dict[bytes, float] = {}
        contents = []
        for _ in range(NUM_PICTURES):
            pixels = generator.integers(0, generator.integers(2, 256), (6, 8, 3), dtype=np.uint8)
            file = io.BytesIO()
            PILImage.fromarray(pixels).save(file, "PNG")
            contents.append(file.getvalue())
            key = hashlib.sha256(contents[-1]).digest()
            self.pixels[key] = hashlib.sha256(pixels.tobytes()).hexdigest()
            self.means[key] = pixels.mean() / 255
        contents[100:100] = [b"rubbish"]  # an even place and an odd one: each of two processes meets one
        contents[301:301] = [b"more rubbish"]
        posts = []
        while contents:
            number = len(posts) % 4
            images = [{"bytes": content, "path": "a.png"} for content in contents[:number]]
            contents = contents[number:]
            words = ["word"] * (len(posts) % 7 + 1)
            tags = ["B-LOC", *["O"] * (len(words) - 1)]
            posts.append({"id": str(len(posts)), "tokens": words, "ner_tags": tags, "images": images})
        words = List(Value("string"))
        features = {"id": Value("string"), "tokens": words, "ner_tags": words, "images": List(Image(decode=False))}
        cut = 2 * len(posts) // 3
        for name, part in (("train", posts[:cut]), ("test", posts[cut:])):
            Dataset.from_list(part, features=Features(features)).to_parquet(folder / f"{name}.parquet")
        (folder / "scorers").mkdir()
        (folder / "scorers" / "mine.py").write_text(SCORERS)
        assert len(set(self.pixels.values())) == NUM_PICTURES


class Scoring:
    """A scoring that is started over and over again, with one cache and one log.

    Args:
        corpus: What is scored.
        folder: Where everything is written.
    """

    def __init__(self, corpus: Corpus, folder: Path):
        self.corpus = corpus
        self.folder = folder
        self.output = folder / "scored"
        self.cache = folder / "scores.sqlite"
        self.log = folder / "log"
        self.log.touch()

    def start(self, program: list[str], *flags: str, **settings: str) -> subprocess.Popen:
        command = [*program, "--dataset", str(self.corpus.folder), "--output_dir", str(self.output)]
        command += ["--scorers_file", str(self.corpus.folder / "scorers" / "mine.py"), "--quality_scorer", "bright"]
        command += ["--relevance_scorer", "length", "--score_cache", str(self.cache), "--broken_images", "drop"]
        settings = os.environ | {"OMP_NUM_THREADS": "1", "SCORING_LOG": str(self.log)} | settings
        return subprocess.Popen(
            [*command, *flags],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, program: list[str]) -> str:
        """What a run printed that must go through."""
        process = self.start(program)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed[-4000:]
        return printed

    def lines(self) -> list[list[str]]:
        """The log, less a last line that is being written."""
        return [line.split() for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def logged(self) -> Counter:
        """How often each picture was computed."""
        return Counter(line[2] for line in self.lines() if line[0] == "picture")

    def calls(self) -> dict[str, list[int]]:
        """By process the sizes of its batches."""
        calls = {}
        for kind, process, value in self.lines():
            if kind == "call":
                calls.setdefault(process, []).append(int(value))
        return calls

    def stored(self) -> dict[str, float]:
        """By picture the quality that is in the file.

        It is read from a copy: to open the file itself could mend what the next start is to mend.
        """
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.folder.glob("scores.sqlite*"):
            shutil.copy(path, copy)
        query = "SELECT description, key, score FROM scores JOIN scorers USING (scorer)"
        with contextlib.closing(sqlite3.connect(copy / "scores.sqlite")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = connection.execute(query).fetchall()
        rows = [(json.loads(description)["name"], key, score) for description, key, score in rows]
        qualities = [(key, score) for name, key, score in rows if name == "bright"]
        assert len({key for key, _ in qualities}) == len(qualities)
        # No text occurs twice with a picture: of each kind as many, for a batch is stored as a whole.
        assert len(rows) == 2 * len(qualities)
        return {self.corpus.pixels[key]: score for key, score in qualities}

    def wait_for(self, process: subprocess.Popen, pictures: int, processes: int = 1) -> set[int]:
        """Wait until this start has begun so many pictures; the ids of its processes."""
        before = self.before
        deadline = time.monotonic() + 120
        while True:
            begun = [line for line in self.lines()[before:] if line[0] == "picture"]
            if len(begun) >= pictures and len({line[1] for line in begun}) >= processes:
                return {int(line[1]) for line in begun}
            assert process.poll() is None, process.communicate()[0][-4000:]
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def kill(self, program: list[str], pictures: int, delay: float, processes: int = 1) -> tuple[int, int, int]:
        """Start, kill with SIGKILL after so many pictures, and look at what is left.

        Returns:
            How many pictures were computed and are lost, how many were in the batches that were running, and how many
            were stored by this start.
        """
        self.before = len(self.lines())
        stored = self.stored() if self.cache.exists() else {}
        process = self.start(program)
        workers = self.wait_for(process, pictures, processes)
        time.sleep(delay)
        assert process.poll() is None  # at work
        os.killpg(process.pid, signal.SIGKILL)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):  # with one process it is the same, and dead
                os.kill(worker, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        for worker in workers:
            self.wait_for_end(worker)
        now, begun = self.stored(), self.lines()[self.before :]
        assert {picture: now[picture] for picture in stored} == stored  # nothing of before is lost, or another
        running = 0
        for worker in workers:
            mine = [line for line in begun if int(line[1]) == worker]
            last = max(place for place, line in enumerate(mine) if line[0] == "call")
            done = {line[2] for line in mine[:last] if line[0] == "picture"}
            assert done <= set(now)  # every batch but the last
            running += int(mine[last][2])
        lost = {line[2] for line in begun if line[0] == "picture"} - set(now)
        assert not lost & set(stored)
        return len(lost), running, len(now) - len(stored)

    @staticmethod
    def wait_for_end(process: int) -> None:
        """Wait for a process that is not our child; a zombie that nobody collects has ended as well."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                return
            if state == "Z":
                return
            time.sleep(0.01)
        raise AssertionError(f"process {process} goes on")

    def rows(self) -> dict[str, list[dict]]:
        posts = load_dataset(str(self.output))
        return {
            name: split.cast_column("images", List(Image(decode=False))).to_list() for name, split in posts.items()
        }

    def check(self) -> None:
        """Every key once, with its right score, in the file and in the data set."""
        stored = self.stored()
        assert len(stored) == NUM_PICTURES
        for key, pixels in self.corpus.pixels.items():
            assert stored[pixels] == pytest.approx(self.corpus.means[key], abs=1e-12)
        missing = 0
        for split in self.rows().values():
            for post in split:
                keys = [hashlib.sha256(image["bytes"]).digest() for image in post["images"]]
                means = [self.corpus.means.get(key) for key in keys]
                length = len(" ".join(post["tokens"])) / 100
                for mean, quality, relevance in zip(
                    means, post["quality_scores"], post["relevance_scores"], strict=True
                ):
                    assert (quality is None) == (relevance is None) == (mean is None)
                    missing += mean is None
                    if mean is not None:
                        assert (quality, relevance) == pytest.approx((mean, length), abs=1e-6)
        assert missing == 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory) -> Scoring:
    """What one process makes that nobody disturbs."""
    scoring = Scoring(corpus, tmp_path_factory.mktemp("alone"))
    printed = scoring.finish(ONE)
    assert f"quality_scores by bright: {NUM_PICTURES} computed, 0 found in the cache, 2 missing." in printed
    scoring.check()
    assert set(scoring.logged().values()) == {1}
    return scoring


@pytest.fixture
def scoring(corpus, tmp_path) -> Scoring:
    return Scoring(corpus, tmp_path)


def test_ten_kills_cost_a_batch_each_at_most(scoring, alone, record_property):
    generator = random.Random(20)
    lost, running, stored = [], [], []
    for _ in range(10):
        # Of a start's batches the first three have one picture, all others up to 64.
        part = scoring.kill(ONE, generator.randint(1, 130), generator.uniform(0, 4 * PAUSE))
        for values, value in zip((lost, running, stored), part, strict=True):
            values.append(value)
        assert not scoring.output.exists()
    # And once while the data set is being written.
    process = scoring.start(ONE)
    while not list(scoring.folder.glob(".unfinished-*")):
        assert process.poll() is None
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not scoring.output.exists()
    assert len(scoring.stored()) == NUM_PICTURES

    printed = scoring.finish(ONE)
    assert f"quality_scores by bright: 0 computed, {NUM_PICTURES} found in the cache, 2 missing." in printed
    scoring.check()
    assert scoring.rows() == alone.rows()
    logged = scoring.logged()
    recomputed = logged.total() - len(logged)
    figures = f"{recomputed} pictures again after 10 kills; lost {lost}, running {running}, stored {stored}"
    record_property("kills", figures)
    print(figures)
    assert len(logged) == NUM_PICTURES
    # Exactly what was computed and not stored is computed again, and a kill costs no more than its batch.
    assert recomputed == sum(lost)
    assert all(part <= batch <= LARGEST_BATCH for part, batch in zip(lost, running, strict=True))
    assert recomputed > 0  # else no kill came in the middle of a batch, and nothing was shown


def test_two_processes_make_what_one_makes(scoring, alone):
    printed = scoring.finish(TWO)
    # said once, and of both
    assert printed.count(f"quality_scores by bright: {NUM_PICTURES} computed, 0 found in the cache, 2 missing.") == 1
    scoring.check()
    assert scoring.rows() == alone.rows()
    assert set(scoring.logged().values()) == {1}
    shares = [sum(sizes) for sizes in scoring.calls().values()]
    assert sorted(shares) == [NUM_PICTURES // 2, NUM_PICTURES // 2]
    # Each met one of the files that are no pictures, and both know of both.
    assert printed.count("2 pictures have no scores") == 2


def test_two_processes_that_are_killed_go_on(scoring, alone, record_property):
    lost, running, stored = scoring.kill(TWO, pictures=250, delay=2.5 * PAUSE, processes=2)
    assert stored > 0
    printed = scoring.finish(TWO)
    assert f"bright: {NUM_PICTURES - stored} computed, {stored} found in the cache, 2 missing." in printed
    scoring.check()
    assert scoring.rows() == alone.rows()
    logged = scoring.logged()
    figures = f"{logged.total() - len(logged)} pictures again after 1 kill of 2 processes; lost {lost} of {running}"
    record_property("kills", figures)
    print(figures)
    assert logged.total() - len(logged) == lost <= running <= 2 * LARGEST_BATCH


def test_training_in_two_processes_scores_each_picture_once(scoring, corpus, tiny_backbones):
    """`run_mner.py` scores by the same means: both processes know all scores, and one of them says so."""
    text, vision = map(str, tiny_backbones)
    flags = ["--text_backbone", text, "--vision_backbone", vision, "--max_length", "32", "--window_overlap", "8"]
    flags += ["--do_train", "--max_steps", "2", "--eval_strategy", "no", "--save_strategy", "no", "--do_predict"]
    process = scoring.start(TRAIN_TWO, *flags, "--no_load_best_model_at_end", "--use_cpu", "--disable_tqdm", "true")
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed[-4000:]
    assert printed.count(f"quality_scores by bright: {NUM_PICTURES} computed, 0 found in the cache, 2 missing.") == 1
    assert set(scoring.logged().values()) == {1}
    assert len(scoring.stored()) == NUM_PICTURES
    shown = [
        image["quality"]
        for line in (scoring.output / "predictions.jsonl").read_text().splitlines()
        for image in json.loads(line)["images"]
    ]
    posts = load_dataset(str(corpus.folder), split="test").cast_column("images", List(Image(decode=False)))
    keys = [hashlib.sha256(image["bytes"]).digest() for images in posts["images"] for image in images]
    assert shown == pytest.approx([corpus.means[key] for key in keys if key in corpus.means], abs=1e-6)


def test_scorer_that_breaks_in_one_of_two_ends_both(scoring, corpus):
    """The other one would wait for a month."""
    process = scoring.start(TWO, SCORING_BREAKS_AT=list(corpus.pixels.values())[-1])
    printed, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "the scorer broke" in printed
    assert not scoring.output.exists()
    for worker in scoring.calls():
        scoring.wait_for_end(int(worker))
    stored = scoring.stored()
    logged = scoring.logged()
    assert set(stored) <= set(logged)
    assert len(logged) - len(stored) <= 2 * LARGEST_BATCH
    assert len(stored) > NUM_PICTURES // 4


PUTTER = """
import sys
from mner_training.score_cache import ScoreCache, quality_key

path, log, start = sys.argv[1], sys.argv[2], int(sys.argv[3])
cache = ScoreCache(path)
number = start
while True:
    parts = [({"name": name}, {quality_key(f"{number} {n}".encode()): number for n in range(1500)}) for name in "ab"]
    print(number, flush=True)
    cache.put(parts)
    with open(log, "a") as file:
        file.write(f"{number}\\n")
    number += 1
"""


def test_batch_that_is_being_stored_when_the_process_is_killed_is_there_or_not(tmp_path):
    """Nothing but writing, so that most kills come in the middle of it."""
    path, log = tmp_path / "scores.sqlite", tmp_path / "log"
    log.touch()
    generator = random.Random(7)
    hot_journals = 0
    for round_number in range(8):
        command = [sys.executable, "-c", PUTTER, str(path), str(log), str(1000 * round_number)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()  # it begins to write
        time.sleep(generator.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        hot_journals += path.with_name(path.name + "-journal").exists()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        batches = dict(connection.execute("SELECT score, COUNT(*) FROM scores GROUP BY score").fetchall())
    assert set(batches.values()) == {3000}  # both scorers' 1500
    assert {float(line) for line in log.read_text().split()} <= set(batches)
    assert hot_journals > 0, "no kill came in the middle of a write"


# What runs where the disk is the argument, a file system of 2 MiB. It prints what became of each start.
FULL_DISK = """
import io, json, os, sys
from pathlib import Path
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from mner_training.score_cache import DiskFullError, ScoreCache
from mner_training.scoring import score_posts
from processing_iqcr.scorers import RegisteredScorer

disk, calls, report = Path(sys.argv[1]), [], []
rows = []
for number in range(2000):
    file = io.BytesIO()
    PILImage.new("RGB", (3, 2), (number % 256, number // 256, 7)).save(file, "PNG")
    rows.append({"id": str(number), "tokens": [str(number)], "images": [{"bytes": file.getvalue(), "path": "a.png"}]})
kinds = {"id": Value("string"), "tokens": List(Value("string")), "images": List(Image(decode=False))}
posts = {"train": Dataset.from_list(rows, features=Features(kinds))}


def quality(images):
    calls.append(len(images))
    return [image.getpixel((0, 0))[0] / 255 for image in images]


scorers = {
    "quality_scorer": RegisteredScorer("red", quality, "1"),
    "relevance_scorer": RegisteredScorer("number", lambda texts, images: [int(t) / 2000 for t in texts], "1"),
}


def free():
    room = os.statvfs(disk)
    return room.f_bavail * room.f_frsize


def start(room=None):
    calls.clear()
    answer = {"error": None}
    try:
        cache = ScoreCache(disk / "scores.sqlite")
        answer["reserve"] = (disk / "scores.sqlite.reserve").stat().st_blocks * 512
        if room is not None:
            (disk / "filler").write_bytes(bytes(free() - room))
        scored, counts = score_posts(posts, scorers, cache)
        answer["counts"] = counts
        answer["right"] = all(
            abs(q[0] - n % 256 / 255) < 1e-6 and abs(r[0] - n / 2000) < 1e-6
            for n, (q, r) in enumerate(zip(scored["train"]["quality_scores"], scored["train"]["relevance_scores"]))
        )
    except DiskFullError as error:
        answer |= {"error": error.errno, "message": str(error)}
    answer["computed"] = sum(calls)
    answer["reserve_is_left"] = (disk / "scores.sqlite.reserve").exists()
    answer["stored"] = stored()
    report.append(answer)


def stored():
    # read past the file system that is full, where not even a journal could be opened
    import shutil, sqlite3, tempfile
    with tempfile.TemporaryDirectory() as folder:
        for path in disk.glob("scores.sqlite*"):
            if path.suffix != ".reserve":
                shutil.copy(path, folder)
        connection = sqlite3.connect(Path(folder, "scores.sqlite"))
        return connection.execute("SELECT COUNT(*), COUNT(DISTINCT key) FROM scores").fetchone()


start(room=96 * 1024)
start()
(disk / "filler, too").write_bytes(bytes(free()))
start()
(disk / "filler").unlink()
(disk / "filler, too").unlink()
start()
print(json.dumps(report))
"""


@pytest.fixture
def on_small_disk(tmp_path):
    """Function that runs Python code whose argument is an empty file system of 2 MiB, in memory.

    It is mounted where only that process sees it, and gone with it.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@" "$0"'
    for unshare in (["unshare", "-rm"], ["unshare", "-m"]):
        way = [*unshare, "sh", "-c", mount, str(disk)]
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
                break
    else:
        pytest.skip("mounting a file system is not permitted here, not even in a namespace of one's own")

    def run(code: str) -> str:
        result = subprocess.run(
            [*way, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == 0, result.stderr[-4000:]
        return result.stdout

    return run


def test_full_disk_keeps_what_was_computed_and_goes_on_when_there_is_room(on_small_disk):
    full, again, no_room, freed = json.loads(on_small_disk(FULL_DISK).splitlines()[-1])
    # The disk becomes full in the middle of the work: what was computed finds its place in the room kept back.
    assert full["reserve"] >= 1 << 20
    assert 100 < full["computed"] < 1900
    # So it does if somebody starts again without having freed anything.
    done = 0
    for start in (full, again):
        assert start["error"] == errno.ENOSPC
        assert "is full. All scores that were computed are stored: free some room and start" in start["message"]
        assert "It was at Split train, Post '" in start["message"]
        done += start["computed"]
        assert start["stored"] == [2 * done] * 2
        assert not start["reserve_is_left"]
    # Not a byte to begin with: said before a picture is scored, and nothing is left half.
    assert no_room["error"] == errno.ENOSPC
    assert re.search(r"No room for scores beside .*scores\.sqlite\. Free some first", no_room["message"])
    assert no_room["computed"] == 0
    assert no_room["stored"] == again["stored"]
    assert not no_room["reserve_is_left"]
    # With room the rest is computed, and nothing twice.
    assert freed["error"] is None
    assert freed["right"]
    assert freed["computed"] == 2000 - done
    counts = {"given": 0, "found": done, "computed": freed["computed"], "missing": 0}
    assert freed["counts"] == {"quality_scorer": counts, "relevance_scorer": counts}
    assert freed["stored"] == [4000, 4000]
    assert freed["reserve_is_left"]
