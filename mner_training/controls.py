"""Negative controls: posts whose scores or pictures say nothing any more, to see what a model had from them.

What a control takes away, a model cannot use: if its F1 stays, it never did.
"""

import functools
import io
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from accelerate import PartialState
from datasets import Dataset, List, Value
from PIL import Image

from mner_training.picture_files import image_digest, use_cache
from mner_training.versions import source_digest
from processing_iqcr.image_loading import ImageLoadingError, load_image
from processing_iqcr.image_scores import SCORE_RANGES

NO_CONTROL = "none"
# Of each picture the same, whatever it showed.
GREY = (128, 128, 128)

# Why posts cannot change. Of the others the draw leaves some as they were.
_FEW_SCORES, _NO_SCORE = "with fewer than two scores of a kind", "without a score"
_NO_PICTURE, _ALONE, _UNREAD = "without a picture", "alone in having pictures", "whose pictures cannot be read"
_UNCHANGED = (_FEW_SCORES, _NO_SCORE, _NO_PICTURE, _ALONE, _UNREAD)
_SAME = "with what they had before"
# Controls after which pictures need not be looked at.
_OF_SCORES = ("shuffled_scores", "random_scores")
_OTHER_NUMBER = "with another number of pictures than before"

Scores = Sequence[Sequence[float | None] | None]


def apply_control(
    control: str, posts: Mapping[str, Dataset], seed: int
) -> tuple[dict[str, Dataset], dict[str, Any] | None]:
    """Change the posts of a run as a negative control asks.

    Args:
        control: A key of `CONTROLS`, or ``none``.
        posts: The splits of the run, with all their scores; pictures not decoded.
        seed: The run's. Each split has random numbers of its own, which depend on its name and on nothing else.

    Returns:
        The splits, and for the record of the run how many posts of each have changed and why the others have not;
        ``None`` without a control.

    Raises:
        ValueError: If nothing has changed in any split: the result would be that of no control.
    """
    if control == NO_CONTROL:
        return dict(posts), None
    changed, counts = {}, {}
    for name, split in posts.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        changed[name], left = CONTROLS[control](split, rng)
        number = _count_changed(
            split, changed[name], SCORE_RANGES if control in _OF_SCORES else ("images", *SCORE_RANGES)
        )
        same = len(split) - number - sum(count for reason, count in left.items() if reason in _UNCHANGED)
        left[_SAME] = same
        counts[name] = {"posts": len(split), "changed": number, **left}
        if PartialState().is_main_process:
            reasons = "".join(f", {count:,} {reason}" for reason, count in left.items() if count)
            print(f"Control {control}, split {name}: {number:,} of {len(split):,} posts changed{reasons}.")
    if not any(count["changed"] for count in counts.values()):
        raise ValueError(
            f"`control` {control!r} finds nothing to change: no post has the pictures or scores that it is about, or "
            "they are all alike. Does the data set have them, and the model use them?"
        )
    return changed, {"name": control, "splits": counts}


def shuffle_scores(posts: Dataset, rng: np.random.Generator) -> tuple[Dataset, dict[str, int]]:
    """Permute the scores among the pictures of each post, quality and relevance each by a permutation of its own.

    All permutations are as likely, that which changes nothing among them: of two scores that always changed places a
    model would learn to read them the other way round.
    """

    def shuffle(column: Scores) -> list:
        shuffled = []
        for scores in column:
            known = [score for score in scores or () if score is not None]
            shuffled.append(_fill(scores, [known[place] for place in rng.permutation(len(known))]))
        return shuffled

    return _change_scores(posts, shuffle), {_FEW_SCORES: len(posts) - _count(posts, 2)}


def randomize_scores(posts: Dataset, rng: np.random.Generator) -> tuple[Dataset, dict[str, int]]:
    """Draw each score anew from all of its kind in the split, with replacement."""

    def draw(column: Scores) -> list:
        known = np.asarray([score for scores in column for score in scores or () if score is not None])
        if not len(known):
            return list(column)
        numbers = [sum(score is not None for score in scores or ()) for scores in column]
        drawn = [rng.choice(known, size=number).tolist() for number in numbers]
        return [_fill(scores, values) for scores, values in zip(column, drawn, strict=True)]

    return _change_scores(posts, draw), {_NO_SCORE: len(posts) - _count(posts, 1)}


def swap_pictures(posts: Dataset, rng: np.random.Generator) -> tuple[Dataset, dict[str, int]]:
    """Give each post the pictures of another one, with their scores; of one with as many pictures, if there is any."""
    if "images" not in posts.column_names:
        return posts, {_NO_PICTURE: len(posts)}
    columns = [column for column in ("images", *SCORE_RANGES) if column in posts.column_names]
    numbers = [len(images or ()) for images in posts.select_columns("images")["images"]]
    order = draw_swap(numbers, rng)
    alone = sum(order[post] == post for post, number in enumerate(numbers) if number)
    left = {
        _NO_PICTURE: numbers.count(0),
        _ALONE: alone,
        _OTHER_NUMBER: sum(numbers[giver] != number for giver, number in zip(order, numbers, strict=True)),
    }
    parts = [posts.remove_columns(columns), posts.select_columns(columns).select(order)]
    return datasets.concatenate_datasets(parts, axis=1).select_columns(posts.column_names), left


def draw_swap(numbers: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Draw whose pictures each post gets.

    Args:
        numbers: How many pictures each post has.
        rng: The random numbers.

    Returns:
        For each post the post that gives it its pictures: another one with as many; or with about as many, if nobody
        else has as many; itself, if it has none or no other post has any. Each post with pictures gives them once.
    """
    order = list(range(len(numbers)))
    groups = defaultdict(list)
    for post, number in enumerate(numbers):
        if number:
            groups[number].append(post)
    singles = [groups.pop(number)[0] for number in sorted(groups) if len(groups[number]) == 1]
    rings = [rng.permutation(group).tolist() for group in groups.values()]
    if len(singles) > 1:
        rings.append(singles)  # in the order of their numbers
    for ring in rings:
        for place, post in enumerate(ring):
            order[post] = ring[place - 1]
    if len(singles) == 1 and groups:
        single = singles[0]
        nearest = groups[min(groups, key=lambda number: abs(number - numbers[single]))]
        before = nearest[rng.integers(len(nearest))]
        order[single], order[before] = order[before], single
    return order


def blank_pictures(posts: Dataset, rng: np.random.Generator) -> tuple[Dataset, dict[str, int]]:
    """Make every picture grey all over, in the size that it has. One that cannot be read is left to the run."""
    if "images" not in posts.column_names:
        return posts, {_NO_PICTURE: len(posts)}
    blank = posts.map(
        _blank_post,
        fn_kwargs={"sources": source_digest()},
        features=datasets.Features({**posts.features, "blank": Value("int32")}),
        load_from_cache_file=use_cache(posts),
        writer_batch_size=64,
        desc="Making pictures grey",
    )
    numbers = [len(images or ()) for images in posts.select_columns("images")["images"]]
    unread = sum(number > 0 and made == 0 for number, made in zip(numbers, blank["blank"], strict=True))
    return blank.remove_columns("blank"), {_NO_PICTURE: numbers.count(0), _UNREAD: unread}


def _blank_post(post: dict, sources: str) -> dict:
    """The pictures of a post in grey, and how many there are."""
    images, number = [], 0
    for image in post["images"] or ():
        try:
            content, number = _grey_png(load_image(image).size), number + 1
            images.append({"bytes": content, "path": image["path"]})
        except ImageLoadingError:
            images.append(image)
    return {"images": images, "blank": number}


@functools.lru_cache(maxsize=256)
def _grey_png(size: tuple[int, int]) -> bytes:
    """The file of a grey picture, width and height in pixels."""
    file = io.BytesIO()
    Image.new("RGB", size, GREY).save(file, "PNG")
    return file.getvalue()


CONTROLS: dict[str, Callable[[Dataset, np.random.Generator], tuple[Dataset, dict[str, int]]]] = {
    "shuffled_scores": shuffle_scores,
    "random_scores": randomize_scores,
    "swapped_pictures": swap_pictures,
    "blank_pictures": blank_pictures,
}


def _count_changed(before: Dataset, after: Dataset, columns: Sequence[str]) -> int:
    """How many posts have other pictures, by their content, or other scores than before."""
    names = [name for name in columns if name in before.column_names]
    pairs = zip(before.select_columns(names), after.select_columns(names), strict=True)
    return sum(_content(one) != _content(other) for one, other in pairs)


def _content(post: Mapping[str, Any]) -> list[list]:
    """Pictures and scores of a post, these in the precision that changed ones are kept in."""
    scores = [post.get(name) or () for name in SCORE_RANGES]
    known = [[None if score is None else np.float32(score) for score in of_kind] for of_kind in scores]
    return [[image_digest(image) for image in post.get("images") or ()], *known]


def _change_scores(posts: Dataset, change: Callable[[Scores], list]) -> Dataset:
    """The posts with each column of scores changed."""
    names = posts.column_names
    for column in SCORE_RANGES:
        if column in names:
            changed = change(posts.select_columns(column)[:][column])
            posts = posts.remove_columns(column).add_column(column, changed, feature=List(Value("float32")))
    return posts.select_columns(names)


def _fill(scores: Sequence[float | None] | None, values: Sequence[float]) -> list[float | None] | None:
    """The values in the places of the scores that a post has; a missing score stays missing."""
    values = iter(values)
    return None if scores is None else [None if score is None else next(values) for score in scores]


def _count(posts: Dataset, least: int) -> int:
    """How many posts have so many scores of one kind."""
    columns = [posts.select_columns(column)[:][column] for column in SCORE_RANGES if column in posts.column_names]
    counts = Counter()
    for column in columns:
        for post, scores in enumerate(column):
            counts[post] = max(counts[post], sum(score is not None for score in scores or ()))
    return sum(count >= least for count in counts.values())
