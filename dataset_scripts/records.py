"""A post as its release has it, its tags unchecked and its pictures unseen."""

import re
from typing import NamedTuple


class Record(NamedTuple):
    """One post as a reader found it."""

    id: str
    """The release's own name of the post."""
    tokens: list[str]
    """Its words, at least one."""
    tags: list[str]
    """Its tags as the file has them, or, if the file has another form, as BIO."""
    pictures: list[str]
    """File names of its pictures, relative to an image root, checked not to leave it."""
    url: str
    """Where it was posted; empty if the release does not say."""
    source: str
    """The corpus it comes from."""
    where: str
    """File and line where it starts."""
    repairs: tuple[str, ...] = ()
    """What the reader changed about its tags, one sentence each."""


def check_picture_name(name: str, where: str) -> str:
    """Refuse the name of a picture that could lead out of the image root.

    Args:
        name: A file name, or a relative path with ``/``.
        where: The post and its place, put in front of the message.

    Returns:
        `name`.

    Raises:
        ValueError: If it is empty or absolute, holds ``..``, a backslash, a drive or a NUL.
    """
    if not name or re.search(r"[\\\0]|^/|^[A-Za-z]:|(^|/)\.\.(/|$)", name):
        raise ValueError(
            f"{where}: the picture name {name!r} is empty or could lead out of the image folder. Name a file inside "
            "it, such as '5302_0.jpg'."
        )
    return name
