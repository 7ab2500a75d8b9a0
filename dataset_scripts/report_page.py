"""A build report as a page to read.

Names, words and reasons in a report come from strangers: every text passes through `html.escape`, and the page holds
no script and asks for no other file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .report_counts import FAULTS, compare_count, count_rows, explain_variant, pictures_were_read

# Entries of a list that the page shows before it only counts.
_ENTRIES_SHOWN = 200

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #5c6670; --line: #d5dae0; --paper: #fff; --shade: #f4f6f8;
  --good: #14603a; --good-paper: #e3f4ea; --warn: #8a3b00; --warn-paper: #fdeeda; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a3adb7; --line: #3b434c; --paper: #15181c;
  --shade: #1f242a; --good: #8fdcb0; --good-paper: #14352a; --warn: #ffc68a; --warn-paper: #45290c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .75rem; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: 1.25rem; }
h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: inherit; }
.badges { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1rem; padding: 0; list-style: none; }
.badges li { padding: .15rem .7rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--shade); }
.badges .agrees { border-color: var(--good); background: var(--good-paper); color: var(--good); }
.badges .differs { border-color: var(--warn); background: var(--warn-paper); color: var(--warn); }
.wide { overflow-x: auto; }
table { width: 100%; margin: .5rem 0 1rem; border-collapse: collapse; font-size: .9375rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); }
tbody th { font-weight: normal; }
th, .number { overflow-wrap: break-word; }
tr, li { break-inside: avoid; }
.names { margin: .5rem 0 1rem; padding: 0; list-style: none; font-size: .9375rem; }
.names li { padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
small { display: block; color: var(--soft); }
td.differs { background: var(--warn-paper); }
td.differs small { color: var(--warn); font-weight: bold; }
code, pre { font: .875rem/1.45 ui-monospace, monospace; }
pre { padding: .75rem; background: var(--shade); white-space: pre-wrap; }
@media (min-width: 36rem) { table { table-layout: fixed; } th:first-child { width: 34%; } }
@media (max-width: 36rem) { th, td { padding: .3rem .35rem; } table { font-size: .875rem; } }
@media print { body { max-width: none; padding: 0; } h2, h3 { break-after: avoid; } * { print-color-adjust: exact; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}: build report</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

# How a variant is marked: its style, and a sign for those who see no colours.
_SIGNS = {"published": ("agrees", "✓ "), "unrecognised": ("differs", "≠ ")}


def render_page(report: Mapping[str, Any]) -> str:
    """Write a build report as one HTML page that needs nothing else: no script, no other file.

    Args:
        report: The build report.

    Returns:
        The page.
    """
    sections = [
        _headline(report),
        _counts(report),
        _faults(report),
        _shared_texts(report["texts_in_two_splits"]),
        _seen_entities(report["entities_seen_in_training"]),
        _texts(report["splits"]),
        _origin(report),
    ]
    return _PAGE.format(title=escape(report["title"]), style=_STYLE, body="\n".join(sections))


def _headline(report: Mapping[str, Any]) -> str:
    """What was built, which variant it is, and how that is known."""
    kind, sign = _SIGNS.get(report["variant"], ("neutral", ""))
    badges = [
        f"<li>corpus: {escape(report['corpus'])}</li>",
        f'<li class="{kind}">variant: {sign}{escape(report["variant"])}</li>',
        f"<li>pictures: {escape(report['pictures'])}</li>",
    ]
    from_where = [escape(report["citation"]), _link(report["homepage"])]
    return "\n".join(
        [
            f"<h1>{escape(report['title'])}: build report</h1>",
            f'<ul class="badges">{"".join(badges)}</ul>',
            *(f"<p>{text}</p>" for text in from_where if text),
            f"<p>{escape(explain_variant(report))}</p>",
        ]
    )


def _counts(report: Mapping[str, Any]) -> str:
    """What each split holds, beside what is published."""
    splits = report["splits"]
    rows = []
    for row in count_rows(report):
        cells = []
        for split in splits:
            differs, words = compare_count(report, row, split)
            note = f"<small>{escape(words)}</small>" if words else ""
            cells.append(f'<td class="number{" differs" * differs}">{row.counts[split]:,}{note}</td>')
        rows.append(f"<tr><th>{escape(row.label)}</th>{''.join(cells)}</tr>")
    parts = ["<h2>Counts</h2>", _wrap_table(["", *splits], rows, numbers_from=1)]
    by_images = {split: counts["posts_by_number_of_images"] for split, counts in splits.items()}
    numbers = sorted({number for counts in by_images.values() for number in counts}, key=lambda n: (len(n), n))
    if numbers != ["0"]:
        parts += ["<h3>Posts by number of pictures</h3>", _number_table(numbers, by_images)]
    by_source = {split: counts["posts_by_source"] for split, counts in splits.items()}
    sources = sorted({source for counts in by_source.values() for source in counts})
    if len(sources) > 1:
        parts += ["<h3>Posts by source</h3>", _number_table(sources, by_source)]
    return "\n".join(parts)


def _faults(report: Mapping[str, Any]) -> str:
    """What was found wrong: how much, and each by name."""
    parts = ["<h2>Faults</h2>"]
    if not pictures_were_read(report):
        parts.append("<p>Pictures were not read, so nothing is known of missing or broken ones.</p>")
    rows = []
    for field, label in FAULTS.items():
        numbers = [len(counts[field]) for counts in report["splits"].values()]
        cells = "".join(f'<td class="number">{number:,}</td>' for number in numbers)
        name = f'<a href="#{field}">{label}</a>' if any(numbers) else label
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    parts.append(_wrap_table(["", *report["splits"]], rows, numbers_from=1))
    for field, label in FAULTS.items():
        items = [_name_fault(split, entry) for split, counts in report["splits"].items() for entry in counts[field]]
        if items:
            parts += [f'<h3 id="{field}">{label}</h3>', _list(items)]
    return "\n".join(parts)


def _name_fault(split: str, entry: Mapping[str, str]) -> tuple[str, str]:
    """Where a fault is, and what it is."""
    place = entry.get("image") or entry.get("where")
    name = f"{split}, post {entry['post']}" + (f", {place}" if place else "")
    return name, entry["what"] if "what" in entry else entry["reason"]


def _shared_texts(shared: Sequence[Mapping[str, Any]]) -> str:
    """Texts that occur in more than one split."""
    if not shared:
        return "<h2>Texts in two splits</h2>\n<p>None: no text of one split occurs in another.</p>"
    items = [("; ".join(f"{split}, post {post}" for split, post in entry["posts"]), entry["text"]) for entry in shared]
    return (
        "<h2>Texts in two splits</h2>\n<p>Texts that occur in more than one split, upper and lower case being the "
        f"same: {len(shared):,}.</p>\n{_list(items)}"
    )


def _seen_entities(seen: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """How much of each split's entities training has seen."""
    if not seen:
        return ""
    rows = []
    for split, types in seen.items():
        total = {key: sum(counts[key] for counts in types.values()) for key in ("seen", "unseen")}
        for name, counts in (*types.items(), ("all", total)):
            number = counts["seen"] + counts["unseen"]
            share = f"{100 * counts['unseen'] / number:.1f} %" if number else ""
            cells = [f"{counts['seen']:,}", f"{counts['unseen']:,}", share]
            cells = "".join(f'<td class="number">{cell}</td>' for cell in cells)
            rows.append(f"<tr><th>{escape(split)}</th><td>{escape(name)}</td>{cells}</tr>")
    return (
        "<h2>Entities that training has seen</h2>\n<p>Seen: the same words, in any case, are an entity of the same "
        f"type in the training split.</p>\n{_wrap_table(['split', 'type', 'seen', 'unseen', 'share unseen'], rows, 2)}"
    )


