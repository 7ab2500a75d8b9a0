"""The pictures of a post: read ahead on several threads, decoded to be sure of them, mended where nothing is lost."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, get_args

from processing_iqcr.image_loading import ImageLoadingError, load_image_with_report

from .picture_roots import PictureMissingError, PictureRoots, PictureUnreadableError
from .records import Record

BrokenImages = Literal["keep-post", "drop-post", "error"]

# The MNER-UNI files call Twitter-2017's picture `<file>` by the name `twitter2017-<file>`.
TWITTER_2017_PREFIX = "twitter2017-"
# What another system's loader shows in the place of a missing picture. It is none, whatever a file lists.
PLACEHOLDERS = ("inf.png",)

# Two cores decode at once; Pillow lets go of the interpreter while it does.
_THREADS = 2
# Posts whose pictures are read before they are asked for. They bound the memory: some four pictures of 100 kB a post.
_POSTS_AHEAD = 16
_JPEG_END = b"\xff\xd9"


class Picture(NamedTuple):
    """A picture that a post lists."""

    name: str
    """As the post lists it."""
    data: bytes | None
    """Its file; of a JPEG that ends early with the end marker, so that any program can read it. ``None`` if it cannot
    be used."""
    fault: Literal["missing", "broken", "repaired"] | None
    """What is wrong with it; ``None`` for a whole one."""
    reason: str
    """The fault in words."""
    has_file: bool = True
    """Whether its bytes could be had; ``False`` too for one that an archive names but cannot give."""


def check_policy(broken_images: str) -> None:
    """Refuse a policy for broken pictures that there is not.

    Raises:
        ValueError: If `broken_images` is none of `BrokenImages`.
    """
    if broken_images not in get_args(BrokenImages):
        raise ValueError(f"`broken_images` must be one of {get_args(BrokenImages)}, got {broken_images!r}.")


def lookup_names(name: str) -> list[str]:
    """The names under which a picture may be stored.

    Args:
        name: As a record lists it.

    Returns:
        The name, and what follows the first dash if it begins with ``twitter2017-``.
    """
    return [name, name.removeprefix(TWITTER_2017_PREFIX)] if name.startswith(TWITTER_2017_PREFIX) else [name]


def listed_pictures(record: Record) -> list[str]:
    """The pictures that a post lists, without placeholders."""
    return [name for name in record.pictures if name not in PLACEHOLDERS]


def read_picture(name: str, roots: PictureRoots) -> Picture:
    """Find a picture and decode it.

    Args:
        name: As a record lists it.
        roots: Where to look.

    Returns:
        The picture. One that is missing or cannot be decoded is no error here: its fault says so.
    """
    try:
        data = roots.read(lookup_names(name))
    except PictureMissingError as error:
        return Picture(name, None, "missing", roots.without_places(str(error)), has_file=False)
    except PictureUnreadableError as error:
        return Picture(name, None, "broken", roots.without_places(str(error)), has_file=False)
    try:
        repair = load_image_with_report(data, where=repr(name)).repair
    except ImageLoadingError as error:
        return Picture(name, None, "broken", str(error))
    if repair is None:
        return Picture(name, data, None, "")
    return Picture(name, data if data.endswith(_JPEG_END) else data + _JPEG_END, "repaired", repair)


def read_pictures_ahead(records: Iterable[Record], roots: PictureRoots) -> Iterator[tuple[Record, list[Picture]]]:
    """Read the pictures of posts in their order, with memory for a few posts.

    Args:
        records: The posts.
        roots: Where to look.

    Yields:
        Each post with its pictures in the order that it lists them. Placeholders are left out.
    """

    def read(record: Record) -> list[Picture]:
        return [read_picture(name, roots) for name in listed_pictures(record)]

    with ThreadPoolExecutor(_THREADS) as pool:
        ahead = deque()
        for record in records:
            ahead.append((record, pool.submit(read, record)))
            if len(ahead) > _POSTS_AHEAD:
                first, pictures = ahead.popleft()
                yield first, pictures.result()
        for record, pictures in ahead:
            yield record, pictures.result()
