"""Pictures by their address, for those who allow it: no picture is fetched from a network otherwise."""

import time
import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from .image_loading import ImageLoadingError

TIMEOUT = 20.0
"""Seconds without an answer, and for the whole of a picture's data once it has begun to come."""
MAX_BYTES = 64 * 2**20
"""The most bytes of a picture's file."""

_CHUNK = 64 * 1024


class ImageFetchError(ImageLoadingError):
    """A picture cannot be had from its address."""


def is_address(source) -> bool:
    """Whether a source is an ``http`` or ``https`` address."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def fetch_image(address: str, where: str = "") -> bytes:
    """Download a picture's file.

    Args:
        address: Its ``http`` or ``https`` address. Redirections are followed to other such addresses alone.
        where: Post and number of the picture, put in front of every message.

    Returns:
        The bytes, not yet looked at.

    Raises:
        ImageFetchError: If it cannot be had, is larger than `MAX_BYTES` or slower than `TIMEOUT`.
    """
    described = f"{where}: " * bool(where) + repr(_public_part(address)[:300])
    deadline = time.monotonic() + TIMEOUT
    data = bytearray()
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "iqcr-mi"})
        with _opener().open(request, timeout=TIMEOUT) as reply:
            while chunk := reply.read1(_CHUNK):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise ImageFetchError(f"{described} has more than {MAX_BYTES >> 20} MiB. Leave it out.")
                if time.monotonic() > deadline:
                    raise ImageFetchError(f"{described} was not there after {TIMEOUT:g} seconds. Download it first.")
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, ImageFetchError):
            raise
        reason = getattr(error, "reason", None) or error
        raise ImageFetchError(f"{described} cannot be downloaded ({reason}). Check it, or leave it out.") from error
    return bytes(data)


def _public_part(address: str) -> str:
    """An address without user, port, query and fragment, of which some may be a secret."""
    try:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"
    except ValueError:  # no address at all
        return address.partition("://")[0] + "://..."


def _opener() -> urllib.request.OpenerDirector:
    """What opens ``http`` and ``https``, and no ``file``, ``ftp`` or ``data`` that a redirection may lead to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener
