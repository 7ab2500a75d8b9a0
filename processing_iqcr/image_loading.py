"""A path, bytes, a PIL image or an array into a safe RGB image, or an error that says where, what and what to do.

What comes out is a plain 8-bit RGB image in memory: first frame, upright, transparency laid over `BACKGROUND`, 16-bit
values scaled, no metadata. Colour profiles are not applied: pixel values stay as the file has them. A damaged PNG is
always refused; JPEG and WebP carry no checksum, so a wrong byte inside their data can pass as wrong colours.
"""

import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms

logger = logging.getLogger(__name__)

# Formats that PIL decodes inside the process. EPS, for one, would run another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# Above this many pixels (width x height) a picture is refused unread; it is PIL's own limit, 256 MiB in RGB.
MAX_PIXELS = 89_478_485
# Laid under transparent pixels. Logos and screenshots with transparency are drawn for light pages: dark letters would
# vanish on black, and dropping the alpha channel uncovers colours that nobody was meant to see.
BACKGROUND = (255, 255, 255)
# A damaged JPEG is kept if this share of its rows can be read. The others come out grey: no picture, a placeholder.
MIN_READ_SHARE = 0.5
# A progressive JPEG holds its picture several times, ever finer: with less than two whole scans it is a mosaic.
MIN_PROGRESSIVE_SCANS = 3

_REPLACE = f"Replace it by a whole picture ({', '.join(FORMATS)}) or leave it out."
_ACCEPTED = "Pass a path, bytes, a PIL image, a uint8 array (H, W) or (H, W, 1|3|4), or a dict with 'path' or 'bytes'."
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

# What brings each orientation upright, from 2 on (1 is upright).
_TURNS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
_UPRIGHT = {orientation: Image.Transpose[turn] for orientation, turn in enumerate(_TURNS, start=2)}

_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Coded data of no particular picture. No byte is 0xFF, which would start a marker.
_JPEG_NOISE = bytes(i * 37 % 251 for i in range(1024))


class ImageLoadingError(ValueError):
    """A picture cannot be used; the subclasses say why."""


class ImageNotFoundError(ImageLoadingError):
    """There is no such file, or it cannot be read."""


class ImageDecodeError(ImageLoadingError):
    """The data is empty, broken or not a picture."""


class ImageTooLargeError(ImageLoadingError):
    """The picture has more pixels than are allowed, judged by its header."""


class UnsupportedImageError(ImageLoadingError):
    """The source is of a kind that is not read, such as a URL, or its pixel values have no defined meaning."""


class LoadedImage(NamedTuple):
    """A picture and what had to be done to have it."""

    image: Image.Image
    """The picture, RGB."""
    repair: str | None
    """What its file lacks, in words; ``None`` for a whole one."""


