"""The pictures of a data set as files: where they lie, which can be read, and their checksums."""

import hashlib
from pathlib import Path

from datasets import Dataset, Features, List, Value
from transformers.utils import logging

from mner_training.versions import source_digest
from processing_iqcr.image_loading import ImageLoadingError, ImageNotFoundError, load_image
from processing_iqcr.image_scores import SCORE_RANGES, check_scores

logger = logging.get_logger(__name__)


def use_cache(posts: Dataset) -> bool | None:
    """What `Dataset.map` may do with a stored result, which it knows by its input's fingerprint.

    Returns:
        ``None``, as usual, if the pictures lie inside the data set. ``False`` if one lies behind a path, which is the
        same when the picture has changed.
    """
    if "images" not in posts.column_names:
        return None
    chunks = posts.data.column("images").chunks
    return False if any(chunk.flatten().field("bytes").null_count for chunk in chunks) else None


def drop_broken_images(posts: Dataset, names: list[str]) -> tuple[Dataset, list[str]]:
    """Leave out the pictures that cannot be read; their posts stay.

    Args:
        posts: The posts, pictures not decoded.
        names: What messages call each post.

    Returns:
        The posts, pictures and scores of one length, and what was wrong with each picture left out.
    """
    if "images" not in posts.column_names:
        return posts, []
    checked = posts.map(
        _without_broken_images,
        fn_kwargs={"names": names, "sources": source_digest()},
        with_indices=True,
        # Given, for a type guessed from the first posts (an empty list of errors) would not hold for the later ones.
        features=Features({**posts.features, "broken_images": List(Value("string"))}),
        load_from_cache_file=use_cache(posts),
        desc="Checking pictures",
    )
    dropped = [message for messages in checked["broken_images"] for message in messages]
    for message in dropped:
        logger.warning("Left out: %s", message)
    return checked.remove_columns("broken_images"), dropped


def _without_broken_images(post: dict, index: int, names: list[str], sources: str) -> dict:
    """The columns of a post that change, and what was wrong."""
    kept, broken = [], []
    for number, image in enumerate(post["images"] or ()):
        try:
            load_image(image, where=f"{names[index]}, image {number}")
            kept.append(number)
        except ImageLoadingError as error:
            broken.append(str(error))
    for column in SCORE_RANGES:
        if post.get(column) is not None:
            check_scores(post[column], len(post["images"] or ()), column, names[index])
    columns = [c for c in ("images", *SCORE_RANGES) if post.get(c) is not None]
    return {"broken_images": broken} | {column: [post[column][number] for number in kept] for column in columns}


def image_content(image: dict | None, where: str) -> bytes:
    """The bytes of a picture's file.

    Args:
        image: As `datasets` has it: ``{"bytes", "path"}``, the bytes winning.
        where: Post and number of the picture, put in front of the message.

    Raises:
        ImageNotFoundError: If it has no bytes, and its path is none of a file that can be read.
    """
    if image and image["bytes"] is not None:
        return image["bytes"]
    path = image and image["path"]
    try:
        if path and Path(path).is_file():
            return Path(path).read_bytes()
        reason = "there is no such file"
    except OSError as error:
        reason = error.strerror
    raise ImageNotFoundError(f"{where}: {path!r} cannot be opened ({reason}). Check the path, or leave it out.")


def image_digest(image: dict | None) -> str:
    """The checksum of a picture's file; that of nothing if there is none, which the run has reported by then."""
    try:
        return hashlib.sha256(image_content(image, "")).hexdigest()
    except ImageNotFoundError:
        return hashlib.sha256(b"").hexdigest()
