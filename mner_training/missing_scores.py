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
from processing_iqcr.scorers import SCORE_COLUMNS, SCORER_KINDS, Scorer, make_scorer

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
        ValueError: If there is no such scorer, or pictures cannot be scored.
    """
    if scoring_args.scorers_file:
        runpy.run_path(scoring_args.scorers_file)
    scorers, record = {}, {}
    own = collect_scores(posts)
    for kind in SCORER_KINDS:
        if not (uses(model_args, "use_images") and uses(model_args, _SWITCHES[kind])):
            continue
        theirs = (scored_by or {}).get(kind)
        num_missing = len(own) - len(own.known(SCORE_COLUMNS[kind]))
        scorer = _make(kind, processor, scoring_args) if num_missing else None
        if scorer is not None:
            scorers[kind] = scorer
            setattr(processor, kind, getattr(processor, kind) | {"description": scorer.description})
        elif theirs and not num_missing and getattr(processor, kind) is None:
            setattr(processor, kind, theirs)
        ours = getattr(processor, kind)
        if theirs and ours and ours.get("description", theirs["description"]) != theirs["description"]:
            logger.warning(
                "The %s of this run is not the one that scored the data set: %s against %s.",
                kind,
                ours["description"],
                theirs["description"],
            )
        record[kind] = ours
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
    except (ImportError, OSError, ValueError) as error:
        if getattr(scoring_args, kind) is not None:
            raise
        logger.warning("The %s %r of the checkpoint cannot be had (%s).", kind, spec["name"], error)
        return None
    return scorer
