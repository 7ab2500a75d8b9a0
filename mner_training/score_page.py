"""The scores of a data set's pictures as a page to read.

Posts, names and descriptions come from strangers: every text passes through `html.escape`, and the page holds no
script and asks for no other file.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mner_training.score_counts import (
    HALF,
    HIGH,
    PAPER_ABOVE_HALF,
    PAPER_HIGH,
    PAPER_PICTURES,
    PictureScores,
    count_shares,
    count_things,
    score_kind,
    summarize,
)
from processing_iqcr.image_scores import SCORE_RANGES
from processing_iqcr.scorers import SCORER_KINDS

# What the two ends of each kind of score are called, the high one first.
END_NAMES = {
    "quality_scores": ("Best by quality", "Worst by quality"),
    "relevance_scores": ("Most relevant to their text", "Least relevant to their text"),
}

_ALL = "all"
_SUMMARY_HEADER = [
    "number",
    "mean",
    "standard deviation",
    "lowest",
    "1st quartile",
    "median",
    "3rd quartile",
    "highest",
]
# Characters of a post that the page shows: a tweet has 280 at most, but a user's own posts may be of any length.
_TEXT_SHOWN = 300

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #5c6670; --line: #d5dae0; --paper: #fff; --shade: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a3adb7; --line: #3b434c; --paper: #15181c;
  --shade: #1f242a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .75rem; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: 1.25rem; }
h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; }
p { margin: .5rem 0; max-width: 46rem; }
.chart { display: block; width: 100%; height: auto; margin: 1rem 0; border: 1px solid var(--line);
  border-radius: .5rem; background: #fff; }
.wide { overflow-x: auto; }
table { width: 100%; margin: .5rem 0 1rem; border-collapse: collapse; font-size: .9375rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: bottom; }
thead th { border-bottom: 2px solid var(--line); }
tbody th { font-weight: normal; }
th, .number { overflow-wrap: break-word; }
tr, figure { break-inside: avoid; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .75rem;
  margin: .5rem 0; }
.pictures figure { margin: 0; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem; font-size: .875rem;
  line-height: 1.35; }
.pictures .frame { display: flex; align-items: center; justify-content: center; height: 160px; margin-bottom: .5rem;
  background: var(--shade); color: var(--soft); text-align: center; }
.pictures .frame span { max-height: 100%; padding: .5rem; overflow: auto; }
.pictures img { max-width: 100%; max-height: 100%; }
.pictures p { margin: .25rem 0 0; }
small { display: block; color: var(--soft); font-size: .8125rem; }
code, pre { font: .875rem/1.45 ui-monospace, monospace; }
pre { margin: .25rem 0; padding: .75rem; background: var(--shade); white-space: pre-wrap; }
@media (max-width: 36rem) { th, td { padding: .3rem .35rem; } table { font-size: .8125rem; }
  .pictures { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); } }
@media print { body { max-width: none; padding: 0; } h2, h3 { break-after: avoid; } * { print-color-adjust: exact; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Scores of the pictures</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class ShownPicture:
    """A picture at one end of the scores, as the page shows it.

    Attributes:
        score: Its score.
        where: Its split, its post, and the name of its file.
        text: The text of its post.
        thumbnail: A small copy, JPEG; ``None`` for a picture that cannot be read.
        fault: Why it cannot be read; empty if it can.
    """

    score: float
    where: str
    text: str
    thumbnail: bytes | None
    fault: str = ""


def render_score_page(
    scores: PictureScores,
    scorers: Mapping[str, Mapping | None],
    figure: bytes,
    ends: Mapping[str, tuple[Sequence[ShownPicture], Sequence[ShownPicture]]],
) -> str:
    """Write the scores as one HTML page that needs nothing else: no script, no other file.

    Args:
        scores: The scores.
        scorers: By kind of scorer a description that JSON can hold, or ``None`` if nobody knows.
        figure: The figure, PNG.
        ends: By column the pictures with the highest and with the lowest scores; no entry for one without scores.

    Returns:
        The page.
    """
    sections = [
        f"<h1>Scores of {count_things(len(scores), 'picture')} in {count_things(scores.total_posts, 'post')}</h1>",
        f'<img class="chart" src="{_data_uri("png", figure)}" alt="Histograms of the scores; the numbers are below">',
        _counts(scores),
        _scorers(scorers),
        *(_distribution(scores, column) for column in SCORE_RANGES),
        _spreads(scores),
        *(_pictures(column, *ends[column]) for column in SCORE_RANGES if column in ends),
    ]
    return _PAGE.format(style=_STYLE, body="\n".join(sections))


def _counts(scores: PictureScores) -> str:
    """What each split holds, and which scores it lacks."""
    groups = _groups(scores)
    per_post = [scores.pictures_per_post(split) for split in groups.values()]
    rows = {
        "Posts": [scores.num_posts.get(split, scores.total_posts) for split in groups.values()],
        "Posts with two or more pictures": [int((counts >= 2).sum()) for counts in per_post],
        "Pictures": [int(counts.sum()) for counts in per_post],
    }
    for column in SCORE_RANGES:
        known = [len(scores.known(column, split)) for split in groups.values()]
        rows[f"… with a {score_kind(column)} score"] = known
        rows[f"… missing a {score_kind(column)} score"] = [
            total - number for total, number in zip(rows["Pictures"], known, strict=True)
        ]
    cells = [[label, *(f"{number:,}" for number in numbers)] for label, numbers in rows.items()]
    return f"<h2>Counts</h2>\n{_table(['', *groups], cells)}"


def _scorers(scorers: Mapping[str, Mapping | None]) -> str:
    """Which scorer gave the scores."""
    parts = ["<h2>Scorers</h2>"]
    for kind in SCORER_KINDS:
        parts.append(f"<h3>{kind.removesuffix('_scorer').capitalize()}</h3>")
        description = scorers.get(kind)
        if description is None:
            parts.append("<p>Not known: no description came with these scores.</p>")
        else:
            parts.append(f"<pre>{escape(json.dumps(description, indent=2, ensure_ascii=False, default=str))}</pre>")
    return "\n".join(parts)


def _distribution(scores: PictureScores, column: str) -> str:
    """One kind of score in numbers; for the quality beside the paper's."""
    kind = score_kind(column)
    low, high = SCORE_RANGES[column]
    parts = [f"<h2>{kind.capitalize()} of the pictures</h2>"]
    values = {name: scores.known(column, split) for name, split in _groups(scores).items()}
    if not any(map(len, values.values())):
        return "\n".join([*parts, f"<p>No picture has a {kind} score.</p>"])
    parts.append(f"<p>On a scale from {low:g} to {high:g}, higher is better; pictures without a score left out.</p>")
    parts.append(_summary_table("split", values))
    if column == "quality_scores":
        rows = [[name, *map(_share, count_shares(known), [len(known)] * 2)] for name, known in values.items()]
        paper = [_share(PAPER_ABOVE_HALF, PAPER_PICTURES), _share(PAPER_HIGH, PAPER_PICTURES)]
        parts += [
            "<h3>Beside the paper</h3>",
            "<p>The numbers of the paper (its Section 6 and Figure 3) are of MNER-MI, scored by MANIQA. Another "
            "scorer has a scale of its own, whose shares say nothing beside these.</p>",
            _table(["split", f"above {HALF:g}", f"{HIGH:g} to 1"], [*rows, ["the paper, MNER-MI", *paper]]),
        ]
    return "\n".join(parts)


