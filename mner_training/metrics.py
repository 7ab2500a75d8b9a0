"""The metric: precision, recall and F1 of entities, read leniently and strictly, all through seqeval.

Two readings of the same tags, because both are in use and they differ wherever an ``I-X`` continues nothing (see
`processing_iqcr.entities`):

- **lenient**, as ``conlleval`` and seqeval's default, is this field's headline: UMT and the systems that grew out of
  its scripts report it, so only this one compares with their numbers;
- **strict** IOB2 (``strict_...``) grants a model nothing that its tags do not say, and is what other fields report.

Their supports differ too when the gold tags contain such an ``I-X``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
import evaluate
from seqeval.metrics import accuracy_score, classification_report
from seqeval.scheme import IOB2

from processing_iqcr.entities import parse_tag

_INPUTS = """
Args:
    predictions: Predicted BIO tags, one list of strings per post.
    references: Gold BIO tags, one list of strings per post, as long as the predicted ones.
"""

_DETAIL = re.compile(r"_(strict|macro|weighted)_|_[^_]+_(precision|recall|support)$")
# A source may be called anything, so that only the beginning and the end of a key say what it is.
MAX_SOURCES = 20
_SOURCE = re.compile(r"[^_]+_source_")
_SOURCE_DETAILS = ("_strict_f1", "_support", "_posts")


class NERMetric(evaluate.Metric):
    """Scores of predicted entities against gold ones, an entity being right if its borders and its type are.

    Use the class itself (``NERMetric().compute(predictions=..., references=...)``, or `add_batch` and then `compute`);
    it needs no loader and no network. `compute` returns plain floats in ``[0, 1]`` and ints::

        accuracy                                          share of words with the right tag
        precision, recall, f1                             all entities together (micro), lenient
        support                                           gold entities
        macro_precision, macro_recall, macro_f1           mean over types
        weighted_precision, weighted_recall, weighted_f1  mean over types, weighted by support
        per_type                                          {type: {precision, recall, f1, support}}
        strict_precision, ..., strict_per_type            the same except accuracy, strict IOB2

    A type occurs if the gold tags or the predictions have it. What would divide by zero is 0, without a warning.
    """

    def __init__(self, keep_in_memory: bool = True, **kwargs: Any) -> None:
        """Make a metric.

        Args:
            keep_in_memory: Hold the tags in memory, so that processes that score at the same time share no files.
                ``False`` is for ``num_process > 1``, where `evaluate` itself gathers over files.
            **kwargs: Those of `evaluate.Metric`.
        """
        super().__init__(keep_in_memory=keep_in_memory, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        """Describe the metric to `evaluate`."""
        tags = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="Entity-level precision, recall and F1 over BIO tags, lenient (conlleval) and strict (IOB2).",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": tags, "references": tags}),
            reference_urls=["https://github.com/chakki-works/seqeval"],
        )

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, Any] | None:
        """Score what was added, together with what is given here.

        Raises:
            ValueError: If there is nothing to score, a post's predicted and gold tags differ in number, or a tag is
                not BIO.
        """
        if predictions is None and references is None and len(self) == 0:
            raise ValueError("Nothing to score: pass `predictions` and `references`, or call `add_batch` first.")
        return super().compute(predictions=predictions, references=references, **kwargs)

    def _compute(self, *, predictions: list[list[str]], references: list[list[str]]) -> dict[str, Any]:
        """Check the tags, then count once leniently and once strictly."""
        _check_tags(predictions, references)
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            **_score(predictions, references, strict=False),
            **{f"strict_{key}": value for key, value in _score(predictions, references, strict=True).items()},
        }


def score_sources(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], sources: Iterable[str | None]
) -> dict[str, dict[str, float]]:
    """Score the posts of each source apart, for a corpus that is made of several.

    Args:
        predictions: Predicted BIO tags, one list per post.
        references: Gold BIO tags, one list per post.
        sources: The source of each post; ``None`` and ``""`` count as ``unknown``.

    Returns:
        For each source ``precision``, ``recall``, ``f1``, ``strict_f1`` and ``support`` as of `NERMetric`, and the
        number of ``posts``; nothing if all posts are of one source, which the figures of the whole
        describe, or of more than `MAX_SOURCES`, which are no parts of a corpus.

    Raises:
        ValueError: If there is not one source per post, or a source cannot be scored (see `NERMetric.compute`).
    """
    posts_of: dict[str, list[tuple[Sequence[str], Sequence[str]]]] = {}
    for predicted, gold, source in zip(predictions, references, sources, strict=True):
        name = "unknown" if source in (None, "") else str(source)
        posts_of.setdefault(name, []).append((predicted, gold))
    if not 2 <= len(posts_of) <= MAX_SOURCES:
        return {}
    scores = {}
    for name, posts in posts_of.items():
        result = NERMetric().compute(predictions=[post[0] for post in posts], references=[post[1] for post in posts])
        figures = {figure: result[figure] for figure in ("precision", "recall", "f1", "strict_f1", "support")}
        scores[name] = figures | {"posts": len(posts)}
    return scores


def flatten_scores(result: Mapping[str, Any]) -> dict[str, float]:
    """Turn a result of `NERMetric` into the flat numbers that a Trainer logs.

    Args:
        result: What `NERMetric.compute` returned; with what `score_sources` returned as ``per_source``, if wanted.

    Returns:
        Every number of it. Those per type become ``PER_f1``, ``strict_PER_f1`` and so on; a type that occurs neither
        in the gold tags nor in the predictions has none. Those per source become ``source_mner-mi_f1`` and so on.

    Raises:
        ValueError: If the name of a type or a source makes two numbers share a key, such as a type ``macro``.
    """
    flat = {key: value for key, value in result.items() if not isinstance(value, Mapping)}
    for reading in ("", "strict_"):
        for entity_type, scores in result[f"{reading}per_type"].items():
            for name, value in scores.items():
                key = f"{reading}{entity_type}_{name}"
                if key in flat:
                    raise ValueError(f"Entity type {entity_type!r} makes {key!r} ambiguous: rename the type.")
                flat[key] = value
    for source, scores in result.get("per_source", {}).items():
        for name, value in scores.items():
            key = f"source_{source}_{name}"
            if key in flat:  # a type ``source_a`` or, beside a source ``a``, another one ``a_strict``
                raise ValueError(f"Source {source!r} makes {key!r} ambiguous: rename the source.")
            flat[key] = value
    return flat


def _check_tags(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> None:
    """Refuse what seqeval would drop, guess or only warn about."""
    if not any(references):
        raise ValueError(f"Nothing to score: {len(references)} posts without a single word.")
    known = set()
    for post, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(gold):
            raise ValueError(
                f"Post {post} has {len(predicted)} predicted tags for {len(gold)} gold tags. Every word counts: "
                "predict the words past the length limit too."
            )
        for name, tags in (("predictions", predicted), ("references", gold)):
            for tag in tags:
                if tag not in known:
                    try:
                        parse_tag(tag)
                    except ValueError as error:
                        raise ValueError(f"Post {post} of `{name}`: {error}") from None
                    known.add(tag)


def _score(predictions: list[list[str]], references: list[list[str]], strict: bool) -> dict[str, Any]:
    """Let seqeval count under one reading, and name its numbers."""
    begins = "B" if strict else ("B", "I")
    if any(tag.startswith(begins) for posts in (predictions, references) for tags in posts for tag in tags):
        report = classification_report(
            references,
            predictions,
            output_dict=True,
            zero_division=0,
            mode="strict" if strict else None,
            scheme=IOB2 if strict else None,
        )
    else:  # seqeval divides by the number of types, and there is none
        nothing = {"precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0}
        report = dict.fromkeys(("micro avg", "macro avg", "weighted avg"), nothing)
    scores = {
        name: {
            "precision": float(row["precision"]),
            "recall": float(row["recall"]),
            "f1": float(row["f1-score"]),
            "support": int(row["support"]),
        }
        for name, row in report.items()
    }
    micro, macro, weighted = (scores.pop(f"{average} avg") for average in ("micro", "macro", "weighted"))
    del macro["support"], weighted["support"]  # the same as micro's
    return {
        **micro,
        **{f"macro_{name}": value for name, value in macro.items()},
        **{f"weighted_{name}": value for name, value in weighted.items()},
        "per_type": scores,
    }


def headline(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics worth a line in a log: the figures of the whole and of each source, and the F1 of each type.

    Args:
        metrics: Metrics by name, a split's name in front (``eval_f1``, ``eval_strict_PER_recall``).

    Returns:
        Those that are no detail; the details stand in the files of results.
    """
    # `Trainer.log_metrics` takes a key with ``_mem_`` for bytes, and fails on the score of a type or source called so.
    return {
        name: value
        for name, value in metrics.items()
        if not (_is_detail(name) or ("_mem_" in name and isinstance(value, float)))
    }


def _is_detail(name: str) -> bool:
    """Whether a figure is for the files alone."""
    if _SOURCE.match(name):
        return name.endswith(_SOURCE_DETAILS)
    return _DETAIL.search(name) is not None
