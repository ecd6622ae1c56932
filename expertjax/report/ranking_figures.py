"""Figures of several models: their expert presence, and how it ranks them."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expertjax.analysis.presence import Presence
from expertjax.analysis.ranking import Ranking, r2_by_luck
from expertjax.report import drawing
from expertjax.report.drawing import BLACK, BLUE, GREEN, GREY, ORANGE

MAX_NAMED = 14  # models; of more, the others are drawn in grey
_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", BLACK)
_LINES, _MARKERS = ("-", "--", ":", "-."), "os^DvP*"
_WORDS = {
    "acquired": "acquired concepts",
    "acquired_share": "acquired concepts, share",
    "experts": "experts (pairs)",
    "experts_share": "experts, share of all pairs",
    "units": "distinct expert units",
    "units_share": "expert units, share of all",
}


@dataclasses.dataclass(frozen=True)
class _Style:
    colour: str
    line: str
    marker: str
    label: str


def _styles(models: Sequence[str], value_M: np.ndarray) -> dict[str, _Style]:
    """How each model is drawn: those of highest value named, the others in grey."""
    named = np.argsort(-value_M, kind="stable")[:MAX_NAMED]
    styles = {}
    for i in range(len(models)):
        if i in named:
            colour, line = _COLOURS[i % 7], _LINES[i // 7 % 4]
            label = drawing.literal(drawing.short(models[i], 24))
            styles[models[i]] = _Style(colour, line, _MARKERS[i % 7], label)
    rest = [model for model in models if model not in styles]
    for i, model in enumerate(rest):
        label = f"{len(rest)} other models" if i == 0 else "_"
        styles[model] = _Style("#b5bac2", "-", ".", label)
    # Named ones last, so that they are drawn on top; highest first in the legend.
    order = [*(models[i] for i in named), *rest]
    return {model: styles[model] for model in order}


def _legend_rows(figure: Figure, num_models: int) -> None:
    drawing.figure_legend(figure, columns=2 if num_models > 2 else num_models)


def _height(num_models: int, axes: float) -> float:
    return axes + 0.2 * -(-min(num_models, MAX_NAMED + 1) // 2)


def presence_curves(presence: Presence, gamma: float) -> Figure:
    """Acquired concepts (above) and experts per unit and concept (below) over gamma.

    Args:
      presence: counts of the models.
      gamma: the threshold of the comparison, marked by a line.
    """
    at = presence.column(gamma)
    acquired_MxG = presence.counts("acquired")
    share_MxG = presence.counts("experts_share")
    figure = drawing.blank(_height(len(presence.models), 4.6))
    top, bottom = figure.subplots(2, 1, sharex=True)
    for model, style in _styles(presence.names, acquired_MxG[:, at]).items():
        row = presence.names.index(model)
        look: dict[str, Any] = {"color": style.colour, "ls": style.line, "lw": 1.7}
        top.plot(presence.gammas, acquired_MxG[row], label=style.label, **look)
        bottom.plot(presence.gammas, share_MxG[row], **look)
    top.set_ylabel("acquired concepts")
    top.set_ylim(0, len(presence.concepts) * 1.05)
    drawing.whole_numbers(top)
    bottom.set_yscale("log")
    bottom.set_ylabel("experts, share of pairs")
    bottom.set_xlabel("expert threshold γ")
    bottom.set_xlim(presence.gammas[0], presence.gammas[-1])
    for ax in (top, bottom):
        drawing.tidy(ax)
        ax.axvline(gamma, color=BLACK, lw=1)
    top.annotate(
        f"γ = {gamma:g}", (gamma, 1), (3, -3), fontsize=8.5, va="top",
        xycoords=top.get_xaxis_transform(), textcoords="offset points",
    )  # fmt: skip
    _legend_rows(figure, len(presence.models))
    figure.align_ylabels()
    return figure


def experts_by_depth(layers: pd.DataFrame, gamma: float) -> Figure:
    """Experts per thousand units of each layer, over relative depth.

    Args:
      layers: a row per model and layer, by `Presence.layers`.
      gamma: the threshold they were counted at.
    """
    models = list(layers["model"].unique())
    figure = drawing.blank(_height(len(models), 2.9))
    ax = figure.subplots()
    drawing.tidy(ax)
    totals = layers.groupby("model", sort=False)["experts"].sum().to_numpy()
    for model, style in _styles(models, totals).items():
        rows = layers[layers["model"] == model]
        density = 1000 * rows["experts"] / rows["num_units"]
        ax.plot(
            rows["depth"], density, color=style.colour, ls=style.line, lw=1.5,
            marker=style.marker, ms=4.5, label=style.label,
        )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(0, None)
    ax.set_xlabel("relative depth of the layer")
    ax.set_ylabel(f"experts at γ = {gamma:g}\nper 1000 units")
    _legend_rows(figure, len(models))
    return figure


def r2_over_gamma(ranking: Ranking, benchmark: str) -> Figure:
    """r^2 of each measure over gamma; at gamma* its 95% interval.

    Args:
      ranking: by `ranking.rank`.
      benchmark: name of the scores.
    """
    measures = list(ranking.best["measure"])
    figure = drawing.blank(3.3 + 0.2 * -(-(len(measures) + 1) // 2))
    ax = figure.subplots()
    drawing.tidy(ax)
    gammas = ranking.table["gamma"]
    step = (gammas.max() - gammas.min()) / 90
    for i, best in enumerate(ranking.best.to_dict("records")):
        rows = ranking.table[ranking.table["measure"] == best["measure"]]
        colour, word = _COLOURS[i], _WORDS[best["measure"]]
        look: dict[str, Any] = {"color": colour, "ls": _LINES[i % 4], "lw": 1.7}
        ax.plot(rows["gamma"], rows["r2"], label=word, **look)
        # Beside each other where several measures have one gamma*.
        earlier = ranking.best["gamma"][:i].sub(best["gamma"]).abs().lt(step).sum()
        x = best["gamma"] + earlier * step
        ax.vlines(x, best["r2_low"], best["r2_high"], color=colour, lw=1.3)
        ax.plot(
            x, best["r2"], color=colour, marker=_MARKERS[i], ms=6, ls="", zorder=3,
            markeredgecolor="white",
        )  # fmt: skip
    luck = r2_by_luck(len(ranking.scores))
    label = "5% by chance, at one γ"
    ax.axhline(luck, color=GREY, ls=(0, (1, 2)), lw=1.4, label=label)
    ax.set_ylim(0, 1.02)
    ax.set_xlim(gammas.min(), gammas.max())
    ax.set_xlabel("expert threshold γ")
    name = drawing.short(benchmark, 20)
    ax.set_ylabel(f"r² against {name}, {len(ranking.scores)} models", parse_math=False)
    drawing.figure_legend(figure, columns=2)
    return figure


def scores_scatter(
    presence: Presence, ranking: Ranking, measure: str, benchmark: str
) -> Figure:
    """Scores of the models against their counts at gamma*, with the line of fit.

    Args:
      presence: counts of the models.
      ranking: of them.
      measure: one of `ranking.best`.
      benchmark: name of the scores.
    """
    best = ranking.best.set_index("measure").loc[measure]
    rows = [presence.names.index(name) for name in ranking.scores.index]
    x_M = presence.counts(measure)[rows, presence.column(best["gamma"])]
    y_M = ranking.scores.to_numpy()
    figure, ax = drawing.single(3.6)
    slope, offset = np.polyfit(x_M, y_M, 1)
    ends = np.array([x_M.min(), x_M.max()])
    ax.plot(ends, slope * ends + offset, color=GREY, lw=1.2, zorder=1)
    ax.plot(x_M, y_M, "o", color=BLUE, ms=6, markeredgecolor="white")
    ax.margins(0.12)
    ax.set_xlabel(f"{_WORDS[measure]} at γ* = {best['gamma']:g}")
    ax.set_ylabel(drawing.short(benchmark), parse_math=False)
    title = (
        f"r² = {best['r2']:.2f}, Spearman {best['spearman']:+.2f}, p = {best['p']:.2g}"
    )
    ax.set_title(title, fontsize=9, loc="left")
    figure.draw_without_rendering()  # sets the axes' place, which names depend on
    _name_points(ax, x_M, y_M, [drawing.short(n, 22) for n in ranking.scores.index])
    return figure


def _name_points(
    ax: Axes, x_M: np.ndarray, y_M: np.ndarray, names: Sequence[str]
) -> None:
    """Writes each name beside its point, where it covers least."""
    pixel = ax.figure.get_dpi() / 72  # per point
    at_Mx2 = ax.transData.transform(np.column_stack([x_M, y_M]))
    frame = ax.get_window_extent()
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in at_Mx2]
    for (x, y), point, name in zip(
        at_Mx2, zip(x_M, y_M, strict=True), names, strict=True
    ):
        width, height = 4.1 * pixel * len(name), 8 * pixel
        choices = []
        for side in (1, -1):
            for rise in (0, 9, -9, 18, -18, 27, -27):
                left = x + 6 * pixel if side == 1 else x - 6 * pixel - width
                low = y + rise * pixel - height / 2
                box = (left, low, left + width, low + height)
                outside = max(0, frame.x0 - left) + max(0, left + width - frame.x1)
                cost = sum(_common(box, other) for other in taken) + outside * height
                choices.append((cost + 0.5 * abs(rise), side, rise, box))
        _, side, rise, box = min(choices)
        taken.append(box)
        ax.annotate(
            name, point, (6 * side, rise), textcoords="offset points", fontsize=7.5,
            ha="left" if side == 1 else "right", va="center", color=BLACK,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": GREY} if rise else None,
        )  # fmt: skip


def _common(a: Iterable[float], b: Iterable[float]) -> float:
    """Area that two boxes (left, low, right, high) have in common."""
    left, low, right, high = a
    other_left, other_low, other_right, other_high = b
    width = min(right, other_right) - max(left, other_left)
    height = min(high, other_high) - max(low, other_low)
    return max(0.0, width) * max(0.0, height)
