"""The look that all figures share: size, axes, ticks, legend, files."""

import io
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from expertjax.concepts.names import short_names

# Okabe and Ito (2008): told apart with every common colour blindness.
BLUE, ORANGE, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#5f6670", "#1b1f24"
SITE_COLOURS = (
    BLUE, "#E69F00", GREEN, "#CC79A7", "#56B4E9", ORANGE, "#F0E442", "#7a7a7a",
)  # fmt: skip
HATCHES = ("", "///", "...", "\\\\\\", "xx", "--", "oo", "||")

LEGEND_ROW = 0.19  # inches
_WIDTH = 4.8  # inches
_DPI = 180
_MAX_LAYER_TICKS = 16
_LEGEND: dict[str, Any] = {
    "fontsize": 8.5,
    "frameon": False,
    "borderaxespad": 0.2,
    "columnspacing": 1.2,
    "handlelength": 1.6,
}


class Drawing(Figure):
    """A figure that notebooks show without pyplot."""

    def savefig(self, *args: Any, **options: Any) -> None:
        """As matplotlib's; names in a script that its fonts lack become boxes."""
        # One warning for each letter would bury what a program has to say. For good:
        # what restores filters must not be used where other threads may do so, too.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        super().savefig(*args, **options)

    def _repr_png_(self) -> bytes:
        return png(self)


def blank(height: float, width: float = _WIDTH, margin: float = 0.08) -> Figure:
    """A figure without axes, `height` inches high, bound to no global state.

    Args:
      height: inches.
      width: inches.
      margin: inches at the left and right.
    """
    layout = ConstrainedLayoutEngine(w_pad=margin, h_pad=0.06)
    figure = Drawing(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def single(height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure = blank(height)
    ax = figure.subplots()
    tidy(ax)
    return figure, ax


def single_fixed(height: float, legend_rows: int = 2) -> tuple[Figure, Axes]:
    """As `single` with set margins: drawn in half the time, for the many small ones."""
    figure = Drawing(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    top = 0.12 + LEGEND_ROW * legend_rows  # inches
    left, right, bottom = 0.85, 0.2, 0.5
    size = (1 - (left + right) / _WIDTH, 1 - (bottom + top) / height)
    ax = figure.add_axes((left / _WIDTH, bottom / height, *size))
    tidy(ax)
    return figure, ax


def tidy(ax: Axes) -> None:
    """A faint grid behind the data, no box around it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#e3e6ea", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9)


def legend(ax: Axes, columns: int) -> None:
    """A legend above the axes, where it covers no data."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, **_LEGEND)


def figure_legend(figure: Figure, columns: int) -> int:
    """A legend over the whole width, where row names leave the axes too little.

    Args:
      figure: whose series have labels.
      columns: the most; there are fewer where the labels are too wide for so many.

    Returns:
      its rows.
    """
    for most in range(columns, 0, -1):
        made = figure.legend(loc="outside upper left", ncols=most, **_LEGEND)
        if made.get_window_extent().width <= figure.bbox.width or most == 1:
            break
        made.remove()
    return -(-len(made.get_texts()) // most)


def whole_numbers(ax: Axes) -> None:
    """Counts on the y axis: whole, with thousands separated."""
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    plain_numbers(ax)


def plain_numbers(ax: Axes) -> None:
    """10,000 on the y axis rather than a power of ten."""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))


def layer_ticks(ax: Axes, layers: Sequence[object]) -> None:
    """One tick per layer on the x axis, or per few where there are many."""
    step = -(-len(layers) // _MAX_LAYER_TICKS)
    at = range(0, len(layers), step)
    ax.set_xticks(list(at), [str(layers[i]) for i in at])
    ax.grid(False, axis="x")
    ax.set_xlabel("layer")


def rows_height(rows: int) -> float:
    """Inches for a figure with one named row per concept."""
    return 1.3 + 0.2 * max(rows, 3)


def concept_rows(ax: Axes, keys: Iterable[str]) -> None:
    """The names of concepts, given by key, down the y axis, the first on top."""
    labels = [short(name) for name in short_names(list(keys))]
    ax.set_yticks(range(len(labels)), labels, fontsize=8.8, parse_math=False)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def write_cells(ax: Axes, values: np.ndarray) -> None:
    """Writes each value of a heat map, [rows, columns], into its cell."""
    middle = (values.min() + values.max()) / 2
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if value > middle else "white"
        text = f"{value:.2f}"
        ax.text(column, row, text, color=colour, fontsize=8, ha="center", va="center")


def short(name: str, limit: int = 28) -> str:
    """The name, its middle left out where it is long."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 12]}…{name[-11:]}"


def literal(text: str) -> str:
    """Text that matplotlib must not read as mathtext or as a hidden label."""
    return text.replace("$", r"\$").removeprefix("_")


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same bytes for the same data."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as SVG, texts as outlines; the same bytes for the same data."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "expertjax"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
