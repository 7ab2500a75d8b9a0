"""The counts and faults of a build report as the page and the card show them: rows, labels, what differs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# What of a split's report lists faults, and what the faults are called.
FAULTS = {
    "missing_images": "Missing pictures",
    "broken_images": "Broken pictures, left out",
    "repaired_images": "Pictures with a fault, kept",
    "repaired_tags": "Tags changed, or kept although illegal",
    "dropped_posts": "Posts left out for their pictures",
}


class CountRow(NamedTuple):
    """One kind of count over the splits."""

    label: str
    """What is counted, in words."""
    what: str | None
    """Its name among the published counts; ``None`` if it is not one of them."""
    counts: dict[str, int]
    """The counts of this copy by split."""


def count_rows(report: Mapping[str, Any]) -> list[CountRow]:
    """List the counts of a build.

    Args:
        report: The build report.

    Returns:
        Posts, pictures, entities in all and by type, and what tells how well formed the tags are.
    """
    pictures = {"images_listed": "Pictures named by the texts"}
    if pictures_were_read(report):
        pictures["images_found"] = "Pictures found"
        pictures["images"] = (
            "Pictures in this copy" if report["pictures"] == "included" else "Pictures belonging to it"
        )
    compared = "images_found" if pictures_were_read(report) else "images_listed"
    types = dict.fromkeys(name for counts in report["splits"].values() for name in counts["entities"])

    def row(label: str, what: str | None, count: Callable[[dict], int]) -> CountRow:
        return CountRow(label, what, {split: count(counts) for split, counts in report["splits"].items()})

    return [
        row("Posts", "posts", lambda counts: counts["posts"]),
        *(
            row(label, "images" if key == compared else None, lambda c, key=key: c[key])
            for key, label in pictures.items()
        ),
        row("Entities", "entities", lambda counts: sum(counts["entities"].values())),
        *(row(f"… {name}", name, lambda counts, name=name: counts["entities"].get(name, 0)) for name in types),
        row("B- tags", "entities_begun", lambda counts: sum(counts["entities_begun"].values())),
        row("I- tags without their B-", "illegal_steps", lambda counts: counts["illegal_steps"]),
    ]


def compare_count(report: Mapping[str, Any], row: CountRow, split: str) -> tuple[bool, str]:
    """Tell how a count stands to the published one.

    Args:
        report: The build report.
        row: One of `count_rows`.
        split: The split.

    Returns:
        Whether the two differ, and the comparison in words, empty if nothing is published.
    """
    published = ((report["published"] or {}).get(split) or {}).get(row.what)
    if published is None:
        return False, ""
    for found in report["differences"]:
        if (found["split"], found["what"]) == (split, row.what):
            # Compared are all posts of the texts, those included that were dropped afterwards.
            read = f", the texts have {found['here']:,}" if found["here"] != row.counts[split] else ""
            return True, f"≠ {published:,} published{read}"
    return False, "= published" if published == row.counts[split] else f"the texts have the published {published:,}"


def pictures_were_read(report: Mapping[str, Any]) -> bool:
    """Tell whether the build looked at pictures, even if this copy was then made without them.

    Args:
        report: The build report.
    """
    return report["pictures_were_read"]


def explain_variant(report: Mapping[str, Any]) -> str:
    """Say in words what was compared with published counts, and what came out.

    Args:
        report: The build report.

    Returns:
        A few sentences, without markup.
    """
    if not report["published"]:
        return "There are no published counts of this data set, so nothing could be compared."
    num_counts = sum(len(counts) for counts in report["published"].values())
    names = dict.fromkeys(what for counts in report["published"].values() for what in counts)
    pictures = "pictures found" if pictures_were_read(report) else "pictures named by the texts (no file was read)"
    words = {"images": pictures, "entities_begun": "B- tags", "illegal_steps": "I- tags without their B-"}
    compared = (
        f"Compared in each split, where published: {', '.join(words.get(name, name) for name in names)}. "
        "All posts of the texts count, and an I- tag without its B- begins an entity."
    )
    if report["differences"]:
        return (
            f"{len(report['differences']):,} of {num_counts:,} published counts are not met: this is another variant "
            f"of the corpus, and scores on it do not compare with published scores. {compared}"
        )
    return (
        f"All {num_counts:,} published counts are met. {compared} Equal counts do not prove equal texts; "
        "the checksums tell exact copies."
    )
