"""CoNLL text: a word and its tag on each line, a blank line after each post, lines ``IMGID:<id>`` before its words.

Twitter's release has exactly one such line and a tab on each line. A user's own file may depart from it.
"""

from collections.abc import Iterator
from pathlib import Path

from .records import Record, check_picture_name
from .tag_conversion import TagScheme, to_bio
from .text_lines import read_lines

_HEADER = "IMGID:"
# CoNLL-2003's line between two documents.
_DOCUMENT = "-DOCSTART-"
_IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def read_conll(path: str | Path, source: str) -> Iterator[Record]:
    """Read the posts of one file of Twitter's release, with memory for one post.

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
            post_id = _read_header(line, where)
            record = Record(post_id, [], [], [check_picture_name(f"{post_id}.jpg", where)], "", source, where)
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


def read_user_conll(path: str | Path, source: str, scheme: TagScheme = "bio", id_prefix: str = "") -> Iterator[Record]:
    """Read the posts of a user's own file, with memory for one post. Lines ``-DOCSTART-`` count as blank.

    Args:
        path: The file, UTF-8. The first column of a line is the word, the last one its tag. Tabs part the columns, or
            spaces where a line has no tab.
        source: The corpus, kept with every post.
        scheme: How the tags are written.
        id_prefix: Put before the line number of a post's first word, which is the id of a post without ``IMGID:``.

    Yields:
        One record per post, its tags in BIO. Every ``IMGID:`` line before its first word names a picture, as
        ``<id>.jpg`` unless the id ends as a picture's name does; the first of them is the post's id. Words are never
        changed, and where tabs part the columns a word may be empty.

    Raises:
        ValueError: If the file is not UTF-8, a post has ``IMGID:`` lines and no words, a line has no tag or one that
            the scheme lacks, or an id cannot be part of a file name. The message names file and line.
    """
    record = None
    for where, line in read_lines(path):
        if line.startswith(_HEADER):
            if record is not None and record.tokens:
                yield from _finish(record, scheme)
                record = None
            post_id = _read_header(line, where)
            record = record or Record(post_id, [], [], [], "", source, where)
            is_file_name = post_id.lower().endswith(_IMAGE_EXTENSIONS)
            record.pictures.append(check_picture_name(post_id if is_file_name else f"{post_id}.jpg", where))
        elif not line.strip(" \t") or line.replace("\t", " ").partition(" ")[0] == _DOCUMENT:
            yield from _finish(record, scheme)
            record = None
        else:
            word, tag = _split_columns(line, where)
            record = record or Record(id_prefix + where.rpartition(":")[2], [], [], [], "", source, where)
            record.tokens.append(word)
            record.tags.append(tag)
    yield from _finish(record, scheme)


def _read_header(line: str, where: str) -> str:
    """The id of an ``IMGID:`` line."""
    post_id = line.removeprefix(_HEADER).strip()
    if not post_id:
        raise ValueError(f"{where}: the line {_HEADER} has no id. Write the name of the post's picture, without .jpg.")
    return post_id


def _split_columns(line: str, where: str) -> tuple[str, str]:
    """The first column and the last one. Only tabs and spaces part them: a word may hold any other white space."""
    separator = "\t" if "\t" in line else " "
    word, found, others = (line if separator == "\t" else line.strip(" ")).partition(separator)
    if not found:
        raise ValueError(
            f"{where}: {line[:60]!r} has no tag. Write the word, a tab or a space and its tag, or a blank line "
            "between two posts."
        )
    return word, others.rpartition(separator)[2].strip()


def _finish(record: Record | None, scheme: TagScheme | None = None) -> Iterator[Record]:
    """Close the open post, if there is one; with a scheme, its tags become BIO."""
    if record is None:
        return
    if not record.tokens:
        raise ValueError(f"{record.where}: the post {record.id!r} has no words. Give it some, or take its line out.")
    if scheme is not None:
        record = record._replace(tags=to_bio(record.tags, scheme, f"{record.where}, post {record.id!r}"))
    yield record
