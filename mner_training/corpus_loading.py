"""The data set that a recipe names in one field: a corpus by name, a folder, or a Hub id."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, DatasetDict, List
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from transformers.utils import logging

from dataset_scripts.corpus_build import cached_build
from dataset_scripts.dataset_folder import REPORT_FILE, SCORES_FILE
from dataset_scripts.folder_files import find_folder_files
from dataset_scripts.picture_joining import NAME_COLUMNS, join_pictures, lacks_pictures
from dataset_scripts.posts_builder import PostsBuilder
from dataset_scripts.registry import BUILDERS
from dataset_scripts.text_lines import read_lines
from mner_training.arguments import DataArguments
from processing_iqcr.image_scores import SCORE_RANGES
from processing_iqcr.scorers import SCORER_KINDS, read_spec

logger = logging.get_logger(__name__)

# What of a build report says which data a run saw; the rest stays with the data set.
_RECORDED = ("corpus", "commit", "variant", "pictures", "made_from", "sources", "differences")
_FAULTS = ("missing_images", "broken_images", "repaired_images", "dropped_posts")
# Names that a warning lists before it only counts.
_NAMES_SHOWN = 5


def load_posts(args: DataArguments, with_images: bool = True) -> tuple[DatasetDict, dict[str, Any]]:
    """Load the data set that the arguments name.

    Args:
        args: What to load: a corpus by name and the folder of its files, a built folder, a folder of a user's own
            posts, or a Hub id.
        with_images: Whether anybody will look at pictures.

    Returns:
        The splits, pictures not yet decoded, and for the record of the run what is known of the data set: which build
        it is, and pictures that could not be joined.

    Raises:
        FileNotFoundError: If the files of a corpus, or its pictures, are not where they were expected.
        ValueError: If a corpus cannot be read, or a picture is another one than the data set's.
    """
    builder = _make_builder(args, with_images)
    if builder is not None:
        folder, report = cached_build(builder)
        _report_faults(report, args.broken_images)
        posts = load_folder(folder)
    else:
        posts = (
            load_folder(args.dataset)
            if Path(args.dataset).is_dir()
            else datasets.load_dataset(args.dataset, revision=args.dataset_revision)
        )
        report = _read_file(args.dataset, args.dataset_revision, REPORT_FILE)
    record = {name: report[name] for name in _RECORDED if name in report}
    if builder is None:
        scored_by = _read_scorers(args)
        if scored_by:
            record["scores"] = scored_by
    faults = {split: {name: counts[name] for name in _FAULTS} for split, counts in report.get("splits", {}).items()}
    if faults:
        record["faults"] = faults
    if report.get("differences"):
        logger.warning(
            "%s is an unrecognised variant: %d counts differ from the published ones, so scores do not compare with "
            "published ones. run.json lists them.",
            args.dataset,
            len(report["differences"]),
        )
    for name, split in posts.items():
        if lacks_pictures(split):
            split, unjoined = _complete(name, split, args, with_images and builder is None)
            if unjoined:
                record.setdefault("unjoined_images", {})[name] = unjoined
        elif args.images_dirs and builder is None:
            raise ValueError(
                f"`images_dirs` is for data sets without pictures, and {args.dataset!r} has its own. Leave it out."
            )
        if "images" in split.column_names:
            # Left encoded: a broken picture must be met where its post can be named, not inside the reader.
            split = split.cast_column("images", List(datasets.Image(decode=False)))
        posts[name] = split
    return posts, record


def _make_builder(args: DataArguments, with_images: bool) -> PostsBuilder | None:
    """The builder of a corpus by name or of a user's own folder; ``None`` for what `datasets` reads itself."""
    images = list(args.images_dirs) or None
    if args.dataset == "pictured-posts":
        return BUILDERS[args.dataset]()
    if args.dataset in BUILDERS:
        source = args.dataset_source or f"data/{args.dataset}"
        # Illegal tags are kept here: `encode_split` applies the policy for them, to every data set alike.
        return BUILDERS[args.dataset](data_dir=source, images=images, with_images=with_images)
    if _is_own_folder(Path(args.dataset)):
        return BUILDERS["folder"](data_dir=args.dataset, images=images, with_images=with_images)
    return None


def _is_own_folder(folder: Path) -> bool:
    """Whether a folder holds somebody's tagged posts, and not a data set that `datasets` reads as it is."""
    if not folder.is_dir() or any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet")):
        return False
    try:
        files = find_folder_files(folder)
    except FileNotFoundError:
        return False
    first = next((line for _, line in read_lines(next(iter(files.values()))) if line.strip()), "")
    # Posts to be tagged have no tags yet, and a corpus has no scores. `datasets` reads such JSON Lines as they are.
    if any(f'"{column}"' in first for column in SCORE_RANGES):
        return False
    return not first.startswith("{") or '"ner_tags"' in first or '"entities"' in first


