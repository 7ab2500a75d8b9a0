"""Build a corpus as a folder for `datasets.load_dataset`: ``python -m dataset_scripts.build NAME --output DIR``."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from huggingface_hub.utils import httpx

from .corpus_build import PAGE_FILE, build_once
from .features import ENTITY_TYPES
from .pictured_posts import PicturedPosts, PicturedPostsConfig
from .pictured_posts_generator import PicturedPostsDials
from .pictures import BrokenImages
from .posts_builder import PostsBuilder
from .push import push_folder
from .registry import BUILDERS
from .split_files import SPLITS
from .tag_conversion import TagScheme
from .tag_schemes import IllegalTags

_HELP = {
    "mner-mi": "MNER-MI in its published layout",
    "mner-mi-plus": "MNER-MI-Plus, released as MNER-UNI",
    "twitter2017": "Twitter-2017, CoNLL text",
    "twitter2015": "Twitter-2015, CoNLL text",
    "pictured-posts": "generated posts, one right picture in each",
    "folder": "your own posts: metadata.jsonl, JSON Lines or CoNLL text",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Those after the program's name; ``None`` takes them from the process.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.include_images and (options.push_to_hub is None or getattr(options, "without_images", False)):
        parser.error("--include-images goes with --push-to-hub, and not with --without-images")
    try:
        report = build_once(_make_builder(options), options.output, verify=options.verify)
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    _print_report(report, options.output)
    if options.push_to_hub is not None:
        try:
            print(f"Pushed: {push_folder(options.output, options.push_to_hub, options.include_images)}")
        except (OSError, ValueError, httpx.HTTPError) as error:
            parser.exit(1, f"error: the push failed: {error}\nThe build is whole: the same command goes on from it.\n")


def _make_builder(options: argparse.Namespace) -> PostsBuilder:
    """The builder that the options describe."""
    if options.name == PicturedPosts.CORPUS:
        dials = {field.name: getattr(options, field.name) for field in dataclasses.fields(PicturedPostsDials)}
        num_posts = {split: getattr(options, split) for split in SPLITS}
        return PicturedPosts(dials=PicturedPostsDials(**dials), num_posts=num_posts)
    own = {name: getattr(options, name) for name in ("twitter2017", "tag_scheme") if hasattr(options, name)}
    return BUILDERS[options.name](
        data_dir=options.source,
        images=options.images,
        with_images=not options.without_images,
        illegal_tags=options.illegal_tags,
        broken_images=options.broken_images,
        **own,
    )


def _make_parser() -> argparse.ArgumentParser:
    """The options of each corpus."""
    parser = argparse.ArgumentParser(prog="python -m dataset_scripts.build", description="Build a corpus as Parquet.")
    corpora = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in BUILDERS:
        corpus = corpora.add_parser(name, help=_HELP[name], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        if name == PicturedPosts.CORPUS:
            _add_dials(corpus)
        else:
            _add_source(corpus)
        _add(corpus, "--output", required=True, metavar="DIR", help="folder to make")
        corpus.add_argument(
            "--verify",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="end with an error when a count differs from the published one",
        )
        _add(
            corpus,
            "--push-to-hub",
            metavar="USER/NAME",
            help="push text, tags and picture names to the Hub; your settings there say if a new repository is public",
        )
        corpus.add_argument("--include-images", action="store_true", help="push the pictures too, if you may")
    _add(
        corpora.choices["mner-mi-plus"],
        "--twitter2017",
        metavar="DIR",
        help="Twitter-2017's texts, for a release without MNER-UNI files (otherwise: twitter2017/ in the source)",
    )
    corpora.choices["folder"].add_argument(
        "--tag-scheme", choices=get_args(TagScheme), default="bio", help="how the tags are written"
    )
    return parser


def _add(corpus: argparse.ArgumentParser, name: str, **options: Any) -> None:
    """Add an option without a default worth showing."""
    corpus.add_argument(name, **options, default=argparse.SUPPRESS if options.get("required") else None)


def _add_source(corpus: argparse.ArgumentParser) -> None:
    """The options of a corpus that is read from files."""
    _add(corpus, "--source", required=True, metavar="DIR", help="folder of the release")
    _add(
        corpus,
        "--images",
        nargs="+",
        metavar="ROOT",
        help="image folders or zips, tried in order (otherwise: those in the source)",
    )
    corpus.add_argument("--without-images", action="store_true", help="build the text alone")
    corpus.add_argument(
        "--illegal-tags", choices=get_args(IllegalTags), default="keep", help="what to do with an I- without its B-"
    )
    corpus.add_argument(
        "--broken-images",
        choices=get_args(BrokenImages),
        default="keep-post",
        help="when a picture is missing or cannot be read: keep its post without it, drop the post, or stop",
    )


def _add_dials(corpus: argparse.ArgumentParser) -> None:
    """The options of the generated corpus."""
    default = PicturedPostsConfig()
    for split, number in default.num_posts.items():
        corpus.add_argument(f"--{split}", type=int, default=number, metavar="N", help=f"posts of the {split} split")
    dials = default.dials
    corpus.add_argument("--seed", type=int, default=dials.seed, metavar="N", help="another seed gives other posts")
    corpus.add_argument(
        "--type-prior",
        type=float,
        nargs=len(ENTITY_TYPES),
        default=dials.type_prior,
        metavar=ENTITY_TYPES,
        help="relative frequency of the types",
    )
    corpus.add_argument(
        "--image-count-weights",
        type=float,
        nargs="+",
        default=dials.image_count_weights,
        metavar="W",
        help="relative frequency of posts with one, two, ... pictures",
    )
    corpus.add_argument(
        "--spoilt-share",
        type=float,
        default=dials.spoilt_share,
        metavar="P",
        help="share of wrong pictures that are dark, blurred or noisy; the others have another colour",
    )
    corpus.add_argument(
        "--score-noise", type=float, default=dials.score_noise, metavar="X", help="factor on the scores' spread"
    )
    corpus.add_argument(
        "--image-size", type=int, default=dials.image_size, metavar="PIXELS", help="side of the pictures"
    )


def _print_report(report: dict[str, Any], output: str) -> None:
    """Print what was built, in a few lines."""
    print(f"{report['title']}: {report['variant']}, pictures {report['pictures']}. {Path(output, PAGE_FILE)}")
    for split, counts in report["splits"].items():
        entities = ", ".join(f"{name} {number:,}" for name, number in counts["entities"].items())
        print(
            f"  {split}: {counts['posts']:,} posts, {counts['images']:,} pictures, "
            f"{sum(counts['entities'].values()):,} entities ({entities})"
        )
        found = {f"{fault} pictures": len(counts[f"{fault}_images"]) for fault in ("missing", "broken", "repaired")}
        found |= {"dropped posts": len(counts["dropped_posts"]), "illegal tags": counts["illegal_steps"]}
        if any(found.values()):
            print("    " + ", ".join(f"{number:,} {what}" for what, number in found.items() if number))
    for found in report["differences"]:
        print(f"  DIFFERS: {found['split']} {found['what']}: {found['here']:,}, published {found['published']:,}")


if __name__ == "__main__":
    main()
