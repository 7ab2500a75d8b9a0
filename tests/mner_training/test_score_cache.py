"""The file of scores, read back past the class that wrote it: by sqlite3 alone, and from other processes."""

import errno
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mner_training.score_cache import DiskFullError, ScoreCache, default_cache_path, quality_key, relevance_key

ROOT = Path(__file__).resolve().parents[2]
BRIGHT = {"library": "registered", "name": "bright", "version": "1"}
LENGTH = {"library": "registered", "name": "length", "version": "1"}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "scores.sqlite"


@pytest.fixture
def cache(path):
    with closing(ScoreCache(path)) as cache:
        yield cache


def key(name) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def numbered(*numbers: int) -> dict[bytes, float]:
    """Scores that tell their keys."""
    return {key(number): number / 10_000 for number in numbers}


def stored(path: Path) -> list[tuple[str, bytes, float]]:
    """Name of the scorer, key and score of every row."""
    query = "SELECT description, key, score FROM scores JOIN scorers USING (scorer)"
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(query).fetchall()
        assert connection.execute("SELECT COUNT(*) FROM scores").fetchone() == (len(rows),)  # none without a scorer
    return [(json.loads(description)["name"], found, score) for description, found, score in rows]


def run(code: str, *arguments) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


class TestKeys:
    def test_picture_is_known_by_its_content(self):
        assert quality_key(b"a picture") == hashlib.sha256(b"a picture").digest()

    def test_pair_is_known_by_picture_and_text(self):
        picture = quality_key(b"a picture")
        assert relevance_key(picture, "größe") == hashlib.sha256(picture + "größe".encode()).digest()
        assert len({relevance_key(quality_key(p), t) for p in (b"a", b"b") for t in ("a", "b", "")}) == 6

    def test_half_a_character_is_no_reason_to_fail(self):
        picture = quality_key(b"a picture")
        assert relevance_key(picture, "\ud83d") != relevance_key(picture, "?")


class TestFinding:
    def test_what_was_put_is_found_again_and_nothing_else(self, cache):
        cache.put([(BRIGHT, {key("a"): 0.1, key("b"): 1.0}), (LENGTH, {key("c"): -1.0})])
        assert cache.get(BRIGHT, [key("b"), key("nobody's"), key("a")]) == {key("a"): 0.1, key("b"): 1.0}
        assert cache.get(LENGTH, [key("c")]) == {key("c"): -1.0}
        assert cache.get(BRIGHT, []) == {}
        assert (cache.count(BRIGHT), cache.count(LENGTH), cache.count({"name": "no one"})) == (2, 1, 0)

    def test_score_keeps_every_bit(self, cache, path):
        scores = {key("third"): 1 / 3, key("least"): 5e-324, key("just below"): -1 + 2**-53}
        cache.put([(LENGTH, scores)])
        assert {found: score.hex() for _, found, score in stored(path)} == {k: s.hex() for k, s in scores.items()}

    def test_another_instance_finds_it(self, cache, path):
        cache.put([(BRIGHT, {key("a"): 0.1})])
        with closing(ScoreCache(str(path))) as other:  # while the first is open
            assert other.get(BRIGHT, [key("a")]) == {key("a"): 0.1}
            other.put([(BRIGHT, {key("b"): 0.2})])
        assert cache.get(BRIGHT, [key("a"), key("b")]) == {key("a"): 0.1, key("b"): 0.2}

    def test_another_process_finds_it(self, cache, path):
        cache.put([(BRIGHT, {key("a"): 1 / 3})])
        code = "import json, sys; from mner_training.score_cache import ScoreCache\n"
        code += "path, description, key = sys.argv[1:]\n"
        code += "print(ScoreCache(path).get(json.loads(description), [bytes.fromhex(key)]))"
        # the same description in another order
        description = json.dumps(dict(reversed(BRIGHT.items())))
        assert answer(run(code, path, description, key("a").hex())) == f"{ {key('a'): 1 / 3} }\n"

    def test_folder_is_made(self, tmp_path):
        with closing(ScoreCache(tmp_path / "deep" / "down" / "scores")) as cache:
            cache.put([(BRIGHT, {key("a"): 0.5})])
        assert stored(tmp_path / "deep" / "down" / "scores") == [("bright", key("a"), 0.5)]

    def test_default_lies_in_the_cache_of_datasets(self, tmp_path, monkeypatch):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
        assert default_cache_path().is_relative_to(tmp_path)


