"""The reliability diagram: how often entities of a probability are right, before and after a temperature."""

from collections.abc import Sequence

from mner_training.calibration import Bin, expected_calibration_error
from mner_training.figures import INK, LINE, SOFT, draw_png

# Inches, and dots per inch.
FIGURE_SIZE = (9.0, 5.2)
FIGURE_DPI = 150

_FULL, _GAP = "#2a6f97", "#b5531c"


def draw_reliability(diagrams: Sequence[tuple[str, Sequence[Bin]]], title: str) -> bytes:
    """Draw reliability diagrams beside each other, each over a histogram of its entities.

    Args:
        diagrams: For each its heading and its bins.
        title: What stands above them.

    Returns:
        A PNG of `FIGURE_SIZE` at `FIGURE_DPI`.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    return draw_png(FIGURE_SIZE, FIGURE_DPI, "The reliability diagram", lambda figure: _paint(figure, diagrams, title))


def _paint(figure, diagrams: Sequence[tuple[str, Sequence[Bin]]], title: str) -> None:
    """The title, and the panels in pairs."""
    figure.suptitle(title, fontsize=12, fontweight="bold", color=INK)
    panels = figure.subplots(2, len(diagrams), squeeze=False, height_ratios=(3, 1), sharex=True)
    for (heading, bins), (above, below) in zip(diagrams, panels.T, strict=True):
        _draw_bins(above, bins, f"{heading}: ECE {100 * expected_calibration_error(bins):.1f} %")
        _draw_counts(below, bins)
    panels[0][0].set_ylabel("share that is right", color=SOFT)
    panels[1][0].set_ylabel("entities", color=SOFT)


def _draw_bins(axes, bins: Sequence[Bin], heading: str) -> None:
    """Bars of precision, and how far each is from its confidence."""
    filled = [one for one in bins if one.count]
    middles, width = [(one.low + one.high) / 2 for one in filled], 1 / len(bins)
    axes.bar(middles, [one.precision for one in filled], width * 0.92, color=_FULL, label="share that is right")
    axes.bar(
        middles,
        [one.confidence - one.precision for one in filled],
        width * 0.5,
        bottom=[one.precision for one in filled],
        color=_GAP,
        alpha=0.75,
        label="distance to the mean probability",
    )
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(heading, fontsize=11, color=INK)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    _dress(axes)


def _draw_counts(axes, bins: Sequence[Bin]) -> None:
    """How many entities each bin has."""
    middles = [(one.low + one.high) / 2 for one in bins]
    axes.bar(middles, [one.count for one in bins], 0.92 / len(bins), color=LINE)
    for middle, one in zip(middles, bins, strict=True):
        axes.annotate(str(one.count), (middle, one.count), ha="center", va="bottom", fontsize=7, color=SOFT)
    axes.margins(y=0.25)
    axes.set_xlabel("probability of the entity", color=SOFT)
    _dress(axes)


def _dress(axes) -> None:
    """What all panels share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=8)
