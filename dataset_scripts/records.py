"""A post as its release has it, and the row of the data set that it becomes."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .features import ENTITY_TYPES, TAG_NAMES
from .tag_schemes import IllegalTags, check_tags, count_entities

logger = logging.getLogger(__name__)

# How many names a warning lists before it only counts.
_NAMES_SHOWN = 5


class Record(NamedTuple):
    """One post as a reader found it: its tags unchecked, its pictures unseen."""

    id: str
    """The release's own name of the post."""
    tokens: list[str]
    """Its words, at least one."""
    tags: list[str]
    """Its tags as the file has them."""
    pictures: list[str]
    """File names of its pictures, relative to an image root, checked not to leave it."""
    url: str
    """Where it was posted; empty if the release does not say."""
    source: str
    """The corpus it comes from."""
    where: str
    """File and line where it starts."""


@dataclass
class SplitReport:
    """What was counted while a split was read."""

    posts: int = 0
    images: int = 0
    """Pictures that were found."""
    entities: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(ENTITY_TYPES, 0)))
    """Entities per type, read leniently."""
    illegal_steps: int = 0
    """I- tags without their B-, before any repair."""
    missing_images: list[str] = field(default_factory=list)
    """Post and file name of every picture that none of the image roots has."""

    def add(self, tags: Sequence[str], num_images: int) -> None:
        """Count one post.

        Args:
            tags: Its checked tags.
            num_images: Its pictures that were found.
        """
        self.posts += 1
        self.images += num_images
        self.entities.update(count_entities(tags))

    def counts(self) -> dict[str, Any]:
        """Turn the report into plain numbers.

        Returns:
            `posts`, `images`, `entities` (by type), `illegal_steps` and `missing_images`.
        """
        return {
            "posts": self.posts,
            "images": self.images,
            "entities": dict(self.entities),
            "illegal_steps": self.illegal_steps,
            "missing_images": len(self.missing_images),
        }


def check_picture_name(name: str, where: str) -> str:
    """Refuse the name of a picture that could lead out of the image root.

    Args:
        name: A file name, or a relative path with ``/``.
        where: The post and its place, put in front of the message.

    Returns:
        `name`.

    Raises:
        ValueError: If it is empty or absolute, holds ``..``, a backslash, a drive or a NUL.
    """
    if not name or re.search(r"[\\\0:]|^/|(^|/)\.\.(/|$)", name):
        raise ValueError(
            f"{where}: the picture name {name!r} is empty or could lead out of the image folder. Name a file inside "
            "it, such as '5302_0.jpg'."
        )
    return name


def read_rows(
    records: Iterable[Record],
    images_dirs: Sequence[str | Path] = (),
    illegal_tags: IllegalTags = "keep",
    report: SplitReport | None = None,
) -> Iterator[dict[str, Any]]:
    """Turn records into rows with the columns of `post_features`, the images as paths.

    A post whose picture is missing keeps its text and its other pictures. What is missing or illegal is counted in
    `report` and logged as one warning after the last row.

    Args:
        records: Posts as a reader found them.
        images_dirs: Image roots, tried in order. None at all: the corpus is text only, `images` is empty and nothing
            counts as missing.
        illegal_tags: As in `check_tags`.
        report: Filled while the rows are drawn.

    Yields:
        One row per post; `ner_tags` are class ids.

    Raises:
        FileNotFoundError: If an image root does not exist.
        ValueError: If the tags of a post do not pass `check_tags`.
    """
    roots = [Path(root) for root in images_dirs]
    for root in roots:
        if not root.is_dir():
            raise FileNotFoundError(
                f"The image folder {str(root)!r} does not exist. Correct its path or leave it out."
            )
    report = SplitReport() if report is None else report
    for record in records:
        where = f"{record.where}, post {record.id!r}"
        tags, num_illegal = check_tags(record.tags, len(record.tokens), where, illegal_tags=illegal_tags)
        images = _find_pictures(record, roots, report)
        report.add(tags, len(images))
        report.illegal_steps += num_illegal
        yield {
            "id": record.id,
            "tokens": record.tokens,
            "ner_tags": [TAG_NAMES.index(tag) for tag in tags],
            "images": images,
            "url": record.url,
            "source": record.source,
        }
    _warn(report, illegal_tags)


def _find_pictures(record: Record, roots: Sequence[Path], report: SplitReport) -> list[str]:
    """The paths of a post's pictures, each in the first root that has it."""
    found = []
    for name in record.pictures if roots else ():
        path = next((root / name for root in roots if (root / name).is_file()), None)
        if path is None:
            report.missing_images.append(f"{record.id}: {name}")
        else:
            found.append(str(path))
    return found


def _warn(report: SplitReport, illegal_tags: IllegalTags) -> None:
    """Say once what a reader of the rows could not see."""
    if report.missing_images:
        shown = ", ".join(report.missing_images[:_NAMES_SHOWN])
        more = len(report.missing_images) - _NAMES_SHOWN
        logger.warning(
            "%d pictures are in none of the image folders; their posts go on without them (%s%s).",
            len(report.missing_images),
            shown,
            f" and {more} more" if more > 0 else "",
        )
    if report.illegal_steps:
        done = "made B-" if illegal_tags == "repair" else "kept"
        logger.warning("%d I- tags continue no entity of their type; they were %s.", report.illegal_steps, done)