def load_image(source: Any, *, where: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Load one picture as RGB; a repair is logged as a warning.

    Args:
        source: A path, the bytes of a file, a PIL image (its current frame), a uint8 array ``(H, W)`` or ``(H, W, C)``
            with 1, 3 or 4 channels, or a mapping with ``"bytes"`` or ``"path"`` (the bytes win), as `datasets` has it.
        where: Post and number of the picture, put in front of every message.
        max_pixels: The most pixels allowed, width times height. PIL's own limit, twice ``Image.MAX_IMAGE_PIXELS``,
            holds as well.

    Returns:
        An RGB image of its own: no open file, no metadata, no memory shared with `source`.

    Raises:
        ImageLoadingError: A subclass for each reason: missing, not to be decoded, too large, unsupported.
    """
    image, repair = load_image_with_report(source, where=where, max_pixels=max_pixels)
    if repair is not None:
        logger.warning("%s: %s.", _describe(source, where), repair)
    return image


def load_image_with_report(source: Any, *, where: str = "", max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Load one picture as `load_image` does, with its repair in the result and no warning.

    A JPEG that ends too early keeps its size; rows that could not be read are grey.
    """
    try:
        return _load(source, max_pixels)
    except ImageLoadingError as error:
        raise type(error)(f"{_describe(source, where)} {error}") from error.__cause__


def _describe(source: Any, where: str = "") -> str:
    """What came, in a few words, and from where."""
    if where:
        return f"{where}: {_describe(source)}"
    if isinstance(source, Mapping):
        return f"a dict ({', '.join(f'{key}: {_describe(value)}' for key, value in source.items())})"[:300]
    if isinstance(source, (str, os.PathLike)):
        return repr(os.fspath(source))[:300]
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"data of {memoryview(source).nbytes} bytes"
    if isinstance(source, np.ndarray):
        return f"an array of shape {source.shape} and type {source.dtype}"
    if isinstance(source, Image.Image):
        return f"a PIL image ({source.mode}, {source.width} x {source.height})"
    return f"an object of type {type(source).__name__}"


def _load(source: Any, max_pixels: int) -> LoadedImage:
    """Load a picture; messages of errors begin with what is wrong."""
    if isinstance(source, Mapping):
        values = [source[key] for key in ("bytes", "path") if source.get(key) is not None]
        if not values:
            raise UnsupportedImageError(f"has neither 'bytes' nor 'path'. {_ACCEPTED}")
        content = source.get("bytes")
        if content is not None and not isinstance(content, (bytes, bytearray, memoryview)):
            # a string here would be opened as a path, which whoever checks the paths does not look for
            raise UnsupportedImageError(f"has 'bytes' of type {type(content).__name__}. {_ACCEPTED}")
        source = values[0]
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(BytesIO(bytes(source)), max_pixels)
    if isinstance(source, (str, os.PathLike)):
        with _open_file(source) as stream:
            return _decode(stream, max_pixels)
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if not isinstance(source, Image.Image):
        raise UnsupportedImageError(f"is not a picture. {_ACCEPTED}")
    _check_size(source, max_pixels)
    with _pil_errors():
        source.load()
        return LoadedImage(_to_rgb(source), None)


def _open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a file; whatever else has a path (a folder, a device, a pipe) could block or never end."""
    if isinstance(path, str) and _URL.match(path):
        raise UnsupportedImageError(
            "is a URL, and nothing is fetched from a network unasked. Download it and pass its path, or let the "
            "pipeline do so by `allow_urls=True`."
        )
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return open(path, "rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageNotFoundError(f"cannot be opened ({reason}). Check the path, or leave it out.") from error
    raise UnsupportedImageError("is not a file. Pass the path of one picture.")


def _from_array(array: np.ndarray) -> Image.Image:
    """Take pixels that are 8-bit and have their channels last; other types have no agreed range."""
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise UnsupportedImageError(f"cannot be read as a picture. {_ACCEPTED} Scale other numbers to 0..255 first.")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))


@contextmanager
def _pil_errors() -> Iterator[None]:
    """Turn whatever PIL raises, and on broken data it raises anything, into an error of ours."""
    try:
        yield
    except ImageLoadingError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"is too large ({error}). Scale it down or leave it out.") from error
    except Image.UnidentifiedImageError as error:
        raise ImageDecodeError(f"is not a picture of a known format. {_REPLACE}") from error
    except Exception as error:
        raise ImageDecodeError(f"cannot be decoded ({type(error).__name__}: {error}). {_REPLACE}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    """Refuse a picture without pixels or with too many, before any of them is decoded."""
    if image.width * image.height == 0:
        raise UnsupportedImageError("has no pixels. Leave it out.")
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height} pixels, allowed are {max_pixels}"
        raise ImageTooLargeError(f"is too large ({size}). Scale it down, or raise `max_pixels` if you trust it.")


def _decode(stream: BinaryIO, max_pixels: int) -> LoadedImage:
    """Decode a file, its header first."""
    if not stream.read(1):
        raise ImageDecodeError(f"is empty. {_REPLACE}")
    with _pil_errors():
        image = Image.open(stream, formats=FORMATS)  # reads the header, from the beginning of the stream
        _check_size(image, max_pixels)
        if image.format in ("JPEG", "MPO"):
            stream.seek(0)
            return _decode_jpeg(image, stream.read())
        if image.format == "PNG":
            image.verify()  # Decoding alone ignores the checksums of the pixels.
            image = Image.open(stream, formats=FORMATS)
        image.load()
        return LoadedImage(_to_rgb(image), None)


def _decode_jpeg(image: Image.Image, data: bytes) -> LoadedImage:
    """Decode a JPEG, also one that ends too early, as long as enough of it is there.

    PIL's switch for truncated files holds for the whole process, so the missing end marker is supplied instead.
    """
    repair = None
    if data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        repair = "the JPEG data ends early, without its end marker"
        if image.info.get("progressive") and data.count(_JPEG_SCAN) < MIN_PROGRESSIVE_SCANS:
            raise ImageDecodeError(f"is cut off so early that it has no details. {_REPLACE}")
        data += _JPEG_END
    image = _load_jpeg(data)
    unread = _count_grey_rows(image)
    if unread and _wants_more_data(image, data):
        read = image.height - unread
        if read < MIN_READ_SHARE * image.height:
            raise ImageDecodeError(f"is cut off or broken: {read} of {image.height} rows can be read. {_REPLACE}")
        repair = f"the JPEG data is cut off or broken, the last {unread} of {image.height} rows are grey"
    return LoadedImage(_to_rgb(image), repair)


def _load_jpeg(data: bytes) -> Image.Image:
    """Decode JPEG data whose header has been judged already."""
    image = Image.open(BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def _count_grey_rows(image: Image.Image) -> int:
    """The number of rows at the bottom that are as the decoder leaves them when it has no data: grey all over."""
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    for part in (last_row, image):  # nearly always the last row settles it
        pixels = np.asarray(part)
        # 128 is the middle; in a CMYK file, which PIL inverts, it is 127.
        grey = ((pixels == 127) | (pixels == 128)).reshape(len(pixels), -1).all(axis=1)
        if not grey[-1]:
            return 0
    return len(grey) if grey.all() else int(grey[::-1].argmin())


def _wants_more_data(image: Image.Image, data: bytes) -> bool:
    """Whether grey rows are filler and not part of the picture: then noise after the first scan changes it."""
    position, marker = 2, b""
    while marker != _JPEG_SCAN:  # each segment before the scan begins with its own length
        start = _JPEG_MARKER.search(data, position)
        marker, position = start.group(), start.end() + int.from_bytes(data[start.end() : start.end() + 2])
    following = _JPEG_MARKER.search(data, position)
    end = following.start() if following else len(data)
    noisy = _load_jpeg(data[:end] + _JPEG_NOISE + data[end:])
    return not np.array_equal(np.asarray(noisy), np.asarray(image))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a decoded image of any mode to upright RGB."""
    upright = _orientation(image)
    if image.mode.startswith("I"):
        image = _scale_integers(image)
    elif image.mode == "F":
        raise UnsupportedImageError("holds floating-point pixels, which have no agreed range. Scale them to 8 bits.")
    elif image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    elif image.has_transparency_data:
        background = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(background, image.convert("RGBA"))
    image = image.convert("RGB")
    if upright is not None:
        image = image.transpose(upright)
    image.info = {}  # An orientation or transparency left here would be applied a second time.
    return image


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """How to turn the image upright; a broken EXIF block says nothing and is no reason to lose the picture."""
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:
        return None


def _scale_integers(image: Image.Image) -> Image.Image:
    """Scale 16-bit greys to 8 bits. Mode "I" is wider than what it holds, which is 8 bits if no value is above 255."""
    values = np.asarray(image).astype(np.int32)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnsupportedImageError(f"holds values from {low} to {high}, not within 0..65535. Scale it to 8 bits.")
    if image.mode != "I" or high > 255:
        values = (values + 128) // 257
    return Image.fromarray(values.astype(np.uint8))
