"""The lines of a text file, each with its number, of bounded length and surely UTF-8."""

from collections.abc import Iterator
from pathlib import Path

# Bytes in a line. The longest record of a release has some thousands; a file without line ends is none.
MAX_LINE_BYTES = 1_000_000


def read_lines(path: str | Path) -> Iterator[tuple[str, str]]:
    r"""Read a file line by line, with memory for one line.

    Only ``\n`` ends a line: tweets hold characters, such as U+2028 and U+0085, at which `str.splitlines` would cut.

    Args:
        path: The file, UTF-8 with or without a byte-order mark.

    Yields:
        ``file:line`` (counted from 1), and the line without its ``\n`` or ``\r\n``.

    Raises:
        ValueError: If a line is too long or not UTF-8.
    """
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path}:{number}"
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(
                    f"{where}: the line is longer than {MAX_LINE_BYTES:,} bytes, so this is hardly a text of posts. "
                    "Check that the file is the release's own."
                )
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{where}: byte {error.start} of the line is not UTF-8 ({error.reason}). Convert it to UTF-8."
                ) from error
            yield where, text.removesuffix("\n").removesuffix("\r")
