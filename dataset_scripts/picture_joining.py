"""A copy without pictures made whole again: its pictures joined by name and checked by content."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, Features, List

from .picture_roots import PictureRoots
from .pictures import read_picture
from .source_digest import source_digest

# The columns of a copy without pictures, as `post_features` describes them.
NAME_COLUMNS = ("image_names", "image_sha256")


def lacks_pictures(posts: Dataset) -> bool:
    """Tell whether a split is a copy without pictures."""
    return all(name in posts.column_names for name in NAME_COLUMNS)


def join_pictures(posts: Dataset, images_dirs: Sequence[str | Path]) -> tuple[Dataset, list[str]]:
    """Put the pictures back into a copy that was shared without them.

    Args:
        posts: A split with the columns `image_names` and `image_sha256`. A picture whose checksum is ``None``, as all
            are in a copy that was made of the text alone, is joined unchecked.
        images_dirs: Image roots, folders or zips, tried in order.

    Returns:
        The posts with `images` as a whole copy has them, and what was missing or unreadable, by post: those pictures
        are left out.

    Raises:
        FileNotFoundError: If an image root does not exist.
        ValueError: If a picture has the name of one of the data set and another content. The message names it.
    """
    roots = PictureRoots(images_dirs)
    features = Features({**posts.features, "images": List(datasets.Image(decode=False))})
    features["_missing"] = List(datasets.Value("string"))
    joined = posts.cast_column("images", List(datasets.Image(decode=False))).map(
        _join,
        # Two fingerprints, for a picture may have changed under its name, and the code that reads it.
        fn_kwargs={"roots": roots, "fingerprints": (roots.fingerprint(), source_digest())},
        features=features,
        writer_batch_size=100,
        desc="Joining pictures",
    )
    missing = [message for messages in joined["_missing"] for message in messages]
    return joined.remove_columns(["_missing", *NAME_COLUMNS]), missing


def _join(post: dict[str, Any], roots: PictureRoots, fingerprints: tuple[str, str]) -> dict[str, Any]:
    """The columns of a post that change."""
    pictures = [read_picture(name, roots) for name in post["image_names"]]
    for picture, checksum in zip(pictures, post["image_sha256"], strict=True):
        if picture.data is None or checksum is None:
            continue
        found = hashlib.sha256(picture.data).hexdigest()
        if found != checksum:
            raise ValueError(
                f"Post {post['id']!r}: the picture {picture.name!r} in the image folders has another content (SHA-256 "
                f"{found[:12]}...) than the one of the data set ({checksum[:12]}...). Name the folders of the release "
                "that the data set was built from."
            )
    kept = [number for number, picture in enumerate(pictures) if picture.data is not None]
    scores = {name: post[name] for name in ("quality_scores", "relevance_scores") if post.get(name) is not None}
    return {
        "images": [{"bytes": pictures[number].data, "path": pictures[number].name} for number in kept],
        **{name: [values[number] for number in kept] for name, values in scores.items()},
        "_missing": [f"Post {post['id']!r}: {picture.reason}" for picture in pictures if picture.data is None],
    }
