"""Twitter's CoNLL text: a line ``IMGID:<id>``, then ``word<TAB>tag`` for each word, a blank line after each post."""

from collections.abc import Iterator
from pathlib import Path

from .records import Record, check_picture_name
from .text_lines import read_lines

_HEADER = "IMGID:"


def read_conll(path: str | Path, source: str) -> Iterator[Record]:
    """Read the posts of one file, with memory for one post.

    Args:
        path: The file, UTF-8.
        source: The corpus, kept with every post.

    Yields:
        One record per post. Its picture is ``<id>.jpg``. A word is all that stands before the last tab of its line,
        and may be empty.

    Raises:
        ValueError: If the file is not UTF-8, a post has no words or no ``IMGID:`` line, a line has no tag, or an id
            cannot be part of a file name. The message names file and line.
    """
    record = None
    for where, line in read_lines(path):
        if line.startswith(_HEADER):
            yield from _finish(record)
            record = _begin(line, source, where)
        elif not line.strip(" "):
            yield from _finish(record)
            record = None
        elif record is None:
            raise ValueError(
                f"{where}: {line!r} belongs to no post. Put a line {_HEADER}<id> before a post's first word, and "
                "a blank line only after its last."
            )
        else:
            word, tab, tag = line.rpartition("\t")
            if not tab:
                raise ValueError(
                    f"{where}, post {record.id!r}: {line!r} has no tag. Write the word, a tab and its tag, or "
                    "a blank line between two posts."
                )
            record.tokens.append(word)
            record.tags.append(tag.strip())
    yield from _finish(record)


def _begin(line: str, source: str, where: str) -> Record:
    """Open the post of an ``IMGID:`` line."""
    post_id = line.removeprefix(_HEADER).strip()
    if not post_id:
        raise ValueError(f"{where}: the line {_HEADER} has no id. Write the name of the post's picture, without .jpg.")
    picture = check_picture_name(f"{post_id}.jpg", where)
    return Record(id=post_id, tokens=[], tags=[], pictures=[picture], url="", source=source, where=where)


def _finish(record: Record | None) -> Iterator[Record]:
    """Close the open post, if there is one."""
    if record is None:
        return
    if not record.tokens:
        raise ValueError(f"{record.where}: the post {record.id!r} has no words. Give it some, or take its line out.")
    yield record