def _texts(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """The audit of the texts, whatever it counts."""
    audits = {split: _flatten(counts["text"]) for split, counts in splits.items()}
    names = list(dict.fromkeys(name for audit in audits.values() for name in audit))
    return f"<h2>Texts</h2>\n{_number_table(names, audits)}" if names else ""


def _origin(report: Mapping[str, Any]) -> str:
    """What the copy was made from, and by what."""
    sources = [
        (f"{source['file']}, {source['bytes']:,} bytes", f"SHA-256 {source['sha256']}") for source in report["sources"]
    ]
    digests = {split: counts.get("images_sha256") for split, counts in report["splits"].items()}
    pictures = [(split, f"SHA-256 over the SHA-256 of each {digest}") for split, digest in digests.items() if digest]
    parts = ["<h2>Origin</h2>"]
    if sources:
        parts += ["<h3>Source files</h3>", _list(sources)]
    if pictures:
        parts += ["<h3>Pictures, in order</h3>", _list(pictures)]
    made_from = json.dumps(report["made_from"], indent=2, ensure_ascii=False)
    parts += ["<h3>Made from</h3>", f"<pre>{escape(made_from)}</pre>"]
    parts += ["<h3>Tags</h3>", f"<p>{escape(', '.join(report['tag_names']))}</p>"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return "\n".join([*parts, "<h3>Versions</h3>", f"<p>{escape(versions)}</p>"])


def _number_table(names: Iterable[str], numbers: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of numbers with a row for each name and a column for each split."""
    rows = []
    for name in names:
        cells = "".join(f'<td class="number">{_plain(of_split.get(name, 0))}</td>' for of_split in numbers.values())
        rows.append(f"<tr><th>{escape(name.replace('_', ' '))}</th>{cells}</tr>")
    return _wrap_table(["", *numbers], rows, numbers_from=1)


def _wrap_table(header: Sequence[str], rows: Sequence[str], numbers_from: int) -> str:
    """A table that scrolls by itself where the screen is too narrow; columns of numbers are right-aligned."""
    heads = "".join(
        f"<th{' class=number' * (place >= numbers_from)}>{escape(name)}</th>" for place, name in enumerate(header)
    )
    body = "\n".join(rows)
    return f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _list(items: Sequence[tuple[str, str]]) -> str:
    """A list of names, each with a text, cut where it gets too long to read."""
    shown = items[:_ENTRIES_SHOWN]
    more = len(items) - len(shown)
    return "\n".join(
        [
            '<ul class="names">',
            *(f"<li>{escape(name)}<small>{escape(text)}</small></li>" for name, text in shown),
            "</ul>",
            *([f"<p>and {more:,} more in build_report.json</p>"] if more else []),
        ]
    )


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, the names joined by colons."""
    flat = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}: ") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _plain(value: Any) -> str:
    """A value as text: thousands separated, fractions to three places."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{round(value, 3):,}"
    return escape(str(value))


def _link(address: str) -> str:
    """An address as a link if it is one of a web page, else as text: ``javascript:`` would be run."""
    text = escape(address)
    return f'<a href="{text}">{text}</a>' if address.startswith(("https://", "http://")) else text
