"""What the runs of a comparison left in its folder, read and checked: predictions, times, and what is missing."""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mner_training.comparison.checks import (
    OF_THE_POST,
    check_record,
    check_same_arguments,
    check_same_posts,
    check_same_training,
)
from mner_training.comparison.file_names import COMPARISON_FILE, PREDICTIONS_FILE, RUN_FILE, TRAINING_ENTITIES_FILE
from mner_training.report import PREDICTIONS_SCHEMA

COMPARISON_SCHEMA = "iqcr-mi/comparison/1"

_SCORES = ("quality", "relevance")
_FIELDS = {*OF_THE_POST, "predicted_tags", "images"}


@dataclass(frozen=True)
class SystemEntry:
    """A row of the comparison.

    Attributes:
        name: As it is shown.
        folder: The name of its folder under each data set.
        published: By data set the published precision, recall and F1 in percent.
        not_run: Why it was not run; ``None`` if it was meant to.
    """

    name: str
    folder: str
    published: dict[str, list[float | None]]
    not_run: str | None


@dataclass(frozen=True)
class Run:
    """What one run predicted.

    Attributes:
        folder: Its folder, under that of the comparison.
        seed: Its seed.
        tags: The predicted tags of each post.
        images: Quality and relevance of each picture of each post; a text-only run has no pictures.
        record: What ``comparison_run.json`` says of it.
        digest: SHA-256 of its ``predictions.jsonl``, hexadecimal.
    """

    folder: str
    seed: int
    tags: list[list[str]]
    images: list[list[dict[str, float | None]]]
    record: dict[str, Any]
    digest: str

    @property
    def is_control(self) -> bool:
        """Whether its pictures or scores were changed on purpose, so that they say nothing of the posts."""
        return (self.record.get("arguments") or {}).get("control") not in (None, "none")


@dataclass
class DatasetResults:
    """The runs on one data set, which all had the same posts.

    Attributes:
        name: Its name.
        words: The words of each post.
        gold: The gold tags of each post.
        runs: By system its runs that are done, in the order of the seeds.
        training_entities: Surface and type of the entities in the training split; ``None`` if that is not known.
        training_digest: SHA-256 of the file they are from; likewise.
    """

    name: str
    words: list[list[str]] = field(default_factory=list)
    gold: list[list[str]] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    training_entities: set[tuple[str, str]] | None = None
    training_digest: str | None = None


@dataclass(frozen=True)
class Results:
    """A whole comparison.

    Attributes:
        name: What the comparison is called.
        reference: The system that the others are compared with.
        seeds: The seeds that each system should have.
        systems: The rows, in their order.
        datasets: The data sets, in their order.
    """

    name: str
    reference: str
    seeds: list[int]
    systems: list[SystemEntry]
    datasets: list[DatasetResults]


def read_results(folder: str | Path) -> Results:
    """Read the output folder of a comparison.

    Args:
        folder: Where ``comparison.json`` is. A run without ``comparison_run.json`` is not done, and is left out.

    Returns:
        All runs that are done.

    Raises:
        FileNotFoundError: If there is no comparison, or a run that is done has no predictions.
        ValueError: If a file is not what it should be, a run does not belong to its folder or its predictions, two
            runs on a data set had other posts, or two of a row other arguments.
    """
    folder = Path(folder)
    path = folder / COMPARISON_FILE
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}. Give the output folder of scripts/compare_systems.py.")
    content = read_json(path)
    if content.get("schema") != COMPARISON_SCHEMA:
        raise ValueError(f"{path} has the schema {content.get('schema')!r}, expected {COMPARISON_SCHEMA!r}.")
    systems = [
        SystemEntry(entry["name"], entry["folder"], entry.get("published") or {}, entry.get("not_run"))
        for entry in content["systems"]
    ]
    if content["reference"] not in [system.name for system in systems]:
        raise ValueError(f"{path}: the reference {content['reference']!r} is none of its systems.")
    datasets = [_read_dataset(folder, name, systems, content["seeds"]) for name in content["datasets"]]
    return Results(content["name"], content["reference"], content["seeds"], systems, datasets)


def _read_dataset(folder: Path, name: str, systems: list[SystemEntry], seeds: list[int]) -> DatasetResults:
    """All runs on one data set that are done."""
    results = DatasetResults(name)
    path = folder / name / TRAINING_ENTITIES_FILE
    if path.is_file():
        results.training_entities = {(surface, entity_type) for surface, entity_type in read_json(path, list)}
        results.training_digest = sha256(path)
    first: tuple[str, list[dict], dict] | None = None
    for system in systems:
        runs = results.runs[system.name] = []
        for seed in seeds:
            place = f"{name}/{system.folder}/seed-{seed}"
            if not (folder / place / RUN_FILE).is_file():
                continue
            posts = list(_read_posts(folder / place / PREDICTIONS_FILE))
            record, digest = read_json(folder / place / RUN_FILE), sha256(folder / place / PREDICTIONS_FILE)
            check_record(place, record, {"system": system.name, "dataset": name, "seed": seed}, digest)
            if first is None:
                first = place, posts, record
                results.words = [post["words"] for post in posts]
                results.gold = [post["gold_tags"] for post in posts]
            check_same_posts(first[:2], (place, posts))
            check_same_training(first[::2], (place, record))
            tags = [[sys.intern(tag) for tag in post["predicted_tags"]] for post in posts]
            images = [[{kind: image[kind] for kind in _SCORES} for image in post["images"]] for post in posts]
            runs.append(Run(place, seed, tags, images, record, digest))
            check_same_arguments((runs[0].folder, runs[0].record), (place, record))
    return results


def _read_posts(path: Path) -> Iterator[dict]:
    """The lines of a file of predictions, each with gold tags."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has {RUN_FILE}, so its run is done, but no {path.name}.")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                post = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{where}: no JSON: {error}.") from error
            if not isinstance(post, dict) or post.get("schema") != PREDICTIONS_SCHEMA:
                raise ValueError(f"{where}: expected an object of the schema {PREDICTIONS_SCHEMA!r}.")
            if absent := _FIELDS - post.keys():
                raise ValueError(f"{where}: the post has no {', '.join(sorted(absent))}.")
            lengths = {name: len(post[name] or ()) for name in ("words", "gold_tags", "predicted_tags")}
            if len(set(lengths.values())) > 1:
                listed = ", ".join(f"{length} in {name}" for name, length in lengths.items())
                raise ValueError(f"{where}, post {post['id']!r}: every word needs both tags, got {listed}.")
            yield post


def read_json(path: Path, kind: type = dict) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: If it is no JSON, or not of the kind that is expected.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} must hold a JSON {kind.__name__}, got {type(content).__name__}.")
    return content


def sha256(path: Path) -> str:
    """The checksum of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
