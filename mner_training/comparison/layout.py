"""The table of a comparison as people read it: headings, notes and rows of rounded text, in no markup yet."""

from dataclasses import dataclass, field
from typing import Any

from mner_training.comparison.breakdowns import NO_SCORE
from mner_training.comparison.statistics import LEVEL
from mner_training.comparison.table import Place, Table

PLUS_MINUS = "±"
INTERVAL = f"{100 * LEVEL:.0f} % interval"

_MAIN = ("system", "seeds", "precision", "recall", "F1", "strict F1", "published P / R / F1")
_AGAINST = ("difference to {}", INTERVAL, "p", "p (Holm)", "smallest visible")
_COST = ("system", "seconds per run", "peak memory", "peak GPU memory", "runs at a time", "device")
_BREAKDOWNS = {
    "type": "F1 by type",
    "pictures": "F1 by number of pictures",
    "quality": "F1 by quality of the pictures",
    "relevance": "F1 by relevance of the pictures",
    "novelty": "Entities seen and unseen in training",
}
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Section:
    """A heading with a table under it.

    Attributes:
        title: The heading.
        header: The heads of the columns.
        rows: The cells, as many in each row.
        notes: Sentences that the table needs.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def lay_out(table: Table, dataset: str) -> list[Section]:
    """All that is shown of a data set: scores and differences, then what runs took, then the breakdowns.

    Args:
        table: The numbers.
        dataset: The data set.

    Returns:
        The sections; a breakdown that cannot be made says why.
    """
    sections = [_main(table, dataset), _cost(table, dataset)]
    measured = [name for name in table.systems if _get(table, dataset, name, "f1_mean") is not None]
    for breakdown, title in _BREAKDOWNS.items():
        missing = table.cells.get(Place(dataset, "", breakdown, "", "missing"))
        if missing is not None:
            sections.append(Section(title, [], [], [f"Not measured apart: {missing}."]))
        elif groups := table.groups(dataset, breakdown):
            sections.append(_breakdown(table, dataset, breakdown, groups, measured))
    return sections


def _main(table: Table, dataset: str) -> Section:
    """Scores, the published ones, and the differences to the reference."""
    rows = []
    for system in table.systems:
        number = {
            place.measure: value for place, value in table.cells.items() if place[:4] == (dataset, system, "all", "")
        }
        published = [two_digits(number.get(f"published_{name}")) for name in ("precision", "recall", "f1")]
        row = [system, _seeds(number)]
        row += [spread(number, name) for name in ("precision", "recall", "f1", "strict_f1")]
        row += [" / ".join(figure or "?" for figure in published) if any(published) else ""]
        if system == table.reference:
            row += ["reference", "", "", "", ""]
        elif "difference" in number:
            borders = ", ".join(f"{number[f'difference_{end}']:+.2f}" for end in ("low", "high"))
            row += [f"{number['difference']:+.2f}", f"[{borders}]", f"{number['p']:.4f}", f"{number['p_holm']:.4f}"]
            row += [f"{number['smallest_visible']:.2f}"]
        else:
            row += [""] * len(_AGAINST)
        rows.append(row)
    return Section(
        "Scores", [*_MAIN, *(head.format(table.reference) for head in _AGAINST)], rows, _notes(table, dataset)
    )


def _seeds(number: dict[str, Any]) -> str:
    """How many of the seeds a row has, or why it has none."""
    if "not_run" in number and not number["seeds"]:
        return f"not run: {number['not_run']}"
    missing = number.get("seeds_missing", "")
    planned = number["seeds"] + (len(missing.split(", ")) if missing else 0)
    return f"{number['seeds']} of {planned}"


def _notes(table: Table, dataset: str) -> list[str]:
    """What a reader of the scores must know of this data set."""
    posts, gold = (table.cells.get(Place(dataset, "", "all", "", name)) for name in ("posts", "gold"))
    if posts is None:
        return ["No run is done."]
    notes = [f"{posts} posts with {gold} entities."]
    if _get(table, dataset, table.reference, "f1_mean") is None:
        notes.append(f"No differences: the reference {table.reference} has no run that is done.")
    incomplete = [name for name in table.systems if _get(table, dataset, name, "seeds_missing")]
    if incomplete:
        listed = "; ".join(f"{name}: {_get(table, dataset, name, 'seeds_missing')}" for name in incomplete)
        notes.append(f"Seeds without a run that is done, which are in no mean: {listed}.")
    measured = [name for name in table.systems if _get(table, dataset, name, "seeds")]
    single = [name for name in table.systems if _get(table, dataset, name, "seeds") == 1]
    if single:
        notes.append(f"Only one seed, so that the interval covers the choice of posts alone: {', '.join(single)}.")
    if table.reference in single and len(measured) > 1:
        notes.append(f"{table.reference} is the reference, so that no difference covers the choice of its seed.")
    commits, versions = (
        table.cells.get(Place(dataset, "", "all", "", name), "") for name in ("commits", "several_versions")
    )
    if ", " in commits:
        notes.append(f"The runs were made with several commits of the sources: {commits}.")
    if versions:
        notes.append(f"The runs had several versions of packages: {versions}.")
    return notes


def _cost(table: Table, dataset: str) -> Section:
    """What runs took."""
    rows = []
    for system in table.systems:
        seconds = _get(table, dataset, system, "seconds")
        memory = [_get(table, dataset, system, f"peak_{kind}_bytes") for kind in ("memory", "gpu_memory")]
        row = [system, "" if seconds is None else f"{seconds:.1f}"]
        row += ["" if size is None else f"{size / _GIGABYTE:.2f} GB" for size in memory]
        rows.append([*row, *(_get(table, dataset, system, name) or "" for name in ("jobs", "device"))])
    notes = [
        "The mean time and the highest memory of a row's runs.",
        "Times compare on one device with as many at a time.",
    ]
    return Section("Time and memory", list(_COST), rows, notes)


def _breakdown(table: Table, dataset: str, breakdown: str, groups: list[str], systems: list[str]) -> Section:
    """The scores of each group of entities."""
    facts = {group: _facts(table, dataset, breakdown, group) for group in groups}
    if breakdown == "novelty":
        columns = [(group, measure) for measure in ("recall", "f1") for group in groups]
        heads = [f"{'F1' if measure == 'f1' else measure}, {group}" for group, measure in columns]
    else:
        columns = [(group, "f1") for group in groups]
        heads = [_head(breakdown, group, facts[group]) for group in groups]
    heads = [f"{head} ({facts[group]['gold']})" for head, (group, _) in zip(heads, columns, strict=True)]
    rows = []
    for system in systems:
        row = [system]
        for group, measure in columns:
            names = (f"{measure}_mean", f"{measure}_sd")
            row.append(
                spread(
                    {name: table.cells.get(Place(dataset, system, breakdown, group, name)) for name in names}, measure
                )
            )
        rows.append(row)
    notes = ["In brackets the gold entities of the group."]
    if breakdown == "novelty":
        notes.append(
            "Seen: an entity of the training split has the same words and the same type. For F1 a predicted entity "
            "counts by its own words and type, whether or not it is right."
        )
    if breakdown in ("quality", "relevance"):
        notes.append(
            "Thirds of the posts by the mean over their pictures; without a score are posts without pictures, too."
        )
    source = table.cells.get(Place(dataset, "", breakdown, "", "source"))
    if source is not None:
        notes.append(f"Pictures and scores as {source} has them.")
    return Section(_BREAKDOWNS[breakdown], ["system", *heads], rows, notes)


def _facts(table: Table, dataset: str, breakdown: str, group: str) -> dict[str, Any]:
    """What is known of a group itself."""
    names = ("gold", "posts", "from", "to")
    return {name: table.cells.get(Place(dataset, "", breakdown, group, name)) for name in names}


def _head(breakdown: str, group: str, facts: dict[str, Any]) -> str:
    """The head of a group's column."""
    if breakdown == "pictures":
        return "1 picture" if group == "1" else f"{group} pictures"
    if breakdown in ("quality", "relevance") and group != NO_SCORE:
        return f"{group}, {facts['from']:.3f} to {facts['to']:.3f}"
    return group


def _get(table: Table, dataset: str, system: str, measure: str) -> Any:
    """A number of a whole row; ``None`` if there is none."""
    return table.cells.get(Place(dataset, system, "all", "", measure))


def spread(numbers: dict[str, Any], measure: str) -> str:
    """A mean with its standard deviation, which a single run has not."""
    mean, deviation = numbers.get(f"{measure}_mean"), numbers.get(f"{measure}_sd")
    return two_digits(mean) if deviation is None else f"{mean:.2f} {PLUS_MINUS} {deviation:.2f}"


def two_digits(number: float | None) -> str:
    """A number as it is shown; empty if there is none."""
    return "" if number is None else f"{number:.2f}"
