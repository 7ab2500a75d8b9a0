"""MNER-MI's text files: one record a line, each a Python literal or JSON, read without ever evaluating it.

A record is ``{"id": 5302, "text": [words], "images": ["5302_0.jpg", ...], "label": [tags], "url": "..."}``.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .records import Record, check_picture_name
from .text_lines import read_lines

# What broken or hostile text makes either parser raise. Deep nesting ends in one of the last two.
_PARSER_ERRORS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def read_mner_mi_records(path: str | Path, source: str) -> Iterator[Record]:
    """Read the posts of one file, with memory for one line. Blank lines are passed over.

    Args:
        path: The file, UTF-8.
        source: The corpus, kept with every post.

    Yields:
        One record per post. The number of pictures is not limited here; `url` may be absent from the file.

    Raises:
        ValueError: If the file is not UTF-8, a line is neither JSON nor a Python literal, a field is missing or of a
            wrong type, a post has no words, or the name of a picture could lead out of its folder. The message names
            file and line.
    """
    for where, line in read_lines(path):
        if line.strip():
            yield _to_record(_parse(line, where), source, where)


def _parse(line: str, where: str) -> dict[str, Any]:
    """Parse a line as JSON, else as a Python literal."""
    try:
        value = json.loads(line)
    except _PARSER_ERRORS:
        try:
            value = ast.literal_eval(line.strip())
        except _PARSER_ERRORS as error:
            raise ValueError(
                f"{where}: the line is neither JSON nor a Python literal ({type(error).__name__}). It begins with "
                f"{line[:60]!r}. Write one record a line, as JSON."
            ) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"{where}: expected a record {{...}}, got {type(value).__name__}. Write one record a line, as JSON."
        )
    return value


def _to_record(value: dict[str, Any], source: str, where: str) -> Record:
    """Check the fields of a parsed line."""
    missing = [name for name in ("id", "text", "images", "label") if name not in value]
    if missing:
        raise ValueError(
            f"{where}: the record lacks {', '.join(missing)}; it has {', '.join(map(str, value))}. Add them."
        )
    post_id = value["id"]
    if isinstance(post_id, bool) or not isinstance(post_id, int | str):
        raise ValueError(f"{where}: `id` must be a number or a string, got {type(post_id).__name__}.")
    url = value.get("url") or ""
    if not isinstance(url, str):
        raise ValueError(f"{where}, post {post_id!r}: `url` must be a string, got {type(url).__name__}.")
    post = f"{where}, post {str(post_id)!r}"
    tokens, tags, pictures = (_strings(value[name], name, post) for name in ("text", "label", "images"))
    if not tokens:
        raise ValueError(f"{post}: `text` has no words. Give it some, or take the record out.")
    for name in pictures:
        check_picture_name(name, post)
    try:
        # Both forms can spell half a surrogate pair, which no text file, and no Parquet file, can hold.
        "".join([str(post_id), url, *tokens, *tags, *pictures]).encode()
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        raise ValueError(f"{post}: a string holds {found!r}, half a surrogate pair. Write the character.") from error
    return Record(str(post_id), tokens, tags, pictures, url, source, where)


def _strings(value: Any, name: str, post: str) -> list[str]:
    """A field that must be a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{post}: `{name}` must be a list of strings, got {str(value)[:60]!r}.")
    return value
