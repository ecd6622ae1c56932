"""Figures of co-learning: which concepts share experts."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from expertjax.analysis.colearning import Overlap, cluster_order
from expertjax.report import drawing
from expertjax.report.drawing import BLUE, GREY, SITE_COLOURS

MAX_NAMED = 60  # concepts; more are drawn without their names
_MAX_BARS = 14
_TICK_GAP = 0.2  # of a colour bar, which is as long as four numbers are at least
_NO_GROUP = "#d4d8dd"


def overlap_map(found: Overlap, groups: pd.DataFrame | None = None) -> Figure:
    """Overlap of all pairs of concepts, like ones side by side; group as a strip.

    Args:
      found: what `colearning.overlap` found.
      groups: rows concept, group. The largest groups get a colour, and a concept in
        several that of its largest.
    """
    order = cluster_order(found.overlap)
    overlap_CxC = found.overlap[np.ix_(order, order)]
    np.fill_diagonal(overlap_CxC, np.nan)
    keys = [found.keys[row] for row in order]
    named = len(keys) <= MAX_NAMED
    size = 0.17 * len(keys) if named else 6.0
    figure = drawing.blank(max(size, 2.4) + 1.5, max(size, 2.4) + 2.5, margin=0.2)
    strip, ax = figure.subplots(1, 2, width_ratios=[0.02, 1], sharey=True)
    top = max(np.nanmax(overlap_CxC, initial=0), 0.02)
    norm = PowerNorm(0.5, 0, top)
    image = ax.imshow(overlap_CxC, cmap="cividis", norm=norm, aspect="auto")
    ax.set_facecolor("#eef0f2")
    bar = figure.colorbar(
        image, ax=ax, location="top", aspect=40, pad=0.01, ticks=_bar_ticks(top)
    )
    bar.set_label(f"overlap ({_expected(found)})", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    _group_strip(figure, strip, keys, groups)
    if named:
        drawing.concept_rows(strip, keys)
    else:
        strip.set_yticks([])
        strip.set_ylabel(f"{len(keys)} concepts, clustered")
    ax.set_xticks([])
    ax.tick_params(left=False, labelleft=False)
    ax.set_xlabel("the same concepts, in the same order")
    return figure


def _bar_ticks(top: float) -> list[float]:
    """Round numbers from 0 to `top` that have room for being written.

    The bar goes with the square root, so that numbers at even steps crowd at its end.
    """
    tens = 10.0 ** np.arange(-3, 1) * 10 ** np.floor(np.log10(top))
    ticks = [0.0]
    for tick in np.outer(tens, (1, 2, 5)).ravel():
        if np.sqrt(tick / top) >= np.sqrt(ticks[-1] / top) + _TICK_GAP and tick <= top:
            ticks.append(float(tick))
    return ticks


def _expected(found: Overlap) -> str:
    pairs = np.triu_indices(len(found.keys), 1)
    expected = found.expected_overlap[pairs]
    return f"random sets: {expected.mean():.4f}" if expected.size else "one concept"


def _group_strip(
    figure: Figure, ax: Axes, keys: list[str], groups: pd.DataFrame | None
) -> None:
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.tick_params(left=False)
    if groups is None:
        ax.set_facecolor("white")
        return
    known = groups[groups["concept"].isin(keys)]
    sizes = known["group"].value_counts(sort=False)
    sizes = sizes[sizes > 1].sort_index().sort_values(ascending=False, kind="stable")
    shown = list(sizes.index[: len(SITE_COLOURS)])
    place = {group: i for i, group in enumerate(shown)}
    groups_of = known.groupby("concept")["group"].apply(list).to_dict()
    colour_C = [
        min([place.get(g, len(shown)) for g in groups_of.get(key, [])] or [len(shown)])
        for key in keys
    ]
    colours = [*SITE_COLOURS[: len(shown)], _NO_GROUP]
    ax.imshow(
        np.array(colour_C)[:, None], cmap=ListedColormap(colours), aspect="auto",
        vmin=-0.5, vmax=len(shown) + 0.5, interpolation="nearest",
    )  # fmt: skip
    labels = [
        drawing.literal(drawing.short(str(g), 24)) for g in [*shown, "other or none"]
    ]
    handles = [
        Patch(color=colour, label=label)
        for colour, label in zip(colours, labels, strict=True)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", fontsize=8.5, frameon=False,
        ncols=3,
    )  # fmt: skip


def within_and_across(table: pd.DataFrame, name: str = "group") -> Figure:
    """Mean overlap inside groups beside that across them; a pair of bars per row.

    Args:
      table: by `agreement.group_test`, or such rows of several models.
      name: the column that names the rows; of more than 14, the first are shown.
    """
    table = table.head(_MAX_BARS)
    figure, ax = drawing.single(1.3 + 0.36 * max(len(table), 2))
    y = np.arange(len(table))
    within, across = table["within"].to_numpy(), table["across"].to_numpy()
    ax.barh(y - 0.19, within, 0.36, color=BLUE, label="within a group")
    ax.barh(
        y + 0.19, across, 0.36, color="#c9ced6", hatch="///", edgecolor=GREY, lw=0.5,
        label="across groups",
    )  # fmt: skip
    reach = max(float(np.nanmax([within, across])), 1e-6)
    for row, (at, ratio, p) in enumerate(
        zip(np.fmax(within, across), table["ratio"], table["p"], strict=True)
    ):
        text = f"×{ratio:.1f}, p = {p:.2g}"
        ax.text(at + 0.02 * reach, row, text, fontsize=8, va="center")
    ax.set_xlim(0, reach * 1.45)
    ax.grid(False, axis="y")
    ax.set_xlabel("mean overlap")
    labels = [drawing.short(str(label), 24) for label in table[name]]
    ax.set_yticks(y, labels, fontsize=8.8, parse_math=False)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    drawing.figure_legend(figure, columns=2)
    return figure
