"""What the figures share: how one is drawn without a window, and the colours of text and lines."""

from collections.abc import Callable
from io import BytesIO

INK, SOFT, LINE = "#1d2125", "#5c6670", "#d5dae0"


def draw_png(size: tuple[float, float], dpi: int, what: str, paint: Callable) -> bytes:
    """Draw a figure in matplotlib's own style.

    Args:
        size: Width and height in inches.
        dpi: Dots per inch.
        what: What is drawn, for the error.
        paint: Gets the empty `matplotlib.figure.Figure` and draws on it.

    Returns:
        A PNG.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    # Without pyplot, which would choose a window system and keep every figure.
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{what} needs matplotlib: pip install 'iqcr-mi[plots]'.") from error
    # A user's own style may be made for dark slides, or call LaTeX.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        file = BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()
