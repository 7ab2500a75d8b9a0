"""MNER-MI-Plus, released as MNER-UNI (Huang et al., LREC-COLING 2024): MNER-MI and Twitter-2017 in one.

It is read from the MNER-UNI files. Where the release has none, it is put together from the texts of its two parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .conll import read_conll
from .mner_mi import MNERMI
from .mner_mi_records import read_mner_mi_records
from .pictures import TWITTER_2017_PREFIX, listed_pictures
from .posts_builder import PostsConfig
from .records import Record
from .split_files import find_split_file
from .twitter2017 import Twitter2017

_TWITTER_2017_DIR = "twitter2017"


@dataclass
class MNERMIPlusConfig(PostsConfig):
    """As for MNER-MI, and where Twitter-2017 is."""

    twitter2017: str | None = None
    """Folder of Twitter-2017's texts, for a release without MNER-UNI files; ``None`` for ``twitter2017/`` in it."""


class MNERMIPlus(MNERMI):
    """MNER-MI-Plus; each post's `source` is ``mner-mi`` or ``twitter2017``, and ids of the latter begin with it."""

    BUILDER_CONFIG_CLASS = MNERMIPlusConfig
    CORPUS = "mner-mi-plus"
    TITLE = "MNER-MI-Plus"
    SPLIT_FILES: ClassVar = {
        "train": "text/MNER-UNI_train.txt",
        "validation": "text/MNER-UNI_val.txt",
        "test": "text/MNER-UNI_test.txt",
    }
    IMAGE_ROOTS = (*MNERMI.IMAGE_ROOTS, *Twitter2017.IMAGE_ROOTS)

    @property
    def is_released_whole(self) -> bool:
        """Whether the MNER-UNI files are there; a few of them without the others count as there, and are an error."""
        return any(Path(self.source_dir(), file).is_file() for file in self.SPLIT_FILES.values())

    def text_files(self) -> dict[str, Path]:
        """The text files of each split, of both parts if the corpus is put together.

        Raises:
            FileNotFoundError: If one is not there; says what was expected and what was found.
        """
        if self.is_released_whole:
            return super().text_files()
        parts = {
            "mner-mi": (self.source_dir(), MNERMI.SPLIT_FILES),
            "twitter2017": (self._twitter2017_dir(), Twitter2017.SPLIT_FILES),
        }
        return {
            f"{split} ({name})": find_split_file(folder, split, files)
            for split in self.SPLIT_FILES
            for name, (folder, files) in parts.items()
        }

    def image_roots(self) -> list[str]:
        """The image roots that were named, else those of both parts.

        Raises:
            FileNotFoundError: If there are none.
        """
        if self.config.images is not None:
            return list(self.config.images)
        others = [Path(self._twitter2017_dir(), root) for root in Twitter2017.IMAGE_ROOTS]
        return super().image_roots() + [str(root) for root in others if root.exists()]

    def records(self, split: str) -> Iterator[Record]:
        """Read the posts of a split, as in `PostsBuilder`."""
        files = self.text_files()
        if self.is_released_whole:
            yield from map(_tell_source, read_mner_mi_records(files[split], source=self.CORPUS))
            return
        yield from read_mner_mi_records(files[f"{split} (mner-mi)"], source="mner-mi")
        for record in read_conll(files[f"{split} (twitter2017)"], source="twitter2017"):
            pictures = [TWITTER_2017_PREFIX + name for name in record.pictures]
            yield _tell_source(record._replace(pictures=pictures))

    def _twitter2017_dir(self) -> Path:
        """The folder of Twitter-2017."""
        return Path(self.config.twitter2017 or Path(self.source_dir(), _TWITTER_2017_DIR))


def _tell_source(record: Record) -> Record:
    """Say which part a post is from, by its pictures' names. The parts number their posts each on its own."""
    pictures = listed_pictures(record)
    if not pictures:
        return record  # nothing tells; it stays with the whole
    if not all(name.startswith(TWITTER_2017_PREFIX) for name in pictures):
        return record._replace(source="mner-mi")
    post_id = TWITTER_2017_PREFIX + record.id.removeprefix(TWITTER_2017_PREFIX)
    return record._replace(id=post_id, source="twitter2017")
