"""Twitter-2017 (Lu et al., ACL 2018), as the multimodal systems share it: tweets with one picture each, CoNLL text."""

from collections.abc import Iterator
from typing import ClassVar

from .conll import read_conll
from .posts_builder import PostsBuilder
from .records import Record


class Twitter2017(PostsBuilder):
    """Twitter-2017: ``train.txt``, ``valid.txt`` and ``test.txt``, pictures ``<id>.jpg``."""

    CORPUS = "twitter2017"
    TITLE = "Twitter-2017"
    CITATION = "Lu et al., Visual Attention Model for Name Tagging in Multimodal Social Media, ACL 2018"
    HOMEPAGE = "https://github.com/jefferyYu/UMT"
    SPLIT_FILES: ClassVar = {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"}
    IMAGE_ROOTS = ("twitter2017_images", "twitter2017_images.zip")

    def records(self, split: str) -> Iterator[Record]:
        """Read the posts of a split, as in `PostsBuilder`."""
        return read_conll(self.text_files()[split], source=self.CORPUS)
