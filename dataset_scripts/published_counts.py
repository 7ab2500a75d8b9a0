"""The published counts of the corpora, and where a copy differs from them.

Sources: MNER-MI and MNER-MI-Plus, Table 1 of the IQCR-MI paper, which repeats GIFR's; Twitter-2017, the difference of
the two, which agrees with the counts of UMT's log; Twitter-2015, posts as published and tags as counted in the copy
that UMT's authors share, the original one: 5,072 test entities begin with B-, and 135 more are read leniently.
"""

from collections.abc import Mapping
from typing import Any

from .split_files import SPLITS

Counts = dict[str, dict[str, int]]

_TABLE_1_COLUMNS = ("PER", "LOC", "ORG", "MISC", "entities", "images", "posts")


def _from_table(*rows: tuple[int, ...]) -> Counts:
    """Counts of the three splits out of their rows in Table 1."""
    return {split: dict(zip(_TABLE_1_COLUMNS, row, strict=True)) for split, row in zip(SPLITS, rows, strict=True)}


_MNER_MI = _from_table(
    (4529, 1878, 1273, 2054, 9734, 19188, 6856),
    (573, 210, 165, 260, 1208, 2438, 860),
    (439, 156, 92, 233, 920, 2395, 860),
)
_MNER_MI_PLUS = _from_table(
    (7472, 2609, 2947, 2755, 15783, 22561, 10229),
    (1199, 383, 540, 410, 2532, 3161, 1583),
    (1060, 334, 487, 390, 2271, 3118, 1583),
)

# By corpus and split: posts, images, entities in all and by type; B- and illegal I- tags where they tell copies apart.
PUBLISHED_COUNTS: dict[str, Counts] = {
    "mner-mi": _MNER_MI,
    "mner-mi-plus": _MNER_MI_PLUS,
    "twitter2017": {
        split: {name: count - _MNER_MI[split][name] for name, count in counts.items()}
        for split, counts in _MNER_MI_PLUS.items()
    },
    "twitter2015": {
        "train": {"posts": 4000, "images": 4000, "illegal_steps": 186},
        "validation": {"posts": 1000, "images": 1000, "illegal_steps": 53},
        "test": {"posts": 3257, "images": 3257, "illegal_steps": 135, "entities": 5207, "entities_begun": 5072},
    },
}


# Releases have some broken pictures. Above this share of those that the texts list, something befell the copy.
MAX_BROKEN_SHARE = 0.05


def find_broken(splits: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Find the splits whose pictures are there and yet cannot be used.

    Args:
        splits: What `SplitReport.to_dict` gives, by split, for a build with pictures.

    Returns:
        A difference, as `find_differences` has them, for each split with more than `MAX_BROKEN_SHARE`.
    """
    return [
        {
            "split": split,
            "what": "readable images",
            "published": report["images_listed"],
            "here": report["images_listed"] - len(report["broken_images"]),
        }
        for split, report in splits.items()
        if len(report["broken_images"]) > MAX_BROKEN_SHARE * report["images_listed"]
    ]


def find_differences(corpus: str, splits: Mapping[str, Mapping[str, Any]], images: str) -> list[dict[str, Any]]:
    """Compare a copy with the published counts.

    Args:
        corpus: Its name.
        splits: What `SplitReport.to_dict` gives, by split, for all posts of the texts.
        images: Which count of pictures is compared: ``images_listed`` by the texts, or ``images_found``.

    Returns:
        Every count that differs: `split`, `what`, `published` and `here`. Empty if nothing is published.
    """
    differences = []
    for split, published in PUBLISHED_COUNTS.get(corpus, {}).items():
        report = splits[split]
        here = {
            **report["entities"],
            "posts": report["posts"],
            "images": report[images],
            "entities": sum(report["entities"].values()),
            "entities_begun": sum(report["entities_begun"].values()),
            "illegal_steps": report["illegal_steps"],
        }
        differences += [
            {"split": split, "what": what, "published": count, "here": here[what]}
            for what, count in published.items()
            if here[what] != count
        ]
    return differences
