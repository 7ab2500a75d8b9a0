"""The released corpora by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from . import mner_mi, twitter2017
from .features import post_features
from .records import SplitReport
from .split_files import SPLITS
from .tag_schemes import IllegalTags

READERS = {"twitter2017": twitter2017.read_split, "mner-mi": mner_mi.read_split}


def load_corpus(
    name: str, source: str | Path, images_dirs: Sequence[str | Path] = (), illegal_tags: IllegalTags = "keep"
) -> tuple[DatasetDict, dict[str, dict[str, Any]]]:
    """Read a released corpus into memory: its texts, and the paths of its pictures.

    The files are read anew each time and nothing is cached, so changed files never come back as they were.

    Args:
        name: A key of `READERS`.
        source: The folder of the release.
        images_dirs: Image roots, tried in order; none reads the text alone.
        illegal_tags: As in `check_tags`.

    Returns:
        The splits ``train``, ``validation`` and ``test`` with `post_features`, and for each of them the counts of
        `SplitReport.counts`.

    Raises:
        ValueError: If there is no such corpus, or a file is not as its reader expects.
        FileNotFoundError: If a split's file or an image root does not exist.
    """
    if name not in READERS:
        raise ValueError(f"There is no corpus {name!r}, only {', '.join(READERS)}.")
    corpus, counts = DatasetDict(), {}
    for split in SPLITS:
        report = SplitReport()
        rows = list(READERS[name](source, split, images_dirs, illegal_tags, report))
        corpus[split] = Dataset.from_list(rows, features=post_features())
        counts[split] = report.counts()
    return corpus, counts
