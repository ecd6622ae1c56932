"""The figures of a report, as matplotlib `Figure` objects.

They draw what `counts` counts. All are equally wide: two fit side by side on a
desktop page and one stays readable on a phone. Series differ in marker, line or
hatch besides colour, and names from data are never read as mathtext.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from expertjax.analysis.counts import OverGamma
from expertjax.report import drawing
from expertjax.report.drawing import BLACK, BLUE, GREEN, GREY, ORANGE
from expertjax.report.null import expected_counts

MAX_NAMED = 60  # concepts; more are drawn without their names
_UNNAMED_ROWS = 30  # rows of a figure of that many concepts
_MAX_WRITTEN = 16  # layers; more leave no room for numbers in the heat map


def ap_distribution(
    ap_U: np.ndarray,
    law: pd.DataFrame,
    chance: float,
    null_threshold: float,
    gamma: float,
    concept: str = "",
    surface: float | None = None,
) -> Figure:
    """Histogram of one concept's AP over all units, beside what chance would give.

    Args:
      ap_U: average precision of every unit, [U].
      law: of one unit's AP under permuted labels, as `expected_counts` takes it.
      chance: share of positives.
      null_threshold: AP from which a unit is above chance; inf draws no line.
      gamma: expert threshold.
      concept: its name, for the axis.
      surface: the AP that a unit has to exceed to be above the surface, if known.
    """
    rows = 2 if surface is None else 3
    figure, ax = drawing.single_fixed(2.37 + drawing.LEGEND_ROW * rows, rows)
    heights, edges = np.histogram(ap_U, bins=100, range=(0, 1))
    ax.stairs(heights, edges, fill=True, color=BLUE, alpha=0.6, baseline=0.5)
    expected = expected_counts(law, edges, len(ap_U))
    ax.stairs(expected, edges, color=ORANGE, lw=1.6, label="expected by chance")
    ax.set_yscale("log")
    ax.minorticks_off()  # half of the time that it takes to draw
    drawing.plain_numbers(ax)
    ax.set_ylim(0.7, max(10, heights.max() * 1.6, expected.max() * 1.6))
    ax.axvline(chance, color=BLACK, ls=":", lw=2, label=f"chance {chance:.3f}")
    if np.isfinite(null_threshold):
        label = f"5% threshold {null_threshold:.3f}"
        ax.axvline(null_threshold, color=ORANGE, ls="--", lw=1.6, label=label)
    if surface is not None:
        label = f"surface {surface:.3f}"
        ax.axvline(surface, color=GREEN, ls="-.", lw=1.8, label=label)
    ax.axvline(gamma, color=BLACK, lw=1.2, label=f"γ = {gamma:g}")
    ax.set_xlim(0, 1)
    label = f"AP for {drawing.short(concept, 44)}" if concept else "AP"
    ax.set_xlabel(label, parse_math=False)
    ax.set_ylabel("units")
    drawing.legend(ax, columns=2)
    return figure


def experts_over_gamma(over: OverGamma, gamma: float) -> Figure:
    """Acquired concepts (above) and experts (below) at every threshold.

    Args:
      over: what `counts.over_gamma` found.
      gamma: the report's threshold, marked by a line.
    """
    figure = drawing.blank(4.6)
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(over.gammas, over.acquired, color=BLUE, lw=2, label="acquired concepts")
    top.set_ylabel("concepts")
    top.set_ylim(0, over.n_concepts * 1.05)
    label = "experts (pairs)"
    bottom.plot(over.gammas, over.experts, color=GREEN, lw=2, label=label)
    label = "distinct units"
    bottom.plot(over.gammas, over.units, "--", color=ORANGE, lw=2, label=label)
    bottom.set_ylabel("count")
    bottom.set_xlabel("expert threshold γ")
    bottom.set_xlim(over.gammas[0], over.gammas[-1])
    drawing.whole_numbers(top)
    bottom.set_yscale("symlog", linthresh=1)
    drawing.plain_numbers(bottom)
    bottom.set_ylim(0, max(10, over.experts.max() * 2))
    for ax in (top, bottom):
        drawing.tidy(ax)
        ax.axvline(gamma, color=BLACK, lw=1, label=f"γ = {gamma:g}")
        drawing.legend(ax, columns=3)
    figure.align_ylabels()
    return figure


def experts_per_layer(table: pd.DataFrame, gamma: float) -> Figure:
    """Experts at gamma in each layer, stacked by site.

    Args:
      table: [layers, sites] counts by `counts.experts_by_layer_and_site`.
      gamma: the threshold they were counted at.
    """
    figure, ax = drawing.single(4.6)
    x, below = np.arange(len(table)), np.zeros(len(table))
    colours, hatches = drawing.SITE_COLOURS, drawing.HATCHES
    for i, site in enumerate(table.columns):
        heights = table[site].to_numpy()
        # Shifted by one at each return of a colour, so that 64 sites differ.
        hatch = hatches[(i + i // len(colours)) % len(hatches)]
        ax.bar(
            x, heights, bottom=below, width=0.8, color=colours[i % len(colours)],
            hatch=hatch, edgecolor="white", lw=0.5,
            label=drawing.literal(drawing.short(str(site), 44)),
        )  # fmt: skip
        below += heights
    drawing.layer_ticks(ax, table.index)
    drawing.whole_numbers(ax)
    ax.set_ylim(0, max(1, below.max() * 1.05))
    ax.set_ylabel(f"experts at γ = {gamma:g}")
    rows = drawing.figure_legend(figure, columns=4)
    figure.set_figheight(4.4 + drawing.LEGEND_ROW * rows)
    if not below.any():
        text = f"no unit has AP ≥ {gamma:g}"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center")
    return figure


def best_ap_overview(concepts: pd.DataFrame, gamma: float) -> Figure:
    """Best AP of each concept beside chance and the 5% threshold.

    Up to `MAX_NAMED` concepts have a named row each; more become curves over rank.

    Args:
      concepts: [C] rows, in the order to be shown, with `concept`, `chance`,
        `max_ap` and `null_threshold` (inf is not drawn).
      gamma: the threshold, marked by a line.
    """
    best = concepts["max_ap"].to_numpy(float)
    chance = concepts["chance"].to_numpy(float)
    threshold = concepts["null_threshold"].to_numpy(float)
    finite = np.isfinite(threshold)
    threshold = np.where(finite, threshold, np.nan)
    if len(concepts) > MAX_NAMED:
        return _best_ap_curves(best, threshold, chance, gamma)
    figure, ax = drawing.single(drawing.rows_height(len(concepts)))
    y = np.arange(len(concepts))
    ax.plot(best, y, "o", color=BLUE, ms=5.5, label="best AP")
    if finite.any():
        at, to, start = y[finite], best[finite], threshold[finite]
        ax.hlines(at, start, to, color=BLUE, lw=1.5, alpha=0.35, zorder=1)
        ax.plot(threshold, y, "x", color=ORANGE, ms=5, label="5% threshold")
    ax.plot(chance, y, "|", color=GREY, ms=7, mew=1.5, label="chance")
    ax.axvline(gamma, color=BLACK, lw=0.8, label=f"γ = {gamma:g}")
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("AP")
    drawing.concept_rows(ax, concepts["concept"])
    drawing.figure_legend(figure, columns=4)
    return figure


def _best_ap_curves(
    best_C: np.ndarray, threshold_C: np.ndarray, chance_C: np.ndarray, gamma: float
) -> Figure:
    figure, ax = drawing.single(drawing.rows_height(_UNNAMED_ROWS))
    rank = np.arange(1, len(best_C) + 1)
    ax.plot(rank, best_C, color=BLUE, lw=2, label="best AP")
    if not np.isnan(threshold_C).all():
        ax.plot(rank, threshold_C, "x", color=ORANGE, ms=3, label="5% threshold")
    ax.plot(rank, chance_C, "|", color=GREY, ms=4, label="chance")
    ax.axhline(gamma, color=BLACK, lw=0.8, label=f"γ = {gamma:g}")
    ax.set_xlim(0.5, len(best_C) + 0.5)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("concepts, in the order of the table")
    ax.set_ylabel("AP")
    drawing.figure_legend(figure, columns=4)
    return figure


def max_ap_heatmap(best: pd.DataFrame) -> Figure:
    """Best AP of every concept in every layer.

    Args:
      best: [concepts, layers] by `counts.max_ap_by_layer`, rows as to be shown.
    """
    named = len(best) <= MAX_NAMED
    rows = len(best) if named else _UNNAMED_ROWS
    figure, ax = drawing.single(drawing.rows_height(rows))
    image = ax.imshow(best.to_numpy(), aspect="auto", cmap="cividis")
    if not named:  # ranks count from 1
        image.set_extent((-0.5, len(best.columns) - 0.5, len(best) + 0.5, 0.5))
    bar = figure.colorbar(image, ax=ax, location="top", aspect=40, pad=0.01)
    bar.set_label("best AP in the layer", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    ax.grid(False)
    drawing.layer_ticks(ax, best.columns)
    if named:
        drawing.concept_rows(ax, best.index)
    else:
        ax.set_ylabel("concepts, in the order of the table")
    if named and len(best.columns) <= _MAX_WRITTEN:
        drawing.write_cells(ax, best.to_numpy())
    return figure
