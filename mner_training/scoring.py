"""Quality and relevance of the pictures of a data set: each computed once, kept, and found again by its content."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, List, Value
from datasets.utils import tqdm
from transformers.utils import logging

from mner_training.data import post_names
from mner_training.picture_files import image_content
from mner_training.picture_scoring import Picture, PictureScoring, ScoringError
from mner_training.score_cache import ScoreCache, quality_key, relevance_key
from processing_iqcr.image_loading import ImageLoadingError
from processing_iqcr.image_scores import check_scores
from processing_iqcr.relevance_scorer import relevance_text
from processing_iqcr.scorers import SCORE_COLUMNS, Scorer

logger = logging.get_logger(__name__)

# Names that an error lists before it only counts.
_NAMES_SHOWN = 10


def score_posts(
    posts: Mapping[str, Dataset],
    scorers: Mapping[str, Scorer],
    cache: ScoreCache,
    broken_images: str = "error",
    yes: bool = False,
) -> tuple[dict[str, Dataset], dict[str, dict[str, int]]]:
    """Give every picture the scores that it lacks. Scores that a data set has stay as they are.

    With several processes (``accelerate launch``) each computes a share, and all return the same.

    Args:
        posts: The splits, pictures not decoded; `tokens` are the words.
        scorers: By kind: ``quality_scorer``, ``relevance_scorer``, or both.
        cache: Where scores are looked for and kept; after each batch all of it is stored.
        broken_images: ``error`` ends with an error that names the pictures that cannot be scored, when all others
            have been; ``drop`` leaves their scores missing, names and counts them.
        yes: Begin also what will take more than an hour.

    Returns:
        The splits with the columns ``quality_scores`` and ``relevance_scores``, and for each kind how many scores
        there were in the data set (``given``), in the cache (``found``), were ``computed``, and are ``missing``.

    Raises:
        ScoringError: If pictures cannot be scored under ``error``, a scorer gives NaN or a score out of its range, or
            it would take more than an hour. What was computed is stored.
        ValueError: If scores of the data set itself are out of their range, or relevance is wanted of posts without
            a column `tokens`.
        DiskFullError: If the cache finds no room.
    """
    state = PartialState()
    pictures, keys, failures = _collect(posts, scorers)
    # A share by place among all pictures, and not among those to do: another process may have stored some by now.
    share = [picture for number, picture in enumerate(pictures) if number % state.num_processes == state.process_index]
    images = {name: split.select_columns("images") for name, split in posts.items() if "images" in split.column_names}
    scoring = PictureScoring(scorers, cache, functools.partial(_read, images), drop_bad=broken_images == "drop")
    computed = scoring.run(share, yes=yes, show_progress=state.is_main_process)
    state.wait_for_everyone()
    if state.num_processes > 1:
        computed = sum(gather_object([computed]), Counter())
        failures |= dict(gather_object(list(scoring.failures.items())))
    failures |= scoring.failures
    if failures and broken_images == "error":
        raise ScoringError(
            f"{len(failures)} pictures cannot be scored: {_list(failures)}. The scores of all others are kept in "
            f"{cache.path}. Replace these pictures, or set `broken_images` to 'drop' to go on without their scores."
        )
    if failures:
        logger.warning("%d pictures have no scores: %s.", len(failures), _list(failures))
    counts = {}
    scored = dict(posts)
    for kind, scorer in scorers.items():
        wanted = {key for picture in pictures for key in picture.keys[kind]}
        scores = cache.get(scorer.description, list(wanted))
        column = SCORE_COLUMNS[kind]
        counts[kind] = Counter(computed=computed[kind], found=len(scores) - computed[kind])
        for name, split in scored.items():
            if name in keys[kind]:
                values = [[_score(entry, scores, counts[kind]) for entry in entries] for entries in keys[kind][name]]
                without = split.remove_columns([column] if column in split.column_names else [])
                scored[name] = without.add_column(column, values, feature=List(Value("float32")))
        counts[kind] = {name: counts[kind][name] for name in ("given", "found", "computed", "missing")}
    return scored, counts


def _collect(
    posts: Mapping[str, Dataset], scorers: Mapping[str, Scorer]
) -> tuple[list[Picture], dict[str, dict[str, list[list]]], dict[str, str]]:
    """Look through the posts for scores that are missing.

    Returns:
        The different pictures with what is wanted of each; for each kind, split and post the score that is given or
        the key of the one that is wanted; and the pictures whose files cannot be opened, with the reasons.
    """
    pictures: dict[bytes, Picture] = {}
    keys, failures = {kind: {} for kind in scorers}, {}
    for name, split in posts.items():
        if "images" not in split.column_names:
            continue
        if "relevance_scorer" in scorers and "tokens" not in split.column_names:
            raise ValueError(f"Split {name}: no column `tokens`, whose words relevance is measured to.")
        for kind in scorers:
            keys[kind][name] = []
        rows = tqdm(
            _rows(split, scorers),
            total=len(split),
            desc=f"{name}: reading pictures",
            unit=" posts",
            disable=None if PartialState().is_main_process else True,
        )
        for row, (post, images, given) in enumerate(rows):
            text = relevance_text(post.get("tokens") or ())
            entries = {kind: list(scores) for kind, scores in given.items()}
            for number, image in enumerate(images):
                if all(scores[number] is not None for scores in entries.values()):
                    continue
                where = f"Split {name}, {post['name']}, image {number}"
                try:
                    content = image_content(image, where)
                except ImageLoadingError as error:
                    failures[where] = str(error)
                    continue
                key = quality_key(content)
                place = (name, row, number)
                picture = pictures.setdefault(key, Picture(where, place, len(content), {kind: {} for kind in scorers}))
                for kind, scores in entries.items():
                    if scores[number] is None:
                        wanted = key if kind == "quality_scorer" else relevance_key(key, text)
                        picture.keys[kind][wanted] = text
                        scores[number] = wanted
            for kind, scores in entries.items():
                keys[kind][name].append(scores)
    return list(pictures.values()), keys, failures


def _rows(split: Dataset, scorers: Mapping[str, Scorer]) -> Iterator[tuple[dict, list, dict[str, list]]]:
    """Each post with its name, its pictures, and by kind the scores that it has, ``None`` for a missing one."""
    names = post_names(split)
    columns = [c for c in ("tokens", "images", *SCORE_COLUMNS.values()) if c in split.column_names]
    for name, post in zip(names, split.select_columns(columns), strict=True):
        images = post["images"] or []
        given = {}
        for kind in scorers:
            scores = post.get(SCORE_COLUMNS[kind])
            if scores is not None:
                check_scores(scores, len(images), SCORE_COLUMNS[kind], name)
            given[kind] = scores or [None] * len(images)
        yield post | {"name": name}, images, given


def _read(images: Mapping[str, Dataset], picture: Picture) -> dict:
    """A picture out of its split."""
    split, row, number = picture.place
    return images[split][row]["images"][number]


def _score(entry: float | bytes | None, scores: Mapping[bytes, float], count: Counter) -> float | None:
    """The score that a post had, or the one that was wanted."""
    if isinstance(entry, bytes):
        entry = scores.get(entry)
    elif entry is not None:
        count["given"] += 1
    count["missing"] += entry is None
    return entry


def _list(failures: Mapping[str, str]) -> str:
    """Some reasons, and how many more there are."""
    more = len(failures) - _NAMES_SHOWN
    return "; ".join(list(failures.values())[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
