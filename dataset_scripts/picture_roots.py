"""The bytes of a picture by its name, from folders and zip archives that are tried in order.

The archives are other people's: nothing is ever unpacked to disk, and an archive whose entries could lead out of the
folder that it would be unpacked into is refused as a whole.
"""

import hashlib
import os
import re
import stat
import zipfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .records import check_picture_name

# Above this many bytes, a file or an entry of an archive is refused: a small zip entry can unpack to anything.
MAX_PICTURE_BYTES = 64 * 2**20

# The two that zipfile unpacks piece by piece. From bzip2 and LZMA it takes all that a piece of data holds at once, so
# that an entry of a few kilobytes can fill the memory, whatever size it declares.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What leads out of a folder on some system: absolute, on another drive, a part "..", or a NUL that hides the rest.
_LEADS_OUT = re.compile(r"\0|\A/|\A[A-Za-z]:|(\A|/)\.\.(/|\Z)")
# A name in an archive has up to 65,535 characters; an error shows this many.
_CHARACTERS_SHOWN = 300


class PictureMissingError(ValueError):
    """None of the image roots has the picture."""


class PictureUnreadableError(ValueError):
    """The picture is there, but its bytes cannot be had."""


class PictureRoots:
    """Image roots, tried in order: folders, and zip archives that are read without unpacking them.

    In a folder, a picture lies at its name. In an archive it also does under folders of the archive's own: `1_0.jpg`
    is found at `images/1_0.jpg` unless there is a `1_0.jpg`; of entries that have the same name the last one counts,
    as when unpacking. Several threads may read at once. A forked process opens the archives for itself, and pickling
    keeps only the paths.

    Args:
        roots: Paths of folders and zip archives.

    Raises:
        FileNotFoundError: If a root does not exist.
        ValueError: If a root is neither a folder nor a whole zip archive, or an archive has an entry whose name could
            lead out of its folder.
    """

    def __init__(self, roots: Sequence[str | Path]):
        self._roots = [_open_root(Path(root).absolute()) for root in roots]

    def read(self, names: Sequence[str]) -> bytes:
        """Read one picture.

        Args:
            names: Names it may have, relative to a root. The first root that has one of them gives it; within a root
                the first name.

        Returns:
            The bytes, at most `MAX_PICTURE_BYTES`; whether they are a picture is not looked at.

        Raises:
            PictureMissingError: If no root has any of the names.
            PictureUnreadableError: If the first that was found cannot be read, is too large, is a link out of its
                root, or could be one of several entries.
            ValueError: If a name does not pass `check_picture_name`.
        """
        for name in names:
            check_picture_name(name, "image roots")
        for root in self._roots:
            for name in names:
                data = root.read(name)
                if data is not None:
                    return data
        wanted = " or ".join(repr(name) for name in names)
        raise PictureMissingError(
            f"{wanted} is in none of the image roots ({', '.join(str(root.path) for root in self._roots)})."
        )

    def fingerprint(self) -> str:
        """Sum up what the roots hold, without reading any of it.

        Returns:
            A hexadecimal SHA-256. It changes with the roots' real paths and order, with the name, size or time of any
            file in a folder, hidden ones excepted, and with the size or time of an archive.
        """
        digest = hashlib.sha256()
        for root in self._roots:
            for item in root.stamps():
                digest.update(f"{item!r}\n".encode())
        return digest.hexdigest()

    def without_places(self, message: str) -> str:
        """Take out of a message where on somebody's machine the roots lie: a build report may be shown to anybody.

        Args:
            message: That of an error of `read`.

        Returns:
            The message, each root under its own name.
        """
        for root in self._roots:
            for written in (str(root.path), repr(str(root.path))[1:-1]):
                message = message.replace(written, root.path.name)
        return message

    def close(self) -> None:
        """Close the archives of this process; a later `read` opens them again."""
        for root in self._roots:
            root.close()

    def __len__(self) -> int:
        return len(self._roots)

    def __enter__(self) -> "PictureRoots":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple:
        return PictureRoots, ([root.path for root in self._roots],)


class _FolderRoot:
    """A folder with pictures, itself or through links that stay inside it."""

    def __init__(self, path: Path):
        self.path = path
        self._real_path = os.path.realpath(path)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, or ``None`` if there is none."""
        path = self.path / name
        what = repr(str(path))
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _refuse_file(what, error)
        try:
            real_path = os.path.realpath(path, strict=True)
            if not Path(real_path).is_relative_to(self._real_path):
                raise PictureUnreadableError(
                    f"{what} is a link that leads out of the image root. Copy the file into it, or name the file's "
                    "folder as an image root."
                )
            status = os.stat(real_path)
            if not stat.S_ISREG(status.st_mode):  # Opening a pipe would wait for ever.
                raise PictureUnreadableError(f"{what} is not a file. Put a picture there, or leave it out.")
            _check_size(what, status.st_size)
            with open(real_path, "rb") as stream:
                return stream.read(status.st_size)
        except OSError as error:
            _refuse_file(what, error)

    def stamps(self) -> Iterator[tuple]:
        """What a change of the folder changes. A link counts as itself: what it leads to is here or is refused."""
        yield "folder", self._real_path
        for folder, folders, files in os.walk(self._real_path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in sorted(files + links):
                if not name.startswith("."):
                    path = Path(folder, name)
                    status = path.lstat()
                    yield path.relative_to(self._real_path).as_posix(), status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Nothing is kept open."""


