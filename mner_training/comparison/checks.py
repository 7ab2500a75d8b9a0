"""What must hold of runs for their figures to stand in one table."""

from collections.abc import Mapping
from typing import Any

from mner_training.comparison.file_names import PREDICTIONS_FILE, RUN_FILE

# What must be equal for two runs to have had the same posts, and what the error calls it.
OF_THE_POST = {"id": "id", "words": "words", "gold_tags": "gold tags"}
_AGAIN = "Remove the run that is out of date, and run it again."
# Differences that an error lists before it only counts.
_SHOWN = 5

Record = Mapping[str, Any]
"""What ``comparison_run.json`` says of a run."""


def list_differences(earlier: Record, now: Record) -> str:
    """The entries that differ, with both values; empty if none does, and only counted after the first few."""
    absent = object()
    names = [name for name in sorted({*earlier, *now}) if earlier.get(name, absent) != now.get(name, absent)]
    listed = ", ".join(f"{name} was {earlier.get(name)!r} and is {now.get(name)!r}" for name in names[:_SHOWN])
    return listed + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def check_record(place: str, record: Record, identity: Record, digest: str) -> None:
    """Refuse a record that is not of the run that its folder is for, or not of the predictions beside it.

    Args:
        place: The folder of the run, under that of the comparison.
        record: What lies there.
        identity: ``system``, ``dataset`` and ``seed`` of the folder.
        digest: SHA-256 of its ``predictions.jsonl``, hexadecimal.

    Raises:
        ValueError: If they do not belong together.
    """
    if different := list_differences({name: record.get(name) for name in identity}, identity):
        raise ValueError(f"{place} holds another run than its name says: {different}. Remove the folder.")
    if record.get("predictions_sha256") != digest:
        raise ValueError(
            f"{place}/{PREDICTIONS_FILE} is not what {RUN_FILE} beside it was written for: its SHA-256 was "
            f"{record.get('predictions_sha256')} and is {digest}. Remove the folder, and run it again."
        )


def check_same_arguments(first: tuple[str, Record], other: tuple[str, Record]) -> None:
    """Refuse runs of one row that differ in more than their seed: their mean would be of nothing.

    Raises:
        ValueError: If they do; the message names the first few arguments.
    """
    arguments = [{**(record.get("arguments") or {}), "seed": None} for _, record in (first, other)]
    if different := list_differences(*arguments):
        raise ValueError(f"{other[0]} has other arguments than {first[0]}: {different}. {_AGAIN}")


def check_same_training(first: tuple[str, Record], other: tuple[str, Record]) -> None:
    """Refuse runs on one data set whose posts of training or validation differ in words or tags.

    Raises:
        ValueError: If they do.
    """
    digests = [record.get("words_and_tags_sha256") or {} for _, record in (first, other)]
    if different := list_differences(*digests):
        raise ValueError(
            f"{other[0]} and {first[0]} have other words or tags to train or to select on, by their SHA-256: "
            f"{different}. {_AGAIN}"
        )


def check_same_posts(first: tuple[str, list[dict]], other: tuple[str, list[dict]]) -> None:
    """Refuse runs that were not measured on the same posts: their figures do not compare.

    Raises:
        ValueError: If a post differs in its id, words or gold tags, or one of them has more posts.
    """
    (first_place, first_posts), (place, posts) = first, other
    for number, (one, two) in enumerate(zip(first_posts, posts, strict=False), start=1):
        different = [what for name, what in OF_THE_POST.items() if one[name] != two[name]]
        if different:
            raise ValueError(
                f"{place} and {first_place} were not measured on the same posts: line {number} of their "
                f"{PREDICTIONS_FILE} (posts {two['id']!r} and {one['id']!r}) differs in {' and '.join(different)}. "
                f"{_AGAIN}"
            )
    if len(posts) != len(first_posts):
        raise ValueError(
            f"{place} has {len(posts)} posts and {first_place} {len(first_posts)}: they were not measured on the same "
            f"posts. {_AGAIN}"
        )
