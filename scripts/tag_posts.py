"""Tag a lake of posts: ``python scripts/tag_posts.py FILES_OR_FOLDERS --model RUN_OR_HUB_ID --output_dir DIR``.

Takes JSON Lines and Parquet and writes Parquet, as a stream. A run that was stopped is taken up by the same command.
``--ray`` does the work on a cluster. A post that cannot be read is in the output, with its error, and the exit status
is 3 then.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from a clone

from datasets.utils import tqdm  # noqa: E402

from mner_training.lake_job import TaggingJob, TaggingSettings, Worker  # noqa: E402
from mner_training.lake_parts import PartCounts  # noqa: E402
from mner_training.lake_ray import LOCAL, tag_with_ray  # noqa: E402
from mner_training.lake_reading import unread_columns  # noqa: E402

# Exit status of a run that went through, with posts that could not be read.
SOME_FAILED = 3


def main(argv: list[str] | None = None) -> PartCounts:
    """Tag a lake.

    Args:
        argv: The arguments; ``None`` takes those of the command line.

    Returns:
        How many posts the output holds, how many of them have an error, and how many pictures lack a score.

    Raises:
        FileExistsError: If the output folder holds something else.
        FileNotFoundError: If an input or the file of scorers is not there.
        ImportError: If Ray is wanted and not installed.
        ValueError: If an input or the model cannot be read, or arguments do not fit together.
    """
    arguments = parse(argv)
    settings = TaggingSettings(
        output_dir=arguments.output_dir,
        model=arguments.model,
        revision=arguments.revision,
        images_dirs=tuple(arguments.images_dirs),
        batch_size=arguments.batch_size,
        compute_scores=not arguments.without_scores,
        scorers_file=arguments.scorers_file,
    )
    job = TaggingJob(arguments.inputs, settings, arguments.posts_per_part)
    unread = unread_columns([stretch for stretch in job.stretches if stretch.first == 1])
    if unread:
        print(f"Columns that are not read, and not in the output: {', '.join(unread)}.")
    if job.done:
        print(f"Taken up: {len(job.done)} of {len(job.stretches)} parts are done.")
    with tqdm(
        total=sum(stretch.rows for stretch in job.stretches),
        initial=sum(job.stretches[number].rows for number in job.done),
        desc="Tagging",
        unit=" posts",
    ) as progress:
        for number in _tag(job, arguments):
            progress.update(job.stretches[number].rows)
    total = job.parts.finish(len(job.stretches))
    print(f"Tagged: {total.posts:,} posts in {len(job.stretches):,} parts.")
    if total.failed:
        print(f"Of these {total.failed:,} could not be read or tagged; the column `error` says why.")
    if total.unscored:
        print(f"{total.unscored:,} pictures lack a score that was to be computed; see the warnings, and `unscored`.")
    print(f"Written: {arguments.output_dir}")
    return total


def _tag(job: TaggingJob, arguments: argparse.Namespace):
    """Do what is to be done, and give the number of each part that is."""
    if not job.todo:
        return
    if arguments.ray is not None:
        for number, _ in tag_with_ray(job.settings, job.todo, arguments.ray, arguments.workers):
            yield number
        return
    worker = Worker(job.settings)
    for number, stretch in job.todo:
        worker.tag(number, stretch)
        yield number


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(prog="scripts/tag_posts.py", description=__doc__.partition(":")[0])
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="Files (.jsonl, .parquet), folders, or patterns.")
    parser.add_argument("--model", required=True, help="Folder of a run, or a model on the Hub.")
    parser.add_argument("--revision", help="Commit, branch or tag of a model on the Hub.")
    parser.add_argument("--output_dir", required=True, help="Folder for the parts: new, or that of the same run.")
    parser.add_argument(
        "--images_dirs", nargs="+", default=[], metavar="DIR", help="Folders or zips with the pictures that are named."
    )
    parser.add_argument("--batch_size", type=positive, default=16, help="Posts that go through the model together.")
    parser.add_argument("--posts_per_part", type=positive, default=5000, help="Posts of a part: what a kill costs.")
    parser.add_argument(
        "--without_scores", action="store_true", help="Take scores that posts do not give for missing."
    )
    parser.add_argument(
        "--scorers_file", help="Python file of yours that is run first: it registers scorers of your own."
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="Tag on the Ray cluster of this address, or on one that is started here.",
    )
    parser.add_argument(
        "--workers", type=positive, help="With --ray: workers. Default: one a GPU, else one a machine."
    )
    arguments = parser.parse_args(argv)
    if arguments.scorers_file and arguments.without_scores:
        parser.error("--scorers_file is for scores that are computed, and --without_scores computes none.")
    if arguments.workers and arguments.ray is None:
        parser.error("--workers is for --ray: without it there is one worker, this process.")
    return arguments


def positive(text: str) -> int:
    """A whole number of at least 1, from a flag."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


if __name__ == "__main__":
    try:
        failed = main().failed
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{sys.argv[0]}: {error}")
    sys.exit(SOME_FAILED if failed else 0)