def _spreads(scores: PictureScores) -> str:
    """How far the pictures of a post differ."""
    spreads = {score_kind(column): scores.spreads(column) for column in SCORE_RANGES}
    return (
        "<h2>Within a post</h2>\n<p>Best minus worst score among the pictures of a post, over the posts in which two "
        "or more pictures have one. Weights are shared out among the pictures of one post: where they score alike, "
        f"they weigh alike.</p>\n{_summary_table('score', spreads)}"
    )


def _pictures(column: str, high: Sequence[ShownPicture], low: Sequence[ShownPicture]) -> str:
    """The pictures at both ends of one kind of score."""
    parts = [f"<h2>Pictures at both ends of the {score_kind(column)}</h2>"]
    for name, shown in zip(END_NAMES[column], (high, low), strict=True):
        cells = "\n".join(_picture(picture, score_kind(column)) for picture in shown)
        parts.append(f'<h3>{name}</h3>\n<div class="pictures">\n{cells}\n</div>')
    return "\n".join(parts)


def _picture(picture: ShownPicture, kind: str) -> str:
    """One picture with its score, where it is from, and the text it came with."""
    if picture.thumbnail is None:
        frame = f"<span>Cannot be read: {escape(picture.fault)}</span>"
    else:
        frame = f'<img src="{_data_uri("jpeg", picture.thumbnail)}" alt="{escape(picture.where)}">'
    text = picture.text if len(picture.text) <= _TEXT_SHOWN else f"{picture.text[:_TEXT_SHOWN]}…"
    return (
        f'<figure><div class="frame">{frame}</div><figcaption><strong>{kind} {picture.score:.3f}</strong>'
        # A text that is written from right to left turns around itself alone.
        f'<small>{escape(picture.where)}</small><p dir="auto">{escape(text)}</p></figcaption></figure>'
    )


def _groups(scores: PictureScores) -> dict[str, str | None]:
    """The splits, and all of them together where there are several: each by name, with what `PictureScores` takes."""
    splits = {name: name for name in scores.num_posts}
    return splits if len(splits) == 1 else {**splits, _ALL: None}


def _summary_table(first: str, values: Mapping[str, np.ndarray]) -> str:
    """A table of scores in a few numbers, a row for each name."""
    rows = []
    for name, scores in values.items():
        count, *numbers = summarize(scores)
        rows.append([name, f"{count:,}", *(f"{number:.3f}" if count else "" for number in numbers)])
    return _table([first, *_SUMMARY_HEADER], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the screen is too narrow; all columns but the first are numbers."""
    heads = "".join(f"<th{' class=number' * (place > 0)}>{escape(name)}</th>" for place, name in enumerate(header))
    body = "\n".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td class=number>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )
    return f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _share(number: int, total: int) -> str:
    """A count and its share, which is never rounded to nothing where there is something."""
    if not total:
        return ""
    share = 100 * number / total
    return f"{number:,} of {total:,} ({'< 0.1' if 0 < share < 0.05 else f'{share:.1f}'} %)"


def _data_uri(kind: str, content: bytes) -> str:
    """A picture as part of the page."""
    return f"data:image/{kind};base64,{b64encode(content).decode('ascii')}"