def load_folder(folder: str | Path) -> DatasetDict:
    """Load the data set in a folder as it is now.

    `datasets` knows a folder that has a card by its last name and what the card says of its files: two folders of one
    name, or one that was written anew, would give the posts that were loaded first.

    Args:
        folder: A folder that `datasets.load_dataset` reads.

    Returns:
        Its splits.
    """
    splits = datasets.load_dataset_builder(str(folder)).config.data_files
    states = [
        (str(split), path, os.stat(path).st_size, os.stat(path).st_mtime_ns)
        for split, paths in splits.items()
        for path in paths
    ]
    digest = hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]
    cache = Path(datasets.config.HF_DATASETS_CACHE, "iqcr-mi", f"loaded-{digest}")
    return datasets.load_dataset(str(folder), cache_dir=str(cache))


def read_build_report(args: DataArguments) -> dict[str, Any]:
    """The build report of the data set that the arguments name; nothing if it was not built here."""
    builder = _make_builder(args, with_images=True)
    if builder is not None:
        return cached_build(builder)[1]
    return _read_file(args.dataset, args.dataset_revision, REPORT_FILE)


def _read_scorers(args: DataArguments) -> dict[str, Any]:
    """Who gave the scores that the data set has, by kind; nothing if it does not say so in the form that we write."""
    record = _read_file(args.dataset, args.dataset_revision, SCORES_FILE)
    if not record:
        return {}
    try:
        scorers = {kind: read_spec(kind, spec) for kind, spec in record["scorers"].items() if kind in SCORER_KINDS}
        if all(isinstance(spec["description"], dict) for spec in scorers.values()):
            return scorers
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    logger.warning("%s of %s does not say which scorers gave the scores: nobody knows.", SCORES_FILE, args.dataset)
    return {}


def _read_file(dataset: str, revision: str | None, name: str) -> dict[str, Any]:
    """A JSON file of a folder or a Hub repository, there with its commit; nothing if there is none."""
    path = Path(dataset, name)
    commit = {}
    if not Path(dataset).is_dir():
        try:
            path = Path(hf_hub_download(dataset, name, repo_type="dataset", revision=revision))
            commit = {"commit": path.parent.name}
        except (EntryNotFoundError, HfHubHTTPError):
            return {}
    return json.loads(path.read_text(encoding="utf-8")) | commit if path.is_file() else {}


def _report_faults(report: dict[str, Any], broken_images: str) -> None:
    """Say which pictures a build left out, or refuse the broken ones, as for pictures inside a data set."""
    for split, counts in report.get("splits", {}).items():
        broken, missing = counts["broken_images"], counts["missing_images"]
        names = ", ".join(f"{found['image']} of post {found['post']}" for found in (broken or missing)[:_NAMES_SHOWN])
        if broken and broken_images == "error":
            raise ValueError(
                f"Split {split}: {len(broken)} pictures cannot be read ({names}; {broken[0]['reason']}). Replace "
                "them, or set `broken_images` to 'drop' to go on without them."
            )
        if broken or missing:
            logger.warning(
                "Split %s: %d pictures are missing and %d broken; their posts go on without them (%s%s). run.json "
                "names them all.",
                split,
                len(missing),
                len(broken),
                names,
                ", ..." if len(broken) + len(missing) > _NAMES_SHOWN else "",
            )


def _complete(name: str, split: Dataset, args: DataArguments, with_images: bool) -> tuple[Dataset, list[str]]:
    """Join a split's pictures if they are wanted and at hand, and say so if they are not."""
    if with_images and args.images_dirs:
        num_unchecked = sum(checksum is None for checksums in split["image_sha256"] for checksum in checksums)
        if num_unchecked:
            logger.warning(
                "Split %s: %d pictures are joined by name alone: this copy was made of text and knows no checksums.",
                name,
                num_unchecked,
            )
        split, unjoined = join_pictures(split, args.images_dirs)
        if unjoined:
            shown, more = "; ".join(unjoined[:_NAMES_SHOWN]), len(unjoined) - _NAMES_SHOWN
            logger.warning(
                "Split %s: %d pictures could not be joined and are left out: %s%s.",
                name,
                len(unjoined),
                shown,
                f" and {more} more" if more > 0 else "",
            )
        return split, unjoined
    num_images = sum(len(names) for names in split["image_names"])
    if with_images and num_images:
        logger.warning(
            "Split %s names %d pictures and was shared without them: set `images_dirs` to the release's picture "
            "folders or zips. The posts go on without pictures.",
            name,
            num_images,
        )
    # A score belongs to a picture, and there is none.
    return split.remove_columns([c for c in (*NAME_COLUMNS, *SCORE_RANGES) if c in split.column_names]), []
