"""MNER-MI (Huang et al., LREC-COLING 2024): tweets with several pictures, one record a line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .mner_mi_records import read_mner_mi_records
from .records import SplitReport, read_rows
from .split_files import find_split_file
from .tag_schemes import IllegalTags

SPLIT_FILES = {
    "train": "text/MNER-MI_train.txt",
    "validation": "text/MNER-MI_val.txt",
    "test": "text/MNER-MI_test.txt",
}


def read_split(
    source_dir: str | Path,
    split: str,
    images_dirs: Sequence[str | Path] = (),
    illegal_tags: IllegalTags = "keep",
    report: SplitReport | None = None,
) -> Iterator[dict[str, Any]]:
    """Read one split.

    Args:
        source_dir: The folder of the release, with `SPLIT_FILES` in it.
        split: ``train``, ``validation`` or ``test``.
        images_dirs: Folders with the pictures; none reads the text alone.
        illegal_tags: As in `check_tags`.
        report: Filled while the rows are drawn.

    Returns:
        The rows, with the columns of `post_features` and the images as paths, as many as the post has.

    Raises:
        FileNotFoundError: If the file of the split is not there.
    """
    path = find_split_file(source_dir, split, SPLIT_FILES)
    return read_rows(read_mner_mi_records(path, source="mner-mi"), images_dirs, illegal_tags, report)