class TestManyKeys:
    @pytest.mark.parametrize("count", [499, 500, 501, 2345])
    def test_more_than_one_query_takes(self, cache, count):
        # what SQLite took before 3.32: 999 variables in a query
        cache.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
        cache.put([(BRIGHT, numbered(*range(0, 2 * count, 2)))])
        asked = [key(number) for number in range(2 * count)]
        assert cache.get(BRIGHT, asked) == numbered(*range(0, 2 * count, 2))
        assert cache.get(BRIGHT, asked[::-1] + asked) == numbered(*range(0, 2 * count, 2))


class TestOnce:
    def test_first_score_of_a_key_stays(self, cache, path):
        cache.put([(BRIGHT, {key("a"): 0.1})])
        cache.put([(BRIGHT, {key("a"): 0.9, key("b"): 0.2})])
        cache.put([(BRIGHT, {key("b"): 0.8}), (BRIGHT, {key("b"): 0.7})])
        assert sorted(stored(path)) == sorted([("bright", key("a"), 0.1), ("bright", key("b"), 0.2)])

    @pytest.mark.parametrize(
        "other",
        [
            {"name": "brighter"},
            {"version": "2"},
            {"version": 1},
            {"library": "pyiqa"},
            {"num_crops": 20},
            {"num_crops": None},
            {"config": {"layers": [1, 2]}},
        ],
        ids=str,
    )
    def test_scorers_do_not_see_each_others_scores(self, cache, path, other):
        cache.put([(BRIGHT, {key("a"): 0.1})])
        changed = BRIGHT | other
        assert cache.get(changed, [key("a")]) == {}
        cache.put([(changed, {key("a"): 0.9})])
        assert cache.get(BRIGHT, [key("a")]) == {key("a"): 0.1}
        assert cache.get(changed, [key("a")]) == {key("a"): 0.9}
        assert sorted(score for _, _, score in stored(path)) == [0.1, 0.9]

    def test_nested_options_tell_scorers_apart(self, cache):
        first, second = (LENGTH | {"config": {"layers": layers}} for layers in ([1, 2], [2, 1]))
        cache.put([(first, {key("a"): 0.1})])
        assert cache.get(second, [key("a")]) == {}

    def test_order_of_a_description_does_not_matter(self, cache):
        cache.put([(LENGTH | {"config": {"x": 1, "y": 2}}, {key("a"): 0.1})])
        same = {"config": {"y": 2, "x": 1}, **dict(reversed(LENGTH.items()))}
        assert cache.get(same, [key("a")]) == {key("a"): 0.1}


class TestWholeOrNothing:
    @pytest.mark.parametrize(
        "second",
        [({"name": object()}, {key("b"): 0.2}), (LENGTH, {key("b"): 0.2, key("c"): object()}), (LENGTH, None)],
        ids=["description that is no JSON", "score that is no number", "no scores"],
    )
    def test_put_that_fails_half_way_leaves_nothing(self, cache, path, second):
        cache.put([(BRIGHT, {key("before"): 0.5})])
        with pytest.raises(Exception):  # noqa: B017, PT011 - whichever: it is a mistake of the caller's
            cache.put([(BRIGHT, {key("a"): 0.1}), second])
        assert stored(path) == [("bright", key("before"), 0.5)]
        # No lock is left: another one writes at once, and so does this one.
        with closing(ScoreCache(path)) as other:
            other.connection.execute("PRAGMA busy_timeout = 0")
            other.put([(BRIGHT, {key("other"): 0.6})])
        cache.put([(BRIGHT, {key("after"): 0.7})])
        assert sorted(score for _, _, score in stored(path)) == [0.5, 0.6, 0.7]

    def test_scores_of_a_generator_that_fails_are_not_stored(self, cache, path):
        def scores():
            yield BRIGHT, {key("a"): 0.1}
            raise RuntimeError("the scorer broke")

        with pytest.raises(RuntimeError, match="the scorer broke"):
            cache.put(scores())
        assert stored(path) == []

    def test_nobody_sees_half_of_it(self, cache, path):
        """Another connection looks after every row that is written."""
        seen = []

        class Watched(dict):
            def items(self):
                for item in super().items():
                    yield item
                    seen.append(len(stored(path)))

        cache.put([(BRIGHT, Watched(numbered(*range(5)))), (LENGTH, Watched(numbered(*range(5))))])
        assert seen == [0] * 10
        assert len(stored(path)) == 10


