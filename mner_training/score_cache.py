"""Scores that were computed once, on disk: found again by content, text and scorer, safe under several processes.

A SQLite file: a batch is stored whole or not at all, whenever the process is killed, and a key stands once whoever
computed it. Its locks need a file system that has them, which some network file systems do not.
"""

import errno
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

# Kept free beside the file: what was computed when the disk became full still finds a place.
RESERVED_BYTES = 1 << 20
# Seconds to wait for another process that is writing; a write takes milliseconds.
_PATIENCE = 120
# Keys asked for in one query, below SQLite's limit on the variables of one.
_KEYS_PER_QUERY = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS scorers (scorer BLOB PRIMARY KEY, description TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    scorer BLOB NOT NULL, key BLOB NOT NULL, score REAL NOT NULL, PRIMARY KEY (scorer, key)
) WITHOUT ROWID;
"""


class DiskFullError(OSError):
    """There is no room for scores; those that were computed are stored if the message does not say otherwise."""


def default_cache_path() -> Path:
    """The file that is used if none is named, in the cache of `datasets`."""
    return Path(datasets.config.HF_DATASETS_CACHE, "iqcr-mi", "scores.sqlite")


def quality_key(content: bytes) -> bytes:
    """The key of a picture's quality: the SHA-256 of its file."""
    return hashlib.sha256(content).digest()


def relevance_key(quality_key: bytes, text: str) -> bytes:
    """The key of a picture's relevance to a text: the SHA-256 over the picture's key and the text."""
    return hashlib.sha256(quality_key + text.encode("utf-8", "surrogatepass")).digest()


class ScoreCache:
    """Scores by scorer and key.

    Args:
        path: The file, made if it does not exist, and its folder too.

    Raises:
        DiskFullError: If there is no room to begin with.
        ValueError: If the file is no such cache, or is damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.reserve = self.path.with_name(self.path.name + ".reserve")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self.reserve.exists():
                self.reserve.write_bytes(b"\0" * RESERVED_BYTES)
        except OSError as error:
            self.reserve.unlink(missing_ok=True)
            if error.errno != errno.ENOSPC:
                raise
            raise DiskFullError(errno.ENOSPC, f"No room for scores beside {self.path}. Free some first.") from error
        self.connection = self._run(sqlite3.connect, self.path, timeout=_PATIENCE, isolation_level=None)
        self._run(self.connection.executescript, _TABLES)

    def get(self, description: Mapping[str, Any], keys: Sequence[bytes]) -> dict[bytes, float]:
        """The scores that are there.

        Args:
            description: The scorer's description.
            keys: What to look for.

        Returns:
            Scores by key; a key without a score is left out.
        """
        scorer, found = _scorer_id(description), {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            query = f"SELECT key, score FROM scores WHERE scorer = ? AND key IN ({', '.join('?' * len(part))})"
            found |= dict(self._fetch(query, (scorer, *part)))
        return found

    def put(self, scores: Iterable[tuple[Mapping[str, Any], Mapping[bytes, float]]]) -> None:
        """Store scores, all of them or none. One that is there already stays as it is.

        Args:
            scores: Pairs of a scorer's description and scores by key.

        Raises:
            DiskFullError: If the disk is full. The scores are stored then in the room kept back, or the message says
                that they are not.
        """
        scores = list(scores)
        try:
            self._put(scores)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            self.reserve.unlink(missing_ok=True)
            kept = "All scores that were computed are stored"
            try:
                self._put(scores)
            except sqlite3.OperationalError:
                kept = "The scores of the last batch are lost, all earlier ones are stored"
            raise DiskFullError(
                errno.ENOSPC, f"The disk with {self.path} is full. {kept}: free some room and start again."
            ) from error

    def count(self, description: Mapping[str, Any]) -> int:
        """How many scores of a scorer there are."""
        query = "SELECT COUNT(*) FROM scores WHERE scorer = ?"
        return self._fetch(query, (_scorer_id(description),))[0][0]

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _put(self, scores: Sequence[tuple[Mapping[str, Any], Mapping[bytes, float]]]) -> None:
        """Store scores in one transaction."""
        with self.connection:
            self._run(self.connection.execute, "BEGIN IMMEDIATE")
            for description, values in scores:
                scorer = _scorer_id(description)
                text = json.dumps(description, sort_keys=True)
                self._run(self.connection.execute, "INSERT OR IGNORE INTO scorers VALUES (?, ?)", (scorer, text))
                rows = [(scorer, key, score) for key, score in values.items()]
                self._run(self.connection.executemany, "INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", rows)

    def _fetch(self, query: str, values: Sequence) -> list[tuple]:
        """All rows of a query. A damaged page is met while they are read."""
        return self._run(lambda: self.connection.execute(query, values).fetchall())

    def _run(self, execute, *arguments, **options):
        """Run a statement; what a file that is no cache leads to becomes an error that says what to do."""
        try:
            return execute(*arguments, **options)
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorcode & 0xFF  # Python gives extended codes
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
                raise
            if code not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                raise OSError(
                    f"{str(self.path)!r} cannot be read or written ({error}). See to the file and its folder, or name "
                    "another one (--score_cache)."
                ) from error
            raise ValueError(
                f"{str(self.path)!r} is no cache of scores, or is damaged ({error}). Remove it, or name another file "
                "(--score_cache)."
            ) from error


def _scorer_id(description: Mapping[str, Any]) -> bytes:
    """The SHA-256 of a scorer's description."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).digest()
