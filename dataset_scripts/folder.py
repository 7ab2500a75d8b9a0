"""A user's own posts in a folder: imagefolder's ``metadata.jsonl``, JSON Lines with tags or spans, or CoNLL text."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .conll import read_user_conll
from .folder_files import find_entity_types, find_folder_files
from .jsonl_records import read_jsonl
from .posts_builder import PostsBuilder, PostsConfig
from .records import Record
from .tag_conversion import TagScheme


@dataclass
class FolderConfig(PostsConfig):
    """As for every corpus, and how the tags are written."""

    tag_scheme: TagScheme = "bio"
    """The scheme of tags in the files; what comes out is BIO. Spans have none."""


class FolderPosts(PostsBuilder):
    """The posts of a folder, in the files that `find_folder_files` accepts; the tag set is what occurs in them.

    Without image roots, the names of pictures are relative to the folder, those of a ``metadata.jsonl`` to its own.
    """

    BUILDER_CONFIG_CLASS = FolderConfig
    CORPUS = "folder"
    TITLE = "Posts of a folder"

    @cached_property
    def files(self) -> dict[str, Path]:
        """The file of each split."""
        return find_folder_files(self.source_dir())

    @cached_property
    def tag_names(self) -> list[str]:
        """The tag set: ``O``, and B- and I- of each type that occurs.

        Raises:
            ValueError: If no post has an entity.
        """
        types = find_entity_types(record for split in self.files for record in self.records(split))
        if not types:
            raise ValueError(f"No post in {self.source_dir()!r} has an entity: there is nothing to learn from them.")
        return ["O", *(f"{prefix}-{entity_type}" for entity_type in types for prefix in "BI")]

    @property
    def splits(self) -> list[str]:
        """The names of the splits that there are, training first."""
        return list(self.files)

    def text_files(self) -> dict[str, Path]:
        """The file of each split."""
        return self.files

    def made_from(self) -> dict[str, Any]:
        """All that decides the content."""
        return {**super().made_from(), "tag_scheme": self.config.tag_scheme}

    def image_roots(self) -> list[str]:
        """The image roots that were named, else the folder itself and its ``images`` or ``images.zip``."""
        if self.config.images is not None:
            return list(self.config.images)
        inside = [Path(self.source_dir(), name) for name in ("images", "images.zip")]
        return [self.source_dir(), *(str(root) for root in inside if root.exists())]

    def records(self, split: str) -> Iterator[Record]:
        """Read the posts of a split, as in `PostsBuilder`. An id is made of split and line where a post has none."""
        path = self.files[split]
        read = read_jsonl if path.suffix == ".jsonl" else read_user_conll
        records = read(path, self.CORPUS, self.config.tag_scheme, id_prefix=f"{split}-")
        below = path.parent.relative_to(self.source_dir())
        if self.config.images is not None or below == Path():
            return records
        return (record._replace(pictures=[f"{below}/{name}" for name in record.pictures]) for record in records)
