"""Twitter-2017 (Lu et al., ACL 2018), as the multimodal systems share it: tweets with one picture each, CoNLL text."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .conll import read_conll
from .records import SplitReport, read_rows
from .split_files import find_split_file
from .tag_schemes import IllegalTags

SPLIT_FILES = {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"}


def read_split(
    source_dir: str | Path,
    split: str,
    images_dirs: Sequence[str | Path] = (),
    illegal_tags: IllegalTags = "keep",
    report: SplitReport | None = None,
) -> Iterator[dict[str, Any]]:
    """Read one split.

    Args:
        source_dir: The folder with `SPLIT_FILES`.
        split: ``train``, ``validation`` or ``test``.
        images_dirs: Folders with the pictures ``<id>.jpg``; none reads the text alone.
        illegal_tags: As in `check_tags`.
        report: Filled while the rows are drawn.

    Returns:
        The rows, with the columns of `post_features` and the images as paths.

    Raises:
        FileNotFoundError: If the file of the split is not there.
    """
    path = find_split_file(source_dir, split, SPLIT_FILES)
    return read_rows(read_conll(path, source="twitter2017"), images_dirs, illegal_tags, report)
