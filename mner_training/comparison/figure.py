"""The figure of a comparison: F1 of each system with its interval, and the published figure beside it."""

from mner_training.comparison.layout import INTERVAL
from mner_training.comparison.table import Place, Table
from mner_training.figures import INK, LINE, SOFT, draw_png

# Inches: the width of one data set, the height of a row, and what the rest of a figure takes.
_WIDTH, _ROW, _REST = 5.2, 0.34, 1.7
FIGURE_DPI = 150

_OURS, _REFERENCE, _PUBLISHED = "#2a6f97", "#1d7a46", "#b5531c"


def draw_comparison(table: Table) -> bytes:
    """Draw F1 of all systems, data sets beside each other.

    Args:
        table: The numbers.

    Returns:
        A PNG.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    size = (1.6 + _WIDTH * len(table.datasets), _REST + _ROW * len(table.systems))
    return draw_png(size, FIGURE_DPI, "The figure of the comparison", lambda figure: _paint(figure, table))


def _paint(figure, table: Table) -> None:
    """The title, the panels, and one legend for all."""
    figure.suptitle(_plain(table.name), fontsize=12, fontweight="bold", color=INK)
    panels = figure.subplots(1, len(table.datasets), squeeze=False, sharey=True)[0]
    for axes, dataset in zip(panels, table.datasets, strict=True):
        _draw_dataset(axes, table, dataset)
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)


def _draw_dataset(axes, table: Table, dataset: str) -> None:
    """One row per system, the first on top; the band is the interval of the reference."""
    for row, system in enumerate(table.systems):
        number = {
            name: table.cells.get(Place(dataset, system, "all", "", name))
            for name in ("f1_mean", "f1_low", "f1_high", "published_f1")
        }
        is_reference = system == table.reference
        if number["f1_mean"] is not None:
            color = _REFERENCE if is_reference else _OURS
            label = "the reference" if is_reference else f"a system, with its {INTERVAL}"
            axes.plot([number["f1_low"], number["f1_high"]], [row, row], color=color, linewidth=2, zorder=2)
            axes.plot(number["f1_mean"], row, "o", color=color, markersize=6, zorder=3, label=label)
            if is_reference:
                axes.axvspan(number["f1_low"], number["f1_high"], color=color, alpha=0.08, linewidth=0, zorder=0)
            runs = table.single_runs(dataset, system)
            axes.plot(runs, [row - 0.27] * len(runs), "|", color=SOFT, markersize=5, zorder=2, label="single runs")
        if number["published_f1"] is not None:
            label = "published"
            axes.plot(
                number["published_f1"], row, "D", color=_PUBLISHED, markersize=5, zorder=3, label=label, mfc="none"
            )
    axes.set_ylim(len(table.systems) - 0.5, -0.7)
    axes.set_yticks(range(len(table.systems)), [_plain(system) for system in table.systems])
    axes.set_title(_plain(dataset), fontsize=11, color=INK)
    axes.set_xlabel("F1, percent", color=SOFT)
    axes.margins(x=0.08)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=8)


def _plain(text: str) -> str:
    """Text without mathematics, which matplotlib sees between dollar signs."""
    return text.replace("$", r"\$")
