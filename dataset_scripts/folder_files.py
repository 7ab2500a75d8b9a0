"""Which file of a user's folder holds which split, and which entity types its posts have."""

from collections.abc import Iterable
from pathlib import Path

from .records import Record
from .split_files import list_folder

# What a split may be called, as `datasets` has it.
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}

_FILES = ("{name}/metadata.jsonl", "{name}.jsonl", "{name}.txt", "{name}.conll")
# Beside the pictures of a folder that is not split.
_WHOLE = "metadata.jsonl"


def find_folder_files(source_dir: str | Path) -> dict[str, Path]:
    """Find the file of each split in a user's folder.

    A split is ``<split>/metadata.jsonl``, ``<split>.jsonl``, ``<split>.txt`` or ``<split>.conll``, its name one of
    `SPLIT_NAMES`. A ``metadata.jsonl`` in the folder itself is ``train`` and the only file.

    Args:
        source_dir: The folder.

    Returns:
        The file of every split that there is, at least one, in the order ``train``, ``validation``, ``test``.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no such file; says what was expected and what is
            there.
        ValueError: If two files could be the same split, or there is a split beside the one ``metadata.jsonl``.
    """
    folder = Path(source_dir)
    if not folder.is_dir():
        is_file = " is a file, not a folder" if folder.is_file() else " does not exist"
        raise FileNotFoundError(f"The folder {str(folder)!r}{is_file}. Pass the folder that holds the files of posts.")
    files = {}
    for split, names in SPLIT_NAMES.items():
        candidates = [folder / file.format(name=name) for name in names for file in _FILES]
        found = [path for path in candidates if path.is_file()]
        if len(found) > 1:
            raise ValueError(
                f"The folder {str(folder)!r} has several files for the {split} split: {_list(found, folder)}. Keep "
                "one of them."
            )
        if found:
            files[split] = found[0]
    whole = folder / _WHOLE
    if whole.is_file() and files:
        raise ValueError(
            f"The folder {str(folder)!r} has a {_WHOLE}, which holds all posts, beside "
            f"{_list(files.values(), folder)}. Keep either, or move {_WHOLE} to train/{_WHOLE}."
        )
    if whole.is_file():
        return {"train": whole}
    if not files:
        raise _nothing_found(folder)
    return files


def find_entity_types(records: Iterable[Record]) -> list[str]:
    """List the entity types that occur in posts, under the names that they have there.

    Args:
        records: Posts with BIO tags.

    Returns:
        The types, each once, sorted.
    """
    return sorted({tag[2:] for record in records for tag in record.tags if tag != "O"})


def _list(paths: Iterable[Path], folder: Path) -> str:
    """The names of files in the folder."""
    return " and ".join(path.relative_to(folder).as_posix() for path in paths)


def _nothing_found(folder: Path) -> FileNotFoundError:
    """What was expected and what the folder holds."""
    expected = ", ".join(file.format(name="<split>") for file in _FILES)
    names = ", ".join(name for names in SPLIT_NAMES.values() for name in names)
    return FileNotFoundError(
        f"The folder {str(folder)!r} holds no file of posts. Expected {expected} with {names} as <split>, or one "
        f"{_WHOLE}; the folder holds {list_folder(folder)}."
    )
