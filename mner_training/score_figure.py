"""The figure of a data set's scores: how they lie over all pictures, and how far they differ within a post."""

import math

import numpy as np

from mner_training.figures import INK, LINE, SOFT, draw_png
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
)
from processing_iqcr.image_scores import SCORE_RANGES

# Inches, and dots per inch: 1650 x 1200 pixels.
FIGURE_SIZE = (11.0, 8.0)
FIGURE_DPI = 150

_BINS = 40
# Limits of an axis without a natural end are multiples of this.
_AXIS_STEP = 0.05
_SHADE = "#f4f6f8"
_COLOURS = {"quality_scores": "#2a6f97", "relevance_scores": "#b5531c"}


def draw_figure(scores: PictureScores) -> bytes:
    """Draw four histograms: quality, relevance, and best minus worst of each within a post.

    Args:
        scores: The scores.

    Returns:
        A PNG of `FIGURE_SIZE` at `FIGURE_DPI`. A panel for which there are no scores says so.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    return draw_png(FIGURE_SIZE, FIGURE_DPI, "The report of the scores", lambda figure: _paint(figure, scores))


def _paint(figure, scores: PictureScores) -> None:
    """The title and the four histograms."""
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    title = f"Scores of {count_things(len(scores), 'picture')} in {count_things(scores.total_posts, 'post')}"
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK)
    panels = figure.subplots(2, 2)
    for place, column in enumerate(SCORE_RANGES):
        _draw_scores(panels[0, place], scores, column)
        _draw_spread(panels[1, place], scores, column)


def _draw_scores(axes, scores: PictureScores, column: str) -> None:
    """The scores of all pictures; for the quality it is the paper's Figure 3, with its own shares beside ours."""
    kind, values = score_kind(column), scores.known(column)
    missing = len(scores) - len(values)
    title = f"{kind.capitalize()}: {count_things(len(values), 'picture')}"
    title += f" ({missing:,} without a score)" if missing else ""
    if not len(values):
        _say(axes, title, ["", ""], f"No picture has a {kind} score.")
    elif column == "quality_scores":
        above, high = count_shares(values)
        paper = f"{100 * PAPER_ABOVE_HALF / PAPER_PICTURES:.1f} %"
        notes = [
            f"above {HALF:g}: {100 * above / len(values):.1f} % (in the paper, of MNER-MI: {paper})",
            f"{HIGH:g} to 1: {high:,} of {len(values):,} (in the paper: {PAPER_HIGH} of {PAPER_PICTURES:,})",
        ]
        _draw_histogram(axes, values, (0, 1), column, title, notes)
        axes.set(xlabel="quality score, from 0 (worst) to 1 (best)", ylabel="number of pictures")
        for bound in (HALF, HIGH):
            axes.axvline(bound, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    else:
        # CLIP's cosines fill a small part of their range: drawn on all of it they would be one bar.
        low, high = math.floor(values.min() / _AXIS_STEP), math.ceil(values.max() / _AXIS_STEP)
        first, median, third = np.quantile(values, [0.25, 0.5, 0.75])
        notes = [
            f"median {median:.3f}, half of them from {first:.3f} to {third:.3f}",
            "only the part of the scale in use",
        ]
        limits = (low * _AXIS_STEP, max(high, low + 1) * _AXIS_STEP)
        _draw_histogram(axes, values, limits, column, title, notes)
        axes.set(xlabel="relevance score, on a scale from -1 to 1 (best)", ylabel="number of pictures")


def _draw_spread(axes, scores: PictureScores, column: str) -> None:
    """How far apart the pictures of a post are, which is all that a weighing within a post can use."""
    kind, values = score_kind(column), scores.spreads(column)
    title = f"Within a post, {kind}: {count_things(len(values), 'post')}"
    if not len(values):
        _say(axes, title, [""], f"No post has two or more\npictures with a {kind} score.")
        return
    notes = [f"median {np.median(values):.3f}, over posts with two or more scored pictures"]
    highest = max(math.ceil(values.max() / _AXIS_STEP), 1) * _AXIS_STEP
    _draw_histogram(axes, values, (0, highest), column, title, notes)
    axes.set(xlabel=f"best minus worst {kind} score of a post", ylabel="number of posts")


def _draw_histogram(
    axes, values: np.ndarray, limits: tuple[float, float], column: str, title: str, notes: list[str]
) -> None:
    """A histogram below its title and notes."""
    counts, edges = np.histogram(np.clip(values, *limits), _BINS, limits)
    axes.bar(
        edges[:-1], counts, np.diff(edges), align="edge", color=_COLOURS[column], edgecolor="white", linewidth=0.5
    )
    axes.set(xlim=limits, ylim=(0, 1.05 * counts.max()))
    axes.locator_params(axis="x", nbins=6)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(colors=SOFT)
    axes.xaxis.label.set(color=INK, fontsize=10.5)
    axes.yaxis.label.set(color=INK, fontsize=10.5)
    _write_title(axes, title, notes)


def _say(axes, title: str, notes: list[str], words: str) -> None:
    """A panel of words instead of bars; its title is as high as that of its neighbour."""
    axes.set(xticks=[], yticks=[], facecolor=_SHADE)
    axes.spines[:].set_color(LINE)
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=12, color=SOFT)
    _write_title(axes, title, notes)


def _write_title(axes, title: str, notes: list[str]) -> None:
    """A title with lines of notes between it and the panel, where they cover no bar."""
    axes.set_title(title, loc="left", pad=10 + 14 * len(notes), fontsize=12, fontweight="bold", color=INK)
    text = "\n".join(notes)
    axes.annotate(text, (0, 1), (0, 6), "axes fraction", "offset points", va="bottom", fontsize=10, color=SOFT)