# Two of these begin together with a file that does not exist. Every other key is the other's too, with another score.
WRITER = """
import sys, time
from pathlib import Path
from mner_training.score_cache import ScoreCache, quality_key

path, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
Path(path + "." + name).touch()
while len(list(Path(path).parent.glob("*.writer?"))) < 2:
    time.sleep(0.001)
cache = ScoreCache(path)
description = {"library": "registered", "name": "bright", "version": "1"}
for count in range(number):
    keys = [quality_key(f"{name} {count}".encode()), quality_key(f"both {count}".encode())]
    cache.put([(description, dict.fromkeys(keys, {"writer1": 0.25, "writer2": 0.75}[name]))])
    assert set(cache.get(description, keys)) == set(keys)
"""


def test_two_processes_that_write_at_once_lose_nothing(path):
    for process in [run(WRITER, path, name, 300) for name in ("writer1", "writer2")]:
        answer(process)
    rows = stored(path)
    scores = {found: score for _, found, score in rows}
    assert len(rows) == len(scores) == 900
    for count in range(300):
        assert scores[key(f"writer1 {count}")] == 0.25
        assert scores[key(f"writer2 {count}")] == 0.75
        assert scores[key(f"both {count}")] in (0.25, 0.75)


class TestFilesThatAreNoCache:
    def damage(self, path: Path, start: int, end: int | None = None) -> None:
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"\xa5" * ((end or path.stat().st_size) - start))

    @pytest.fixture
    def large(self, path) -> Path:
        """A cache of many pages."""
        with closing(ScoreCache(path)) as cache:
            cache.put([(BRIGHT, numbered(*range(5000)))])
        assert path.stat().st_size > 50 * 4096
        return path

    @pytest.mark.parametrize("content", [b"id,score\n1,0.5\n" * 500, b"\x89PNG\r\n\x1a\n", b"SQLite format 3\0" * 99])
    def test_file_of_another_kind_is_refused_and_left_alone(self, path, content):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"scores\.sqlite' is no cache of scores, .*--score_cache") as refused:
            ScoreCache(path)
        assert "Remove it, or name another file" in str(refused.value)
        assert path.read_bytes() == content

    def test_empty_file_becomes_a_cache(self, path):
        path.touch()
        with closing(ScoreCache(path)) as cache:
            cache.put([(BRIGHT, {key("a"): 0.5})])
        assert stored(path) == [("bright", key("a"), 0.5)]

    def test_folder_is_refused(self, path):
        path.mkdir()
        with pytest.raises((ValueError, OSError), match=r"scores\.sqlite"):
            ScoreCache(path)

    def test_file_inside_a_file_is_refused(self, path):
        path.touch()
        with pytest.raises((ValueError, OSError), match=r"scores\.sqlite"):
            ScoreCache(path / "scores")

    def test_database_of_something_else_is_refused(self, path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE scores (player TEXT, points INTEGER)")
        with (
            pytest.raises(ValueError, match=r"scores\.sqlite' is no cache of scores"),
            closing(ScoreCache(path)) as it,
        ):
            it.get(BRIGHT, [key("a")])

    def test_file_that_was_cut_off(self, large):
        with large.open("r+b") as file:
            file.truncate(30 * 4096)
        with pytest.raises(ValueError, match="is damaged"), closing(ScoreCache(large)) as cache:
            cache.get(BRIGHT, list(numbered(*range(5000))))

    @pytest.mark.parametrize("start", [100, 4096, 20 * 4096], ids=["first page", "all but the first", "later pages"])
    def test_damaged_file_is_said_when_it_is_read(self, large, start):
        self.damage(large, start)
        with pytest.raises(ValueError, match=r"is damaged .*Remove it"), closing(ScoreCache(large)) as cache:
            cache.get(BRIGHT, list(numbered(*range(5000))))

    def test_one_damaged_page_is_said_whichever_it_is(self, large):
        """Never another error, which would name no file, and never fewer scores."""
        whole = large.read_bytes()
        scores = numbered(*range(5000))
        errors = {}
        for start in range(4096, len(whole), 4096):
            large.write_bytes(whole)
            self.damage(large, start, start + 4096)
            with closing(ScoreCache(large)) as cache:
                try:
                    assert cache.get(BRIGHT, list(scores)) == scores
                except (ValueError, sqlite3.Error) as error:
                    errors[start // 4096] = str(error)
        assert errors  # some pages hold what was asked for
        assert {page: error for page, error in errors.items() if "Remove it, or name another file" not in error} == {}

    def test_damaged_file_is_said_when_it_is_counted(self, large):
        self.damage(large, 4096)
        with pytest.raises(ValueError, match=r"is damaged .*Remove it"), closing(ScoreCache(large)) as cache:
            cache.count(BRIGHT)

    def test_damaged_file_is_said_when_it_is_written(self, large):
        self.damage(large, 4096)
        with pytest.raises(ValueError, match=r"is damaged .*Remove it"), closing(ScoreCache(large)) as cache:
            cache.put([(BRIGHT, {key("new"): 0.5})])


# A file may not grow beyond 64 KiB here: SQLite meets a failing write, as where a quota is used up or a disk breaks.
FAILING_WRITE = """
import resource, sys
from mner_training.score_cache import ScoreCache, quality_key

description = {"library": "registered", "name": "bright", "version": "1"}
cache = ScoreCache(sys.argv[1])
cache.put([(description, {quality_key(b"before"): 0.5})])
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    cache.put([(description, {quality_key(b"%d" % number): 0.25 for number in range(5000)})])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_write_that_fails_is_no_reason_to_remove_the_file(path):
    """It is whole, and may hold the work of hours."""
    message = answer(run(FAILING_WRITE, path))
    assert "disk I/O error" in message
    assert "Remove it" not in message
    assert "damaged" not in message
    assert stored(path) == [("bright", key("before"), 0.5)]


def test_file_that_may_not_be_written_is_no_reason_to_remove_it(cache, path):
    cache.put([(BRIGHT, {key("a"): 0.5})])
    cache.connection.execute("PRAGMA query_only = ON")  # SQLite's error is that of a write-protected file
    with pytest.raises(Exception, match="readonly") as refused:
        cache.put([(BRIGHT, {key("b"): 0.5})])
    assert "Remove it" not in str(refused.value)
    assert "damaged" not in str(refused.value)
    assert stored(path) == [("bright", key("a"), 0.5)]


class TestFullDisk:
    def limit(self, cache: ScoreCache, more_pages: int = 0) -> None:
        """Let the file grow by so many pages only, as a disk that is about to be full."""
        (pages,) = cache.connection.execute("PRAGMA page_count").fetchone()
        cache.connection.execute(f"PRAGMA max_page_count = {pages + more_pages}")

    def test_room_is_kept_back(self, cache, path):
        assert shutil.disk_usage(path.parent).free > 1 << 20
        assert cache.reserve.parent == path.parent
        # Written and not only claimed: a file with a hole would keep nothing.
        assert cache.reserve.stat().st_size >= 1 << 20
        assert cache.reserve.stat().st_blocks * 512 >= 1 << 20

    def test_scores_are_stored_in_the_room_kept_back(self, cache, path):
        cache.put([(BRIGHT, numbered(*range(100)))])
        self.limit(cache)
        there = cache.reserve

        class Reserve:
            """Beside a real disk its removal makes room. Here it lifts the limit."""

            @staticmethod
            def unlink(missing_ok: bool) -> None:
                there.unlink(missing_ok=missing_ok)
                cache.connection.execute("PRAGMA max_page_count = 1000000")

        cache.reserve = Reserve
        with pytest.raises(DiskFullError, match="All scores that were computed are stored: free some room") as full:
            cache.put([(BRIGHT, numbered(*range(100, 900))), (LENGTH, numbered(*range(900)))])
        assert full.value.errno == errno.ENOSPC
        assert str(path) in str(full.value)
        assert len(stored(path)) == 1800
        assert not there.exists()
        # With room again the next start keeps some back as the first did.
        with closing(ScoreCache(path)) as again:
            assert again.reserve.stat().st_size >= 1 << 20
            assert again.get(BRIGHT, list(numbered(*range(900)))) == numbered(*range(900))

    def test_what_finds_no_room_at_all_is_said_to_be_lost(self, cache, path):
        cache.put([(BRIGHT, numbered(*range(100)))])
        self.limit(cache, more_pages=1)
        with pytest.raises(DiskFullError, match="of the last batch are lost, all earlier ones are stored") as full:
            cache.put([(BRIGHT, numbered(*range(100, 900))), (LENGTH, numbered(*range(900)))])
        assert full.value.errno == errno.ENOSPC
        assert {found: score for _, found, score in stored(path)} == numbered(*range(100))
        cache.connection.execute("PRAGMA max_page_count = 1000000")
        cache.put([(BRIGHT, numbered(*range(100, 900)))])
        assert cache.count(BRIGHT) == 900

    def test_no_room_to_begin_with(self, path, monkeypatch):
        def write_some(self, content):
            with self.open("wb") as file:
                file.write(content[:5000])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", write_some)
        with pytest.raises(DiskFullError, match=r"No room for scores beside .*scores\.sqlite\. Free some first"):
            ScoreCache(path)
        assert list(path.parent.iterdir()) == []  # the half of a reserve would pass for a whole one

    def test_other_errors_stay_what_they_are(self, path, monkeypatch):
        def refuse(self, content):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(PermissionError, match="Permission denied"):
            ScoreCache(path)
