"""The text file of a split, or an error that says what the folder holds instead."""

from collections.abc import Mapping
from pathlib import Path

SPLITS = ("train", "validation", "test")

# How many of a folder's entries an error lists.
_ENTRIES_SHOWN = 20


def find_split_file(source_dir: str | Path, split: str, files: Mapping[str, str]) -> Path:
    """Find the file of one split.

    Args:
        source_dir: The folder of the release.
        split: A key of `files`.
        files: Path of each split's file, relative to the folder.

    Returns:
        The path of the file, which exists.

    Raises:
        ValueError: If there is no such split.
        FileNotFoundError: If the folder or the file does not exist; says what was expected and what was found.
    """
    if split not in files:
        raise ValueError(f"There is no split {split!r}, only {', '.join(files)}.")
    path = Path(source_dir) / files[split]
    if path.is_file():
        return path
    expected = f"Expected the {split} split at {str(path)!r}"
    folder = next(folder for folder in path.parents if folder.is_dir())
    raise FileNotFoundError(
        f"{expected}; the folder {str(folder)!r} holds {list_folder(folder)}. Pass the folder of the release, with "
        f"{', '.join(files.values())} in it."
    )


def list_folder(folder: Path) -> str:
    """The first entries of a folder in a line, for an error that says what was found there."""
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(entries) - _ENTRIES_SHOWN} more" if len(entries) > _ENTRIES_SHOWN else ""
    return (", ".join(entries[:_ENTRIES_SHOWN]) or "nothing") + more