class _ZipRoot:
    """A zip archive with pictures."""

    def __init__(self, path: Path):
        self.path = path
        # By process: after a fork, parent and child would move each other's position in one shared file.
        self._archives: dict[int, zipfile.ZipFile] = {}
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive().infolist():
            # Not `filename`, which zipfile has cut at a NUL and, on Windows only, turned to forward slashes.
            entry_path = entry.orig_filename.replace("\\", "/")
            if _LEADS_OUT.search(entry_path):
                raise ValueError(
                    f"{str(path)!r} is refused as a whole: an entry could lead out of its folder "
                    f"({entry.orig_filename!r:.{_CHARACTERS_SHOWN}}). Get the archive from a source that you trust, "
                    "or pack the pictures anew."
                )
            if not entry_path.endswith("/") and "__MACOSX" not in entry_path.split("/"):
                self._entries[entry_path] = entry
        # Backwards, all paths with the same end are neighbours. A table of all ends would be as large as an archive's
        # author wants it, by names with thousands of parts.
        self._paths_backwards = sorted(entry_path[::-1] for entry_path in self._entries)

    def read(self, name: str) -> bytes | None:
        """The bytes of an entry, or ``None`` if there is none."""
        entry_path = self._find(name)
        if entry_path is None:
            return None
        entry = self._entries[entry_path]
        what = f"{f'{self.path}: {entry_path}'!r:.{_CHARACTERS_SHOWN}}"
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise PictureUnreadableError(f"{what} is a link. Pack the file itself.")
        if entry.compress_type not in _COMPRESSIONS:
            method = zipfile.compressor_names.get(entry.compress_type, f"method {entry.compress_type}")
            raise PictureUnreadableError(f"{what} is compressed by {method}. Pack it stored or deflated.")
        _check_size(what, entry.file_size)
        try:
            with self._archive().open(entry) as stream:
                # One more than declared: also where none are declared, zipfile goes on to compare the checksum.
                data = stream.read(entry.file_size + 1)
        except Exception as error:  # On damaged data zipfile raises anything.
            raise PictureUnreadableError(f"{what} cannot be read ({error}). Get or pack the archive anew.") from error
        if len(data) != entry.file_size:
            raise PictureUnreadableError(
                f"{what} should have {entry.file_size} bytes and has {len(data)}. Get or pack the archive anew."
            )
        return data

    def stamps(self) -> Iterator[tuple]:
        """What a change of the archive changes."""
        status = os.stat(self.path)
        yield "zip", os.path.realpath(self.path), status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Close the archive of this process."""
        archive = self._archives.pop(os.getpid(), None)
        if archive is not None:
            archive.close()

    def _archive(self) -> zipfile.ZipFile:
        """The archive, open in this process."""
        archive = self._archives.get(os.getpid())
        # Of two threads that open it at once, the second takes what the first has stored.
        return archive or self._archives.setdefault(os.getpid(), _open_archive(self.path))

    def _find(self, name: str) -> str | None:
        """The path of the entry that is `name` or else, in some folder, ends in it."""
        if name in self._entries:
            return name
        end = f"/{name}"[::-1]
        start = bisect_left(self._paths_backwards, end)
        found = [path[::-1] for path in self._paths_backwards[start : start + 2] if path.startswith(end)]
        if len(found) == 2:
            first, second = (f"{path!r:.{_CHARACTERS_SHOWN}}" for path in sorted(found))
            raise PictureUnreadableError(
                f"{str(self.path)!r} has more than one entry for {name!r}: {first} and {second}. Name the picture "
                "with its folder, or keep one of them."
            )
        return found[0] if found else None


def _open_root(path: Path) -> _FolderRoot | _ZipRoot:
    """A root of the kind that the path has."""
    if path.is_dir():
        return _FolderRoot(path)
    if not path.exists():
        raise FileNotFoundError(f"The image root {str(path)!r} does not exist. Correct its path or leave it out.")
    return _ZipRoot(path)


def _open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive, which reads its table of contents."""
    try:
        if not path.is_file():  # Opening a pipe would wait for ever.
            raise OSError("it is not a file")
        return zipfile.ZipFile(path)
    except Exception as error:  # On damaged data zipfile raises anything.
        raise ValueError(
            f"{str(path)!r} is neither a folder nor a whole zip archive ({error}). An image root is a folder or a "
            ".zip file. If this one is a .zip file, it is cut off or damaged: get it again."
        ) from error


def _check_size(what: str, size: int) -> None:
    """Refuse what is too large, before any of it is read."""
    if size > MAX_PICTURE_BYTES:
        raise PictureUnreadableError(
            f"{what} is larger than the {MAX_PICTURE_BYTES} bytes that a picture may have: {size}. Scale it down or "
            "leave it out."
        )


def _refuse_file(what: str, error: OSError) -> NoReturn:
    """Say why the system does not give a file."""
    raise PictureUnreadableError(
        f"{what} cannot be read ({error.strerror}). Make it readable, or leave it out."
    ) from error
