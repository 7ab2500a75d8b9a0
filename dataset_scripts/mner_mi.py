"""MNER-MI (Huang et al., LREC-COLING 2024): tweets with several pictures, one record a line."""

from collections.abc import Iterator
from typing import ClassVar

from .mner_mi_records import read_mner_mi_records
from .posts_builder import PostsBuilder
from .records import Record


class MNERMI(PostsBuilder):
    """MNER-MI: text in ``text/``, pictures in ``images/`` or ``images.zip``, in a later release ``new_images``."""

    CORPUS = "mner-mi"
    TITLE = "MNER-MI"
    CITATION = "Huang et al., MNER-MI: A Multi-image Dataset for Multimodal Named Entity Recognition, LREC-COLING 2024"
    HOMEPAGE = "https://github.com/JinFish/MNER-MI"
    SPLIT_FILES: ClassVar = {
        "train": "text/MNER-MI_train.txt",
        "validation": "text/MNER-MI_val.txt",
        "test": "text/MNER-MI_test.txt",
    }
    IMAGE_ROOTS = ("images", "images.zip", "new_images", "new_images.zip")

    def records(self, split: str) -> Iterator[Record]:
        """Read the posts of a split, as in `PostsBuilder`."""
        return read_mner_mi_records(self.text_files()[split], source=self.CORPUS)
