"""Scorers by name: those of the libraries, and callables of a user's own.

A scorer is named in a recipe, and a trained model's processor keeps the name, so that the pictures of new posts are
scored as those of the training were. The name alone is kept, never code.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers.utils import logging

from .image_scores import SCORE_RANGES
from .quality_scorer import QualityScorer
from .relevance_scorer import RelevanceScorer
from .scorer_files import UnscorableImageError

logger = logging.get_logger(__name__)

# The two kinds of scorers, by the name of the argument and of the processor's field.
SCORER_KINDS = ("quality_scorer", "relevance_scorer")
# What scores of each kind are called, as tensors and as columns.
SCORE_COLUMNS = dict(zip(SCORER_KINDS, SCORE_RANGES, strict=True))

Scorer = Callable[..., list[float]]
_registered: dict[tuple[str, str], "RegisteredScorer"] = {}


class ScorerMismatchError(ValueError):
    """A scorer is another one than that of the training."""


class RegisteredScorer:
    """A user's own callable, with the description that its scores are kept under.

    Args:
        name: Its name.
        score: The callable.
        version: Its version.
    """

    def __init__(self, name: str, score: Scorer, version: str):
        self.score = score
        self.description = {"library": "registered", "name": name, "version": version}

    def __call__(self, *args) -> list[float]:
        """Score, and refuse what is not one number per picture."""
        scores = [float(score) for score in self.score(*args)]
        if len(scores) != len(args[-1]):
            name = self.description["name"]
            raise ValueError(f"The scorer {name!r} gave {len(scores)} scores for {len(args[-1])} pictures.")
        return scores


def register_quality_scorer(
    name: str, score: Callable[[Sequence[Image.Image]], Sequence[float]], version: str
) -> None:
    """Make a callable known as a quality scorer.

    Args:
        name: What recipes call it. It hides a metric of pyiqa of the same name; registering it again replaces it.
        score: Takes a list of RGB pictures of any sizes and gives one number in ``[0, 1]`` for each, higher better.
        version: Change it with what it computes: stored scores are found again by name and version.
    """
    _registered["quality_scorer", name] = RegisteredScorer(name, score, version)


def register_relevance_scorer(
    name: str, score: Callable[[Sequence[str], Sequence[Image.Image]], Sequence[float]], version: str
) -> None:
    """Make a callable known as a relevance scorer.

    Args:
        name: What recipes call it. It hides a model of open_clip of the same name; registering it again replaces it.
        score: Takes a list of texts and as many RGB pictures, and gives one number in ``[-1, 1]`` for each pair.
        version: Change it with what it computes: stored scores are found again by name and version.
    """
    _registered["relevance_scorer", name] = RegisteredScorer(name, score, version)


def is_registered(kind: str, name: str) -> bool:
    """Whether a scorer of a user's own is known by this name."""
    return (kind, name) in _registered


def make_scorer(kind: str, spec: str | Mapping[str, Any], device: str | torch.device | None = None) -> Scorer:
    """Make a scorer from what a recipe or a processor's configuration says.

    Args:
        kind: One of `SCORER_KINDS`.
        spec: A name, or a mapping with ``name`` and options: those of `QualityScorer` or `RelevanceScorer`. A
            ``description`` in it says which scorer gave the scores of the training; another one is an error.
        device: Where to run; ``None`` takes the first GPU, or the CPU. A registered scorer runs where it likes.

    Returns:
        A callable with a ``description``. Its network is not loaded yet.

    Raises:
        ValueError: If there is no such scorer or an option is unknown.
        ScorerMismatchError: If the scorer is not the one described.
        ImportError: If its library is not installed.
    """
    options = read_spec(kind, spec)
    name, described = options.pop("name"), options.pop("description", None)
    if is_registered(kind, name) or (described or {}).get("library") == "registered":
        if not is_registered(kind, name):
            raise ValueError(
                f"The {kind} {name!r} is a callable of its user's own, and is not registered in this process. Run the "
                f"code that registers it (`register_{kind}`) first."
            )
        if options:
            raise ValueError(f"The {kind} {name!r} is registered, and takes no options; got {', '.join(options)}.")
        scorer = _registered[kind, name]
    else:
        library_class = QualityScorer if kind == "quality_scorer" else RelevanceScorer
        try:
            scorer = library_class(name, **options, device=device)
        except TypeError as error:
            raise ValueError(f"`{kind}` {name!r}: {error}. See {library_class.__name__} for its options.") from error
    if described is not None:
        _compare(kind, name, described, scorer.description)
    return scorer


def _compare(kind: str, name: str, described: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse another scorer than the one described; another version of its library is only warned of."""
    differing = sorted(key for key in described.keys() | found if described.get(key) != found.get(key))
    there, here = ({key: side.get(key) for key in differing} for side in (described, found))
    message = f"The {kind} {name!r} is not the one that scored the training data: {there} there, {here} here."
    if differing == ["library_version"]:
        logger.warning_once(message)
    elif differing:
        raise ScorerMismatchError(message)


def without_description(spec: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A scorer's name and options alone."""
    return None if spec is None else {name: value for name, value in spec.items() if name != "description"}


def read_spec(kind: str, spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """A scorer's name and options as a dict of its own.

    Raises:
        ValueError: If it is neither a name nor a mapping with one.
    """
    options = {"name": os.fspath(spec)} if isinstance(spec, str | os.PathLike) else spec
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str) or not options["name"]:
        raise ValueError(f"`{kind}` must be a name or an object with `name` and options, got {spec!r}.")
    return dict(options)


def score_each(
    kind: str, scorer: Scorer, texts: Sequence[str], images: Sequence[Image.Image]
) -> list[float | UnscorableImageError]:
    """Score pictures, each beside its text, even if there are some among them that the scorer refuses.

    Args:
        kind: One of `SCORER_KINDS`.
        scorer: A scorer of this kind.
        texts: One text per picture, of which a quality scorer takes no notice.
        images: RGB pictures.

    Returns:
        For each its score, or the error of one that cannot be scored.
    """
    if not images:
        return []
    try:
        return list(scorer(images) if kind == "quality_scorer" else scorer(texts, images))
    except UnscorableImageError as error:
        if len(images) == 1:
            return [error]
    pairs = zip(texts, images, strict=True)
    return [score for text, image in pairs for score in score_each(kind, scorer, [text], [image])]


def find_fault(kind: str, score: float) -> str | None:
    """What is wrong with a score that no scorer of the kind may give; ``None`` for a right one."""
    low, high = SCORE_RANGES[SCORE_COLUMNS[kind]]
    if math.isnan(score):
        return "is NaN"
    return None if low <= score <= high else f"is {score:g}, which is not in [{low:g}, {high:g}]"
