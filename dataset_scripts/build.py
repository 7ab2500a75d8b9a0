"""Build a corpus as a folder for `datasets.load_dataset`: ``python -m dataset_scripts.build NAME --output DIR``."""

import argparse
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from .dataset_folder import is_built_from, new_dataset_folder, require_free, write_record, write_split
from .features import ENTITY_TYPES, TAG_NAMES, post_features
from .pictured_posts import GENERATOR_VERSION, PicturedPostsConfig, generate_posts, pictured_posts_features
from .records import SplitReport
from .registry import READERS
from .split_files import SPLITS
from .tag_schemes import IllegalTags

Counts = dict[str, dict[str, Any]]


def build_pictured_posts(output: str | Path, config: PicturedPostsConfig, num_posts: Mapping[str, int]) -> Path:
    """Generate pictured-posts into a folder, or keep the folder if the same dials made it.

    Args:
        output: The folder to make.
        config: The dials.
        num_posts: Posts of each split, at least 1.

    Returns:
        `output`.

    Raises:
        FileExistsError: If the folder holds anything else.
        ValueError: If a split would be empty.
    """
    if min(num_posts.values()) < 1:
        raise ValueError(f"Every split needs at least one post, got {dict(num_posts)}.")
    dials = dataclasses.asdict(config)
    made_from = {"corpus": "pictured-posts", "generator": GENERATOR_VERSION, "dials": dials, "posts": dict(num_posts)}
    if is_built_from(output, made_from):
        print(f"{output} was built with the same dials before; it is used as it is.")
        return Path(output)
    counts = {}
    with new_dataset_folder(output) as folder:
        for split, number in num_posts.items():
            report = SplitReport()
            rows = _count(generate_posts(config, split, number), report)
            write_split(folder, split, rows, pictured_posts_features(), number)
            counts[split] = report.counts()
        write_record(folder, made_from, counts)
    _print_counts(counts)
    return Path(output)


def build_corpus(
    name: str,
    source: str | Path,
    output: str | Path,
    images_dirs: Sequence[str | Path] = (),
    illegal_tags: IllegalTags = "keep",
) -> Path:
    """Build a released corpus into a folder, its pictures inside the Parquet files as they are.

    Args:
        name: A key of `READERS`.
        source: The folder of the release.
        output: The folder to make. An existing one is never reused: its sources may have changed since.
        images_dirs: Image roots, tried in order; none builds the text alone.
        illegal_tags: As in `check_tags`.

    Returns:
        `output`.

    Raises:
        FileExistsError: If the folder holds anything.
        FileNotFoundError: If a split's file or an image root does not exist.
        ValueError: If a file is not as its reader expects.
    """
    require_free(output)
    counts = {}
    with new_dataset_folder(output) as folder:
        for split in SPLITS:
            report = SplitReport()
            rows = _embed(READERS[name](source, split, images_dirs, illegal_tags, report))
            write_split(folder, split, rows, post_features())
            counts[split] = report.counts()
        roots = [str(root) for root in images_dirs]
        made_from = {"corpus": name, "source": str(source), "images": roots, "illegal_tags": illegal_tags}
        write_record(folder, made_from, counts)
    _print_counts(counts)
    return Path(output)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Those after the program's name; ``None`` takes them from the process.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    try:
        if options.name in READERS:
            build_corpus(options.name, options.source, options.output, options.images, options.illegal_tags)
        else:
            dials = {field.name: getattr(options, field.name) for field in dataclasses.fields(PicturedPostsConfig)}
            num_posts = {split: getattr(options, split) for split in SPLITS}
            build_pictured_posts(options.output, PicturedPostsConfig(**dials), num_posts)
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        parser.exit(1, f"error: {error}\n")


def _make_parser() -> argparse.ArgumentParser:
    """The options of each corpus."""
    parser = argparse.ArgumentParser(prog="python -m dataset_scripts.build", description="Build a corpus as Parquet.")
    corpora = parser.add_subparsers(dest="name", required=True, metavar="NAME")

    default = PicturedPostsConfig()
    options = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter}
    generated = corpora.add_parser("pictured-posts", help="generated posts, one right picture in each", **options)
    for split, number in zip(SPLITS, (5000, 500, 500), strict=True):
        generated.add_argument(f"--{split}", type=int, default=number, metavar="N", help=f"posts of the {split} split")
    generated.add_argument(
        "--seed", type=int, default=default.seed, metavar="N", help="another seed gives other posts"
    )
    generated.add_argument(
        "--type-prior",
        type=float,
        nargs=len(ENTITY_TYPES),
        default=default.type_prior,
        metavar=ENTITY_TYPES,
        help="relative frequency of the types",
    )
    generated.add_argument(
        "--image-count-weights",
        type=float,
        nargs="+",
        default=default.image_count_weights,
        metavar="W",
        help="relative frequency of posts with one, two, ... pictures",
    )
    generated.add_argument(
        "--spoilt-share",
        type=float,
        default=default.spoilt_share,
        metavar="P",
        help="share of wrong pictures that are dark, blurred or noisy; the others have another colour",
    )
    generated.add_argument(
        "--score-noise", type=float, default=default.score_noise, metavar="X", help="factor on the scores' spread"
    )
    generated.add_argument(
        "--image-size", type=int, default=default.image_size, metavar="PIXELS", help="side of the pictures"
    )

    for name in READERS:
        released = corpora.add_parser(name, help=f"the released {name}", **options)
        released.add_argument("--source", required=True, default=argparse.SUPPRESS, help="folder of the release")
        released.add_argument("--images", nargs="+", default=[], metavar="DIR", help="image folders, tried in order")
        released.add_argument(
            "--illegal-tags",
            choices=get_args(IllegalTags),
            default="keep",
            help="what to do with an I- without its B-",
        )
    for corpus in corpora.choices.values():
        corpus.add_argument("--output", required=True, default=argparse.SUPPRESS, help="folder to make")
    return parser


def _count(rows: Iterable[dict[str, Any]], report: SplitReport) -> Iterator[dict[str, Any]]:
    """Pass rows on, counting them."""
    for row in rows:
        report.add([TAG_NAMES[tag] for tag in row["ner_tags"]], len(row["images"]))
        yield row


def _embed(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Replace the path of every image by its file's bytes and name."""
    for row in rows:
        images = [{"bytes": Path(path).read_bytes(), "path": Path(path).name} for path in row["images"]]
        yield {**row, "images": images}


def _print_counts(counts: Counts) -> None:
    """Print what each split holds."""
    for split, numbers in counts.items():
        print(f"{split}: {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
