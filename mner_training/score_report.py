"""The report of a data set's scores: its figure, and a page with numbers and with the pictures at both ends."""

import hashlib
import uuid
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image

from mner_training.picture_files import image_digest
from mner_training.score_counts import PictureScores, Place, collect_scores
from mner_training.score_figure import draw_figure
from mner_training.score_page import ShownPicture, render_score_page
from processing_iqcr.image_loading import (
    ImageDecodeError,
    ImageLoadingError,
    ImageNotFoundError,
    ImageTooLargeError,
    load_image,
)
from processing_iqcr.image_scores import SCORE_RANGES

FIGURE_FILE = "scores.png"
PAGE_FILE = "scores.html"

# Pictures at each end.
NUM_SHOWN = 8
# The longer side of a thumbnail, pixels, and its JPEG quality.
THUMBNAIL_SIZE = 160
_THUMBNAIL_QUALITY = 80
# Pictures read for one end before it stays short: a data set may hold one picture thousands of times.
_MOST_READ = 400
_EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
# What is wrong with a picture in words for a small cell; the full message of an error is a paragraph.
_FAULTS = {
    ImageNotFoundError: "there is no such file.",
    ImageDecodeError: "it is empty, broken or not a picture.",
    ImageTooLargeError: "it has too many pixels.",
}


def write_score_report(
    folder: str | Path, posts: Mapping[str, Dataset], scorers: Mapping[str, Mapping | None]
) -> list[Path]:
    """Write ``scores.png`` and ``scores.html``: what the scores of a data set are, beside those of the paper.

    Scores are read without the pictures, and of these only the few at both ends that the page shows.

    Args:
        folder: Where to write; it is made if need be, and a report that is there is replaced.
        posts: The splits, with the columns ``tokens`` and ``images``, and with ``quality_scores`` in ``[0, 1]``,
            ``relevance_scores`` in ``[-1, 1]``, or both; ``None`` stands for a score, or a post's scores, that are
            missing. A post without ``id`` is called by its number.
        scorers: By kind, ``quality_scorer`` and ``relevance_scorer``, a description of the scorer that JSON can hold;
            ``None`` if nobody knows it.

    Returns:
        The paths of the two files.

    Raises:
        ValueError: If no picture has a score, a post has not one score per picture, or a score is out of its range.
        ImportError: If matplotlib is not installed. Nothing is written then.
    """
    scores = collect_scores(posts)
    scored = [column for column in SCORE_RANGES if len(scores.known(column))]
    if not scored:
        raise ValueError(
            f"There is nothing to report: none of {len(scores)} pictures has a score in `quality_scores` or "
            "`relevance_scores`. Run scripts/score_images.py on the data set first."
        )
    figure = draw_figure(scores)
    ends = {column: tuple(_pick_end(posts, scores, column, sign) for sign in (-1, 1)) for column in scored}
    page = render_score_page(scores, scorers, figure, ends)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_whole(folder / FIGURE_FILE, figure), _write_whole(folder / PAGE_FILE, page.encode("utf-8"))]


def _pick_end(posts: Mapping[str, Dataset], scores: PictureScores, column: str, sign: int) -> list[ShownPicture]:
    """The pictures with the lowest scores, or with the highest if `sign` is -1; each picture once."""
    values = scores.scores[column]
    # Equal scores stay in the order of the data set. NaN is last, whatever its sign.
    order = np.argsort(sign * values, kind="stable")[: min(len(scores.known(column)), _MOST_READ)]
    shown, digests = [], set()
    for picture in order:
        if len(shown) == NUM_SHOWN:
            break
        place = scores.place(picture)
        image = _read_image(posts[place.split], place)
        digest = _digest(image)
        if digest is None or digest not in digests:
            digests.add(digest)
            shown.append(_show(posts[place.split], place, image, float(values[picture])))
    return shown


def _read_image(posts: Dataset, place: Place) -> dict | None:
    """One picture as its data set has it, not decoded, and none of its neighbours."""
    row = posts.select_columns(["images"]).with_format("arrow")[place.post]
    return row.column("images")[0].values[place.number].as_py()


def _digest(image: dict | None) -> str | None:
    """The checksum of a picture's content; ``None`` where there is no content that could be that of another."""
    digest = image_digest(image)
    return None if digest == _EMPTY_DIGEST else digest


def _show(posts: Dataset, place: Place, image: dict | None, score: float) -> ShownPicture:
    """A picture with what the page says of it."""
    columns = [column for column in ("id", "tokens") if column in posts.column_names]
    post = posts.select_columns(columns).with_format(None)[place.post]
    identity = place.post if post.get("id") is None else post["id"]
    name = Path(image["path"]).name if image and image["path"] else f"image {place.number}"
    where = f"{place.split}, post {identity}, {name}"
    try:
        thumbnail, fault = _shrink(load_image(image, where=where)), ""
    except ImageLoadingError as error:
        thumbnail, fault = None, _FAULTS.get(type(error), "it is of a kind that is not read.")
    return ShownPicture(score, where, " ".join(post["tokens"] or ()), thumbnail, fault)


def _shrink(image: Image.Image) -> bytes:
    """A thumbnail, JPEG; a smaller picture stays as it is."""
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    file = BytesIO()
    image.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()


def _write_whole(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, under a hidden name until it is there."""
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
