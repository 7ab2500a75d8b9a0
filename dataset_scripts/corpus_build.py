"""From a builder to a folder that `datasets.load_dataset` reads: verified, with its report, page and card."""

import hashlib
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL
from datasets.utils import tqdm
from huggingface_hub.utils import WeakFileLock

from .corpus_checks import CorpusChecks
from .dataset_card import render_card
from .dataset_folder import (
    REPORT_FILE,
    is_built_from,
    new_dataset_folder,
    require_free,
    write_split,
    write_text,
)
from .posts_builder import PostsBuilder
from .published_counts import PUBLISHED_COUNTS, find_broken, find_differences
from .report_page import render_page
from .source_digest import source_digest
from .split_report import SplitReport

REPORT_SCHEMA = "iqcr-mi/build-report/1"
PAGE_FILE = "build_report.html"
CARD_FILE = "README.md"

# How many names an error lists.
_NAMES_SHOWN = 10


def build_corpus(builder: PostsBuilder, output: str | Path, verify: bool = True) -> dict[str, Any]:
    """Write a corpus into a folder as Parquet, with the pictures' files inside as they are.

    Args:
        builder: The corpus.
        output: The folder to make.
        verify: Whether a count that differs from the published one is an error. The texts' counts are compared before
            any picture is read.

    Returns:
        The build report, as ``build_report.json`` in the folder has it.

    Raises:
        FileExistsError: If the folder holds anything.
        ValueError: If a count differs under `verify`, an id occurs twice, a post is not as its reader expects, the
            files change meanwhile, or the folder would lie in an image root.
    """
    require_free(output)
    _require_outside(output, builder)
    made_from = _made_from(builder)
    texts = _read_texts(builder)
    if verify:
        _refuse(builder, find_differences(builder.CORPUS, texts, "images_listed"), {})
    splits, checks = {}, CorpusChecks()
    with new_dataset_folder(output) as folder:
        for split in builder.splits:
            report = SplitReport(builder.entity_types)
            num_posts = texts[split]["posts"] if split in texts else None
            write_split(folder, split, _check(builder, split, report, checks), builder.features(), num_posts)
            splits[split] = report.to_dict()
        report = _make_report(builder, made_from, splits, texts, checks)
        if _made_from(builder) != made_from:
            raise ValueError(f"The files of {builder.TITLE} changed while they were read. Build again when they rest.")
        if verify:
            _refuse(builder, report["differences"], splits)
        write_report(folder, report)
    return report


def build_once(builder: PostsBuilder, output: str | Path, verify: bool = True) -> dict[str, Any]:
    """Build a corpus as `build_corpus` does, unless the folder holds exactly this build already.

    Args:
        builder: The corpus.
        output: The folder to make.
        verify: As in `build_corpus`.

    Returns:
        The build report.

    Raises:
        FileExistsError: If the folder holds anything else.
        ValueError: As `build_corpus` does.
    """
    if not is_built_from(output, _made_from(builder)):
        return build_corpus(builder, output, verify)
    report = read_report(output)
    if verify:
        _refuse(builder, report["differences"], report["splits"])
    return report


