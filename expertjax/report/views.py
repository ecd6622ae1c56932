"""Turns `ReportData` into what the templates show: ordered, counted, cut to size."""

import base64
import dataclasses
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from expertjax.analysis import counts
from expertjax.report import drawing, figures
from expertjax.report.data import ExcitedSentence, ReportData


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of each concept the page shows, so that it stays small."""

    figures: int  # concepts with their own AP distribution
    units: int  # rows in a concept's table of top units
    excited_units: int  # of these, how many show sentences
    sentences: int  # per unit
    text: int  # characters of a sentence


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure for the page and for a file beside it."""

    file_name: str
    alt: str
    png: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture itself, as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclasses.dataclass(frozen=True)
class ExcitedView:
    """One top unit with the sentences that excite it most."""

    unit: dict[str, Any]
    sentences: list[ExcitedSentence]

    @property
    def n_positive(self) -> int:
        """How many of the sentences shown are positives of the concept."""
        return sum(sentence.label == 1 for sentence in self.sentences)


@dataclasses.dataclass(frozen=True)
class ConceptView:
    """One concept: a row of the table and a section of the page."""

    anchor: str
    row: dict[str, Any]  # of `ReportData.concepts`
    n_experts: int
    best_module: str
    best_index: int
    picture: Picture | None
    top_units: list[dict[str, Any]]
    excited: list[ExcitedView]

    @property
    def name(self) -> str:
        """The concept's name without its group, which has its own column."""
        return self.row["concept"].removeprefix(f"{self.row['group']}/")

    @property
    def can_be_above(self) -> bool:
        """Whether there are sentences enough for some AP to be above chance."""
        return math.isfinite(self.row["null_threshold"])

    @property
    def above_chance(self) -> bool:
        """Whether the best AP reaches the 5% threshold, as counted by the scoring."""
        return self.row["n_above"] > 0

    @property
    def margin(self) -> float:
        """Best AP minus the 5% threshold; -inf where no AP could be above chance."""
        return self.row["max_ap"] - self.row["null_threshold"]


def limits_for(n_concepts: int) -> Limits:
    """Less per concept where there are many: below 10 MB for 300 of them."""
    return Limits(
        figures=figures.MAX_NAMED,
        units=min(20, max(5, 3000 // n_concepts)),
        excited_units=min(5, max(1, 900 // n_concepts)),
        sentences=8,
        text=240,
    )


def table_order(data: ReportData) -> np.ndarray:
    """Rows of `data.concepts`, best AP first, [C] int."""
    return np.argsort(-data.concepts["max_ap"].to_numpy(float), kind="stable")


def concept_views(data: ReportData, limits: Limits) -> list[ConceptView]:
    """Every concept in the order of the table."""
    n_experts_C = counts.experts_per_concept(data.ap_CxU, data.gamma)
    rows: list[dict[str, Any]] = data.concepts.to_dict("records")
    views = []
    for place, c in enumerate(table_order(data)):
        anchor, ap_U = f"concept-{c}", data.ap_CxU[c]
        best = data.units.iloc[int(ap_U.argmax())]
        drawn = place < limits.figures
        top_units = _top_units(data, rows[c]["concept"], limits)
        view = ConceptView(
            anchor=anchor,
            row=rows[c],
            n_experts=int(n_experts_C[c]),
            best_module=str(best["module"]),
            best_index=int(best["index"]),
            picture=_distribution(data, rows[c], ap_U, anchor) if drawn else None,
            top_units=top_units,
            excited=_excited(data, rows[c]["concept"], top_units, limits),
        )
        views.append(view)
    return views


def picture(name: str, alt: str, figure: Figure) -> Picture:
    """Draws the figure."""
    width, height = drawing.pixels(figure)
    return Picture(f"{name}.png", alt, drawing.png(figure), width, height)


def _distribution(
    data: ReportData, row: dict[str, Any], ap_U: np.ndarray, anchor: str
) -> Picture:
    figure = figures.ap_distribution(
        ap_U,
        data.null_of(row["n_pos"], row["n_neg"]),
        row["chance"],
        row["null_threshold"],
        data.gamma,
        row["concept"],
    )
    p50, p99 = np.quantile(ap_U, [0.5, 0.99])
    alt = (
        f"Histogram of AP over {len(ap_U):,} units: median {p50:.3f}, 99th percentile "
        f"{p99:.3f}, best {ap_U.max():.3f}; {row['n_above']:,} reach the 5% threshold."
    )
    return picture(f"ap_{anchor}", alt, figure)


def _top_units(data: ReportData, concept: str, limits: Limits) -> list[dict[str, Any]]:
    if concept not in data.experts:
        return []
    table = data.experts[concept].head(limits.units)
    ap = table["ap"].to_numpy(data.ap_CxU.dtype)
    expert = counts.is_expert(ap, data.gamma)
    return table.assign(expert=expert).to_dict("records")


def _excited(
    data: ReportData, concept: str, top_units: list[dict[str, Any]], limits: Limits
) -> list[ExcitedView]:
    of_unit = data.excited.get(concept, {})
    views = [
        ExcitedView(row, [_clipped(s, limits.text) for s in found[: limits.sentences]])
        for row in top_units
        if (found := of_unit.get(row["unit"]))
    ]
    return views[: limits.excited_units]


def _clipped(sentence: ExcitedSentence, limit: int) -> ExcitedSentence:
    if len(sentence.text) <= limit:
        return sentence
    text = sentence.text[: limit - 1].rstrip() + "…"
    return dataclasses.replace(sentence, text=text)
