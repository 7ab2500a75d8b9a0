"""What every corpus is to `datasets`: a builder whose posts stream as well as they materialise."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from .features import TAG_NAMES, post_features
from .picture_roots import PictureRoots
from .pictures import BrokenImages, Picture, check_policy, listed_pictures, read_pictures_ahead
from .records import Record
from .split_files import find_split_file
from .split_report import SplitReport
from .tag_schemes import IllegalTags, check_tags

logger = logging.getLogger(__name__)

# What each policy has done to an illegal tag, for the report; an error never gets there.
_DONE = {"keep": "kept", "repair": "made B-"}


@dataclass
class PostsConfig(datasets.BuilderConfig):
    """How to read a corpus; `data_dir` is the folder of its release."""

    images: Sequence[str] | None = None
    """Image roots, folders or zips, tried in order; ``None`` for those that the release has in its folder."""
    with_images: bool = True
    """Whether to read pictures at all."""
    illegal_tags: IllegalTags = "keep"
    """What to do with an I- without its B-, as in `check_tags`."""
    broken_images: BrokenImages = "keep-post"
    """What to do when a picture is missing or cannot be read: keep the post without it, drop the post, or stop."""


class PostsBuilder(datasets.GeneratorBasedBuilder):
    """A corpus of tagged posts with pictures.

    ``MNERMI(data_dir="MNER-MI").as_streaming_dataset("train")`` streams, `download_and_prepare` and then `as_dataset`
    materialise; the cache is not found again once a source file has changed. ``python -m dataset_scripts.build``
    writes a verified folder.

    Attributes:
        CORPUS: Name on the command line.
        TITLE: Name in a text.
        CITATION: Where it was published.
        HOMEPAGE: Where its authors release it.
        SPLIT_FILES: Text file of each split, relative to `data_dir`.
        IMAGE_ROOTS: Where a release keeps its pictures, relative to `data_dir`; those that exist are tried in order.

    Raises:
        FileNotFoundError: If `data_dir`, a text file or an image root does not exist, or no root is named and the
            release has none.
        ValueError: If an option has no such value.
    """

    BUILDER_CONFIG_CLASS = PostsConfig
    # Raised whenever the same files begin to give other rows.
    VERSION = datasets.Version("1.0.0")
    # Rows in memory: a hundred posts with four pictures of 50 kB are 20 MB.
    DEFAULT_WRITER_BATCH_SIZE = 100

    CORPUS: str
    TITLE: str
    CITATION: str = ""
    HOMEPAGE: str = ""
    SPLIT_FILES: Mapping[str, str] = {}
    IMAGE_ROOTS: Sequence[str] = ()

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_policy(self.config.broken_images)
        self.text_files()  # before the pictures: a folder without them is not the release
        self.roots = PictureRoots(self.image_roots() if self.config.with_images else [])
        # datasets knows a data set by its configuration alone, and would find the rows of files that changed since.
        self.hash = self._fingerprint()
        self._cache_dir = self._output_dir = self._build_cache_dir()

    @property
    def tag_names(self) -> Sequence[str]:
        """The tag set."""
        return TAG_NAMES

    @property
    def splits(self) -> list[str]:
        """The names of the splits, training first."""
        return list(self.SPLIT_FILES)

    def features(self) -> datasets.Features:
        """The columns; without pictures, their names are among them."""
        return post_features(self.tag_names, with_pictures=self.config.with_images)

    def source_dir(self) -> str:
        """The folder of the release.

        Raises:
            ValueError: If none was given.
        """
        if self.config.data_dir is None:
            raise ValueError(f"{self.TITLE} needs `data_dir` (on the command line --source), the folder of its files.")
        return self.config.data_dir

    def text_files(self) -> dict[str, Path]:
        """The text file of each split.

        Raises:
            FileNotFoundError: If one is not there; says what was expected and what was found.
        """
        return {split: find_split_file(self.source_dir(), split, self.SPLIT_FILES) for split in self.SPLIT_FILES}

    def image_roots(self) -> list[str]:
        """The image roots that were named, else those that the release has.

        Raises:
            FileNotFoundError: If there are none.
        """
        if self.config.images is not None:
            return list(self.config.images)
        candidates = [Path(self.source_dir(), root) for root in self.IMAGE_ROOTS]
        roots = [str(root) for root in candidates if root.exists()]
        if not roots:
            raise FileNotFoundError(
                f"{self.source_dir()!r} holds no pictures: expected {', '.join(self.IMAGE_ROOTS)}. Name image folders "
                "or zips (--images), or build the text alone (--without-images)."
            )
        return roots

    def records(self, split: str) -> Iterator[Record]:
        """Read the posts of a split as the release has them.

        Args:
            split: Its name.
        """
        raise NotImplementedError

    def rows(
        self, split: str, report: SplitReport | None = None, as_released: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Read the posts of a split as rows of the data set, with memory for a few posts.

        Args:
            split: Its name.
            report: Filled while the rows are drawn.
            as_released: Whether to read what published counts count, whatever the configuration says: all posts, the
                text alone, illegal tags kept.

        Yields:
            Rows with the columns of `features`; images as ``{"bytes", "path"}``.

        Raises:
            ValueError: If a post is not as its reader expects, two posts have one id, tags do not pass `check_tags`,
                or a picture is missing or broken under the policy ``error`` (the message names post, file and line);
                or if the split is left without any post, which `datasets` could not load.
        """
        report = SplitReport(self.entity_types) if report is None else report
        records = self._check(split, report, "keep" if as_released else self.config.illegal_tags)
        if as_released or not self.config.with_images:
            yield from (self._row(record, [], report) for record in records)
        else:
            for record, pictures in read_pictures_ahead(records, self.roots):
                report.add_pictures(record, pictures)
                if self._keeps(record, pictures, report):
                    yield self._row(record, [picture for picture in pictures if picture.data is not None], report)
        if not report.posts:
            dropped = len(report.dropped_posts)
            why = f" left: all {dropped} were dropped for their pictures" if dropped else ""
            raise ValueError(
                f"The split {split!r} of {self.source_dir()!r} has no posts{why}. A data set cannot hold an empty "
                "split: give it posts, or take its file out."
            )

    @property
    def entity_types(self) -> list[str]:
        """The entity types of the tag set."""
        return [tag[2:] for tag in self.tag_names if tag.startswith("B-")]

    def _check(self, split: str, report: SplitReport, policy: IllegalTags) -> Iterator[Record]:
        """The posts of a split, their tags checked."""
        places: dict[str, str] = {}
        for record in self.records(split):
            where = f"{record.where}, post {record.id!r}"
            if record.id in places:
                raise ValueError(f"{where}: the id occurs before, at {places[record.id]}. Give every post its own.")
            places[record.id] = record.where
            tags, illegal = check_tags(record.tags, len(record.tokens), where, self.tag_names, policy)
            report.images_listed += len(listed_pictures(record))
            report.illegal_steps += len(illegal)
            done = [f"word {i}: I-{tags[i][2:]} continues nothing, {_DONE[policy]}" for i in illegal]
            for what in (*record.repairs, *done):
                place = record.where.rpartition("/")[2]
                report.repaired_tags.append({"post": record.id, "where": place, "what": what})
            yield record._replace(tags=tags)

    def _keeps(self, record: Record, pictures: Sequence[Picture], report: SplitReport) -> bool:
        """Apply the policy for pictures that are missing or broken."""
        reason = next((picture.reason for picture in pictures if picture.data is None), None)
        if reason is None or self.config.broken_images == "keep-post":
            return True
        if self.config.broken_images == "error":
            raise ValueError(
                f"{record.where}, post {record.id!r}: {reason} To go on without such a picture pass --broken-images "
                "keep-post, without its post drop-post."
            )
        report.dropped_posts.append({"post": record.id, "reason": reason})
        return False

    def _row(self, record: Record, pictures: list[Picture], report: SplitReport) -> dict[str, Any]:
        """The row of a post, counted."""
        row = {
            "id": record.id,
            "tokens": record.tokens,
            "ner_tags": [self.tag_names.index(tag) for tag in record.tags],
            "images": [{"bytes": picture.data, "path": picture.name} for picture in pictures],
            "url": record.url,
            "source": record.source,
        }
        if not self.config.with_images:
            names = listed_pictures(record)
            row |= {"image_names": names, "image_sha256": [None] * len(names)}
        report.add_post(row, record.tags)
        return row

    def sources(self) -> list[dict[str, Any]]:
        """List the files that the corpus is read from; pictures in folders are told by each split's checksum.

        Returns:
            Name, size in bytes and SHA-256 of each text file and each zip.
        """
        zips = [Path(root) for root in self.image_roots() if Path(root).is_file()] if self.config.with_images else []
        return [
            {"file": self._name(path), "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in (*self.text_files().values(), *zips)
        ]

    def made_from(self) -> dict[str, Any]:
        """All that decides the content, without the folders' own names: a report may be shown to anybody."""
        return {
            "texts": {split: [self._name(path), file_sha256(path)] for split, path in self.text_files().items()},
            "pictures": self.roots.fingerprint() if self.config.with_images else None,
            "illegal_tags": self.config.illegal_tags,
            "broken_images": self.config.broken_images,
        }

    def _name(self, path: Path) -> str:
        """A file's place in the release; nothing of where somebody keeps the release itself."""
        path, source = path.resolve(), Path(self.source_dir()).resolve()
        return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name

    def _fingerprint(self) -> str:
        """A digest of all that decides the content."""
        return hashlib.sha256(json.dumps(self.made_from()).encode()).hexdigest()[:16]

    def _info(self) -> datasets.DatasetInfo:
        """Describe the data set to `datasets`."""
        return datasets.DatasetInfo(features=self.features(), citation=self.CITATION, homepage=self.HOMEPAGE)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        """One generator a split."""
        return [datasets.SplitGenerator(name=split, gen_kwargs={"split": split}) for split in self.splits]

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows, and in the end a warning of what a reader of the rows could not see."""
        report = SplitReport(self.entity_types)
        yield from enumerate(self.rows(split, report))
        found = {f"{fault} pictures": len(pictures) for fault, pictures in report.faults.items()}
        found |= {"dropped posts": len(report.dropped_posts), "illegal tags": report.illegal_steps}
        if any(found.values()):
            summary = ", ".join(f"{number} {what}" for what, number in found.items() if number)
            logger.warning("%s, %s: %s. A build's report names them.", self.TITLE, split, summary)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal, with memory for a part of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