def cached_build(builder: PostsBuilder) -> tuple[Path, dict[str, Any]]:
    """Build a corpus into the cache of `datasets`, or find it there if its files have not changed.

    Several processes may ask for the same build: the first one makes it. Counts that differ from the published ones
    are no error here; the report tells them.

    Args:
        builder: The corpus.

    Returns:
        The folder, and the build report.
    """
    digest = hashlib.sha256(json.dumps([_made_from(builder), source_digest()]).encode()).hexdigest()[:16]
    folder = Path(datasets.config.HF_DATASETS_CACHE, "iqcr-mi", f"{builder.CORPUS}-{digest}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(f"{folder}.lock"):
        return folder, build_once(builder, folder, verify=False)


def read_report(folder: str | Path) -> dict[str, Any]:
    """Read the build report of a folder."""
    return json.loads(Path(folder, REPORT_FILE).read_text(encoding="utf-8"))


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write a build report into a folder, as JSON, as a page and as the dataset card.

    Args:
        folder: What `new_dataset_folder` gave.
        report: The report.
    """
    write_text(folder, REPORT_FILE, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(folder, PAGE_FILE, render_page(report))
    write_text(folder, CARD_FILE, render_card(report))


def _require_outside(output: str | Path, builder: PostsBuilder) -> None:
    """Refuse a folder inside an image root: the build itself would change what the next one is made from."""
    roots = builder.image_roots() if builder.config.with_images else []
    for root in roots:
        if Path(output).resolve().is_relative_to(Path(root).resolve()):
            raise ValueError(f"{str(output)!r} lies inside the image folder {root!r}. Choose a folder outside of it.")


def _read_texts(builder: PostsBuilder) -> dict[str, dict[str, Any]]:
    """What each split's texts hold, where published counts stand against them. No picture is read."""
    texts = {}
    for split in builder.splits if builder.CORPUS in PUBLISHED_COUNTS else ():
        report = SplitReport(builder.entity_types)
        for _ in tqdm(builder.rows(split, report, as_released=True), desc=f"{split}: texts", unit=" posts"):
            pass
        texts[split] = report.to_dict()
    return texts


def _check(builder: PostsBuilder, split: str, report: SplitReport, checks: CorpusChecks) -> Iterator[dict[str, Any]]:
    """The rows of a split, each shown to the checks."""
    for row in builder.rows(split, report):
        checks.add(split, row["id"], row["tokens"], [builder.tag_names[tag] for tag in row["ner_tags"]])
        yield row


def _make_report(
    builder: PostsBuilder,
    made_from: dict[str, Any],
    splits: dict[str, dict[str, Any]],
    texts: dict[str, dict[str, Any]],
    checks: CorpusChecks,
) -> dict[str, Any]:
    """All that is known of a build."""
    # A post that was dropped for its pictures was published nevertheless: its text counts.
    read = {split: {**report, "images_found": splits[split]["images_found"]} for split, report in texts.items()}
    with_images = builder.config.with_images
    differences = find_differences(builder.CORPUS, read, "images_found" if with_images else "images_listed")
    if with_images and builder.CORPUS in PUBLISHED_COUNTS:
        differences += find_broken(splits)
    if builder.CORPUS not in PUBLISHED_COUNTS:
        variant = "not verified"
    else:
        variant = "unrecognised" if differences else "published"
    versions = {"python": platform.python_version()}
    versions |= {module.__name__: module.__version__ for module in (datasets, np, PIL)}
    return {
        "schema": REPORT_SCHEMA,
        "corpus": builder.CORPUS,
        "title": builder.TITLE,
        "citation": builder.CITATION,
        "homepage": builder.HOMEPAGE,
        "variant": variant,
        "pictures": "left out" if "image_names" in builder.features() else "included",
        "pictures_were_read": with_images,
        "made_from": made_from,
        "versions": versions,
        "sources": builder.sources(),
        "tag_names": list(builder.tag_names),
        "splits": splits,
        "published": PUBLISHED_COUNTS.get(builder.CORPUS),
        "differences": differences,
        "texts_in_two_splits": checks.texts_in_two_splits(),
        "entities_seen_in_training": checks.entities_seen_in_training(),
    }


def _made_from(builder: PostsBuilder) -> dict[str, Any]:
    """All that decides the content of a build, in the form that JSON gives back."""
    return {"corpus": builder.CORPUS, "builder": str(builder.VERSION), **builder.made_from()}


def _refuse(builder: PostsBuilder, differences: list[dict[str, Any]], splits: dict[str, dict[str, Any]]) -> None:
    """End a build whose counts differ from the published ones."""
    if not differences:
        return
    counts = ", ".join(
        f"{found['split']} {found['what'].replace('_', ' ')} {found['here']:,} instead of {found['published']:,}"
        for found in differences
    )
    missing = [picture["image"] for report in splits.values() for picture in report["missing_images"]]
    shown = ", ".join(missing[:_NAMES_SHOWN]) + (
        f" and {len(missing) - _NAMES_SHOWN} more" * (len(missing) > _NAMES_SHOWN)
    )
    raise ValueError(
        f"This is an unrecognised variant of {builder.TITLE}: {counts}."
        + (f" Missing pictures: {shown}." if missing else "")
        + " Take the files of the release, or pass --no-verify to build this copy; its report marks the differences."
    )
