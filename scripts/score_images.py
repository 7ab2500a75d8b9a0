"""Add quality and relevance scores to a data set: ``python scripts/score_images.py recipes/X.json --output_dir DIR``.

Takes a recipe of `run_mner.py`, of which it reads the data set and the scorers, and flags that override it; or flags
alone. ``accelerate launch scripts/score_images.py ...`` shares the work among several processes. What has been
computed is kept and found again by content, so a run that was stopped is started again by the same command.
"""

import runpy
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

import torch  # noqa: E402
from accelerate import PartialState  # noqa: E402

from dataset_scripts.dataset_folder import require_free  # noqa: E402
from mner_training.arguments import NO_SCORER, DataArguments, ScoringArguments  # noqa: E402
from mner_training.corpus_loading import load_posts, read_build_report  # noqa: E402
from mner_training.missing_scores import describe_counts, refuse_mixture  # noqa: E402
from mner_training.recipes import parse_recipe  # noqa: E402
from mner_training.score_cache import ScoreCache, default_cache_path  # noqa: E402
from mner_training.score_counts import collect_scores  # noqa: E402
from mner_training.score_report import write_score_report  # noqa: E402
from mner_training.scored_folder import without_paths, write_scored_folder  # noqa: E402
from mner_training.scoring import score_posts  # noqa: E402
from processing_iqcr.scorers import SCORE_COLUMNS, SCORER_KINDS, make_scorer  # noqa: E402

# The paper's scorers, where neither recipe nor flag names one.
DEFAULT_SCORERS = {"quality_scorer": {"name": "maniqa"}, "relevance_scorer": {"name": "ViT-B-32-quickgelu"}}


@dataclass
class OutputArguments:
    """What is written."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder for the scored data set, as Parquet."})
    report: str | None = field(
        default=None, metadata={"help": "Folder for a page and a figure on the scores (needs iqcr-mi[plots])."}
    )

    def __post_init__(self):
        if not (self.output_dir or self.report):
            raise ValueError("Say what to write: --output_dir for the scored data, --report for a report, or both.")


def main(argv: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Score a data set.

    Args:
        argv: A recipe and flags; ``None`` takes those of the command line.

    Returns:
        For each kind of score how many were given, found, computed and are missing.

    Raises:
        ValueError: If arguments do not fit together or pictures cannot be scored.
        FileExistsError: If the output folder holds anything.
    """
    argv = sys.argv[1:] if argv is None else argv
    types = (DataArguments, ScoringArguments, OutputArguments)
    data_args, scoring_args, output_args = parse_recipe(argv, types, "scripts/score_images.py")
    # Without a GPU the processes talk through the CPU. They wait for the slowest, however long that takes.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=30))
    if scoring_args.scorers_file:
        runpy.run_path(scoring_args.scorers_file)
    specs = {kind: getattr(scoring_args, kind) or DEFAULT_SCORERS[kind] for kind in SCORER_KINDS}
    specs = {kind: spec for kind, spec in specs.items() if spec != NO_SCORER}
    with state.main_process_first():
        posts, corpus = load_posts(data_args)
        own = collect_scores(posts)
        if not len(own):
            raise ValueError(
                f"There is no picture to score in {data_args.dataset!r}. If it was shared without its pictures, name "
                "the release's picture folders or zips: --images_dirs."
            )
        known = {kind: len(own.known(SCORE_COLUMNS[kind])) for kind in specs}
        # No library is asked for, and nothing downloaded, for scores that are all there.
        scorers = {
            kind: make_scorer(kind, spec, device=state.device)
            for kind, spec in specs.items()
            if known[kind] < len(own)
        }
        scored_by = corpus.get("scores", {})
        for kind, scorer in scorers.items():
            if known[kind]:
                refuse_mixture(kind, scored_by.get(kind), scorer)
            scored_by[kind] = specs[kind] | {"description": scorer.description}
    if output_args.output_dir:
        require_free(output_args.output_dir)  # hours before it would be found out
    cache = ScoreCache(scoring_args.score_cache or default_cache_path())
    scored, counts = score_posts(posts, scorers, cache, data_args.broken_images, scoring_args.yes)
    cache.close()
    if state.is_main_process:
        for kind, count in counts.items():
            print(f"{SCORE_COLUMNS[kind]} by {specs[kind]['name']}: {describe_counts(count)}.")
        if output_args.output_dir:
            write_scored_folder(output_args.output_dir, scored, scored_by, read_build_report(data_args))
            print(f"Written: {output_args.output_dir}")
        if output_args.report:
            public = {kind: without_paths(spec) for kind, spec in scored_by.items()}
            for path in write_score_report(output_args.report, scored, public):
                print(f"Written: {path}")
    state.wait_for_everyone()
    return counts


if __name__ == "__main__":
    main()
    PartialState().destroy_process_group()  # threads of a group that is left open may abort a process at its exit
