"""The figures that lie beside the page, as PNG and SVG, for papers and slides."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from expertjax.analysis import counts
from expertjax.concepts.names import file_names
from expertjax.report import drawing, figures
from expertjax.report.data import ReportData
from expertjax.report.limits import Limits

CONCEPT_PICTURES = "ap_concept-"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure as files: `<name>.png` and `<name>.svg`."""

    name: str
    png: bytes
    svg: bytes


def picture(name: str, figure: Figure) -> Picture:
    """Draws a figure in both forms."""
    return Picture(name, drawing.png(figure), drawing.svg(figure))


def pictures(data: ReportData, limits: Limits) -> Iterator[Picture]:
    """All of a model, then the distributions of its best concepts."""
    order = table_order(data)
    layers = counts.experts_by_layer_and_site(
        data.ap_CxU, data.units, data.gamma, data.floor_C
    )
    by_layer = counts.max_ap_by_layer(data.ap_CxU, data.units, data.concepts)
    over = counts.over_gamma(data.ap_CxU, floor_C=data.floor_C)
    drawn = {
        "best_ap_overview": figures.best_ap_overview(
            data.concepts.iloc[order], data.gamma
        ),
        "max_ap_heatmap": figures.max_ap_heatmap(by_layer.iloc[order]),
        "experts_over_gamma": figures.experts_over_gamma(over, data.gamma),
        "experts_per_layer": figures.experts_per_layer(layers, data.gamma),
    }
    for name, figure in drawn.items():
        yield picture(name, figure)
    files = file_names(list(data.concepts["concept"]))
    for c in order[: limits.figures]:
        yield picture(f"{CONCEPT_PICTURES}{files[c]}", _distribution(data, int(c)))


def table_order(data: ReportData) -> np.ndarray:
    """Rows of `data.concepts`, best AP first, [C] int."""
    return np.argsort(-data.concepts["max_ap"].to_numpy(float), kind="stable")


def _distribution(data: ReportData, c: int) -> Figure:
    row = data.concepts.iloc[c]
    return figures.ap_distribution(
        data.ap_CxU[c],
        data.null_of(row["n_pos"], row["n_neg"]),
        row["chance"],
        row["null_threshold"],
        data.gamma,
        data.names[c],
        row.get("surface_high"),
    )
