"""A built folder to the Hub, in one commit: texts, tags, picture names, and pictures only if that was asked for."""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from datasets import Features, List, Value
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from .corpus_build import CARD_FILE, PAGE_FILE, read_report, write_report
from .dataset_card import render_card
from .dataset_folder import REPORT_FILE, SCORES_FILE, SCORES_SCHEMA, new_dataset_folder, write_split

_TEXTS = (REPORT_FILE, PAGE_FILE, CARD_FILE)
# The files of a build's splits, as `write_split` names them.
_SHARD = re.compile(r"[^/]+-\d{5}-of-\d{5}\.parquet")


def push_folder(folder: str | Path, repo_id: str, include_images: bool = False) -> str:
    """Push a built data set to the Hub.

    All files arrive in one commit, so nobody ever loads half of them; those of an earlier push are removed by it.

    Args:
        folder: What `build_corpus` made.
        repo_id: ``user/name``. It is made if it does not exist; one that does stays as public or private as it is.
        include_images: Whether the pictures go along. Without, `images` is empty and `image_names` and
            `image_sha256` tell which belong in it.

    Returns:
        The address of the commit.

    Raises:
        FileNotFoundError: If the folder holds no build.
    """
    folder = Path(folder)
    if not (folder / REPORT_FILE).is_file():
        raise FileNotFoundError(f"{str(folder)!r} holds no {REPORT_FILE}, so it is no built data set. Build it first.")
    report = read_report(folder)
    if report["pictures"] == "left out" or include_images:
        return _push(folder, repo_id, report)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, "copy")
        return _push(copy, repo_id, leave_out_pictures(folder, copy))


def leave_out_pictures(folder: str | Path, output: str | Path) -> dict[str, Any]:
    """Copy a built data set without its pictures, their names and checksums in their place.

    Args:
        folder: What `build_corpus` made.
        output: The folder to make.

    Returns:
        The copy's build report.
    """
    report = read_report(folder) | {"pictures": "left out"}
    with new_dataset_folder(output) as copy:
        for split, counts in report["splits"].items():
            files = [str(file) for file in sorted(Path(folder).glob(f"{split}-*.parquet"))]
            posts = datasets.IterableDataset.from_parquet(files)
            features = Features({**posts.features, "image_names": List(Value("string"))})
            features["image_sha256"] = List(Value("string"))
            undecoded = posts.cast_column("images", List(datasets.Image(decode=False)))
            write_split(copy, split, _without_pictures(undecoded), features, counts["posts"])
        write_report(copy, report)
    return report


def _without_pictures(posts: datasets.IterableDataset) -> Iterator[dict[str, Any]]:
    """Rows whose pictures are names and checksums."""
    for post in posts:
        images = post["images"]
        names = [image["path"] for image in images]
        checksums = [hashlib.sha256(image["bytes"]).hexdigest() for image in images]
        yield {**post, "images": [], "image_names": names, "image_sha256": checksums}


def _push(folder: Path, repo_id: str, report: dict[str, Any]) -> str:
    """Make the repository hold the files of the folder and no other data."""
    api = HfApi()
    api.create_repo(repo_id, repo_type="dataset", exist_ok=True)
    # Nothing else, whatever somebody has put into the folder.
    files = {
        file.name: file for file in sorted(folder.iterdir()) if file.name in _TEXTS or _SHARD.fullmatch(file.name)
    }
    there = api.list_repo_files(repo_id, repo_type="dataset")
    stale = [name for name in there if _SHARD.fullmatch(name) and name not in files]
    stale += [SCORES_FILE] * (SCORES_FILE in there and "scores" not in report)
    card = render_card(report, repo_id).encode()
    operations = [CommitOperationAdd(name, card if name == CARD_FILE else str(file)) for name, file in files.items()]
    if "scores" in report:  # not the folder's own file, which may name places on this machine
        scores = json.dumps({"schema": SCORES_SCHEMA, "scorers": report["scores"]}, indent=1)
        operations.append(CommitOperationAdd(SCORES_FILE, scores.encode()))
    operations += [CommitOperationDelete(name) for name in stale]
    message = f"{report['title']}, {report['variant']}, pictures {report['pictures']}"
    commit = api.create_commit(repo_id, operations, commit_message=message, repo_type="dataset")
    return commit.commit_url
