"""The scores that a run's posts lack, computed by the scorers that the recipe or the checkpoint names."""

import runpy
from collections.abc import Mapping
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers.utils import logging

from mner_training.building import uses
from mner_training.score_cache import ScoreCache, default_cache_path
from mner_training.score_counts import collect_scores
from mner_training.scoring import score_posts
from processing_iqcr.scorers import (
    SCORE_COLUMNS,
    SCORER_KINDS,
    Scorer,
    ScorerMismatchError,
    make_scorer,
    without_description,
)

logger = logging.get_logger(__name__)

_SWITCHES = {"quality_scorer": "use_quality", "relevance_scorer": "use_relevance"}


def add_missing_scores(
    posts: Mapping[str, Dataset], processor, model_args, data_args, scoring_args, scored_by: Mapping[str, Any] | None
) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """Score the pictures that have no scores, for the scores that the model will use.

    The processor will name the scorers of the posts' scores, so that new posts are scored by the same.

    Args:
        posts: The splits that the run uses.
        processor: An `IQCRProcessor`, whose `quality_scorer` and `relevance_scorer` say who scores; changed in place.
        model_args: `ModelArguments`.
        data_args: `DataArguments`.
        scoring_args: `ScoringArguments`.
        scored_by: Who gave the scores that the data set has, as ``scores.json`` says; ``None`` if nobody knows.

    Returns:
        The splits with all scores, and for the record of the run what was done for each kind of score.

    Raises:
        ImportError: If the library of a scorer that was asked for is not installed.
        ValueError: If there is no such scorer, it is not that of the checkpoint or of the other scores of the data
            set, or pictures cannot be scored.
    """
    if scoring_args.scorers_file:
        runpy.run_path(scoring_args.scorers_file)
    scorers, record = {}, {}
    has_images = uses(model_args, "use_images")
    own = collect_scores(posts) if has_images else None
    for kind in SCORER_KINDS:
        if not (has_images and uses(model_args, _SWITCHES[kind])):
            continue
        theirs = (scored_by or {}).get(kind)
        if len(own) == len(own.known(SCORE_COLUMNS[kind])):
            _take_over(processor, kind, theirs)
        else:
            with PartialState().main_process_first():  # the first one downloads, if that is needed
                scorer = _make(kind, processor, scoring_args)
            if scorer is not None:
                if len(own.known(SCORE_COLUMNS[kind])):
                    refuse_mixture(kind, theirs, scorer)
                scorers[kind] = scorer
                setattr(processor, kind, getattr(processor, kind) | {"description": scorer.description})
        record[kind] = getattr(processor, kind)
    if not scorers:
        return dict(posts), record
    cache = ScoreCache(scoring_args.score_cache or default_cache_path())
    scored, counts = score_posts(posts, scorers, cache, data_args.broken_images, scoring_args.yes)
    cache.close()
    for kind, count in counts.items():
        if PartialState().is_main_process:
            print(f"{SCORE_COLUMNS[kind]} by {getattr(processor, kind)['name']}: {describe_counts(count)}.")
        record[kind] = {**record[kind], "counts": count}
    return scored, record


def refuse_mixture(kind: str, theirs: Mapping[str, Any] | None, scorer: Scorer) -> None:
    """Refuse to fill up the scores of one scorer by those of another, with another scale.

    Raises:
        ValueError: If it is known that they are not of one scorer.
    """
    if theirs is None:
        logger.warning("Nobody knows who gave the %s that the data set has; they stay.", SCORE_COLUMNS[kind])
    elif theirs["description"] != scorer.description:
        raise ValueError(
            f"Some {SCORE_COLUMNS[kind]} of the data set are by {theirs['description']}, those that it lacks would be "
            f"by {scorer.description}. Name the same {kind}, or remove the column to have all computed anew."
        )


def _take_over(processor, kind: str, theirs: Mapping[str, Any] | None) -> None:
    """Let the processor name the scorer of scores that the data set has, whatever the recipe names."""
    ours = getattr(processor, kind)
    if theirs is not None and ours is not None:
        key = "description" if "description" in ours else None
        same = ours[key] == theirs[key] if key else without_description(ours) == without_description(theirs)
        if not same:
            logger.warning("The data set was scored by %s, and not by the %s named, %s.", theirs, kind, ours)
    if theirs is not None or "description" not in (ours or {}):
        setattr(processor, kind, theirs)  # `None` where nobody knows who gave them


def describe_counts(counts: Mapping[str, int]) -> str:
    """Counts of `score_posts` in words."""
    text = f"{counts['computed']:,} computed, {counts['found']:,} found in the cache"
    return text + "".join(f", {counts[name]:,} {name}" for name in ("given", "missing") if counts[name])


def _make(kind: str, processor, scoring_args) -> Scorer | None:
    """The scorer that the processor names; one that a checkpoint names need not be at hand."""
    spec = getattr(processor, kind)
    if spec is None:
        return None
    try:
        scorer = make_scorer(kind, spec, device=PartialState().device)
        scorer.description  # noqa: B018 - looks for the weights
    except ScorerMismatchError:
        raise
    except (ImportError, OSError, ValueError) as error:
        if getattr(scoring_args, kind) is not None:
            raise
        logger.warning("The %s %r of the checkpoint cannot be had (%s).", kind, spec["name"], error)
        return None
    return scorer
