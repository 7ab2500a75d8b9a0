"""What is counted and noticed while a split is read: the raw material of the build report."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .pictures import Picture
from .records import Record
from .tag_schemes import count_entities
from .text_audit import TextAudit


@dataclass
class SplitReport:
    """Counts and findings of one split.

    Attributes:
        entity_types: The types of the tag set; each has a count, be it 0.
    """

    entity_types: Sequence[str]
    posts: Counter[str] = field(default_factory=Counter)
    """Posts by source."""
    posts_by_images: Counter[int] = field(default_factory=Counter)
    """Posts by the number of pictures that they keep."""
    images_listed: int = 0
    """Pictures that the texts name."""
    images_found: int = 0
    """Pictures whose file is there and can be read, be it a broken picture."""
    entities: Counter[str] = field(default_factory=Counter)
    """Entities by type, read leniently."""
    entities_begun: Counter[str] = field(default_factory=Counter)
    """B- tags by type."""
    illegal_steps: int = 0
    """I- tags without their B-, before any repair."""
    faults: dict[str, list[dict[str, str]]] = field(
        default_factory=lambda: {"missing": [], "broken": [], "repaired": []}
    )
    """Pictures by fault: post, name, and the reason in words."""
    dropped_posts: list[dict[str, str]] = field(default_factory=list)
    """Posts left out for their pictures."""
    repaired_tags: list[dict[str, str]] = field(default_factory=list)
    """Tags that were changed, or kept although they are illegal: post, place, and what."""
    text: TextAudit = field(default_factory=TextAudit)
    """How the texts are written."""
    _contents: Any = field(default_factory=hashlib.sha256)

    def add_post(self, row: Mapping[str, Any], tags: Sequence[str]) -> None:
        """Count one post that is kept.

        Args:
            row: Its row; images as ``{"bytes", "path"}``.
            tags: Its BIO tags as strings.
        """
        self.posts[row["source"]] += 1
        self.posts_by_images[len(row["images"])] += 1
        for image in row["images"]:
            self._contents.update(hashlib.sha256(image["bytes"]).digest())
        self.entities.update(count_entities(tags))
        self.entities_begun.update(tag[2:] for tag in tags if tag.startswith("B-"))
        self.text.add(row["tokens"], tags)

    def add_pictures(self, record: Record, pictures: Sequence[Picture]) -> None:
        """Count the pictures of a post, and note those with a fault by name.

        Args:
            record: The post.
            pictures: What was found of its pictures.
        """
        for picture in pictures:
            self.images_found += picture.has_file
            if picture.fault is not None:
                found = {"post": record.id, "image": picture.name, "reason": picture.reason}
                self.faults[picture.fault].append(found)

    def to_dict(self) -> dict[str, Any]:
        """Turn the report into what JSON holds.

        Returns:
            The split's part of ``build_report.json``.
        """
        images = sum(number * posts for number, posts in self.posts_by_images.items())
        return {
            "posts": self.posts.total(),
            "posts_by_source": dict(sorted(self.posts.items())),
            "images": images,
            "images_listed": self.images_listed,
            "images_found": self.images_found,
            "images_sha256": self._contents.hexdigest() if images else None,
            "posts_by_number_of_images": {
                str(number): posts for number, posts in sorted(self.posts_by_images.items())
            },
            "entities": {name: self.entities[name] for name in self.entity_types},
            "entities_begun": {name: self.entities_begun[name] for name in self.entity_types},
            "illegal_steps": self.illegal_steps,
            **{f"{fault}_images": found for fault, found in self.faults.items()},
            "dropped_posts": self.dropped_posts,
            "repaired_tags": self.repaired_tags,
            "text": self.text.counts(),
        }
