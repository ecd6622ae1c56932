"""Renders the page: the numbers at its top, its figures, its template."""

import dataclasses
import math
from typing import Any

import jinja2
import pandas as pd

from expertjax.analysis import counts
from expertjax.report import figures, views
from expertjax.report.data import ReportData
from expertjax.report.views import ConceptView, Picture


@dataclasses.dataclass(frozen=True)
class Page:
    """A rendered page and the pictures it embeds."""

    html: str
    pictures: list[Picture]


def render(data: ReportData) -> Page:
    """The whole report of one model."""
    limits = views.limits_for(len(data.concepts))
    concepts = views.concept_views(data, limits)
    over = counts.over_gamma(data.ap_CxU)
    layers = counts.experts_by_layer_and_site(data.ap_CxU, data.units, data.gamma)
    overview = _overview_pictures(data, over, layers)
    html = (
        _environment()
        .get_template("page.html")
        .render(
            data=data,
            key_numbers=_key_numbers(data, concepts),
            concepts=concepts,
            pictures=overview,
            sites=_site_rows(data, layers),
            limits=limits,
        )
    )
    drawn = [view.picture for view in concepts if view.picture]
    return Page(html, [*overview.values(), *drawn])


def _overview_pictures(
    data: ReportData, over: counts.OverGamma, layers: pd.DataFrame
) -> dict[str, Picture]:
    """The figures about all concepts, by the name of their file."""
    order, n = views.table_order(data), len(data.concepts)
    best = data.concepts["max_ap"]
    by_layer = counts.max_ap_by_layer(data.ap_CxU, data.units, data.concepts)
    drawn = {
        "best_ap_overview": (
            f"Best AP of each of {n:,} concepts, from {best.min():.3f} to "
            f"{best.max():.3f}; the table of concepts has the numbers.",
            figures.best_ap_overview(data.concepts.iloc[order], data.gamma),
        ),
        "max_ap_heatmap": (
            f"Heat map of the best AP of {n:,} concepts in {len(layers)} layers.",
            figures.max_ap_heatmap(by_layer.iloc[order]),
        ),
        "experts_over_gamma": (
            f"Acquired concepts fall from {over.acquired[0]:,} at γ = 0.5 to "
            f"{over.acquired[-1]:,} at γ = 1, experts from {over.experts[0]:,} to "
            f"{over.experts[-1]:,}.",
            figures.experts_over_gamma(over, data.gamma),
        ),
        "experts_per_layer": (
            f"Experts per layer, stacked by site; most, {layers.sum(axis=1).max():,}, "
            f"in layer {layers.sum(axis=1).idxmax()}.",
            figures.experts_per_layer(layers, data.gamma),
        ),
    }
    return {
        name: views.picture(name, alt, figure) for name, (alt, figure) in drawn.items()
    }


def _key_numbers(
    data: ReportData, concepts: list[ConceptView]
) -> list[tuple[str, str, str]]:
    """What a reader wants first: number, of how many, what it counts."""
    of_concepts = f"of {len(concepts):,}"
    at_gamma = counts.over_gamma(data.ap_CxU, [data.gamma])
    above = sum(view.above_chance for view in concepts)
    return [
        (f"{at_gamma.acquired[0]:,}", of_concepts, "acquired concepts"),
        (f"{above:,}", of_concepts, "concepts above chance"),
        (f"{data.concepts['max_ap'].median():.3f}", "", "median best AP"),
        (f"{at_gamma.experts[0]:,}", "", "experts, as pairs of unit and concept"),
        (f"{at_gamma.units[0]:,}", f"of {len(data.units):,}", "units that are experts"),
    ]


def _site_rows(data: ReportData, layers: pd.DataFrame) -> list[dict[str, Any]]:
    """For each site: its units, experts, and experts as a rate."""
    n_units = data.units["site"].value_counts()
    return [
        {
            "site": site,
            "units": int(n_units[site]),
            "experts": int(layers[site].sum()),
            "rate": 1000 * layers[site].sum() / (n_units[site] * len(data.concepts)),
        }
        for site in layers.columns
    ]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("expertjax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fixed"] = _fixed
    environment.filters["whole"] = lambda number: f"{number:,}"
    environment.globals["interval"] = interval
    return environment


def _fixed(number: float) -> str:
    """Three decimals; what is not known says so."""
    return f"{number:.3f}" if math.isfinite(number) else "n/a"


def interval(low: float, high: float) -> str:
    """Two decimals, rounded outwards: an AP of 0.996 is not outside of 0.99–1.00."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "n/a"
    # Six decimals first, so that 0.29, a little more or less, stays 0.29.
    low = math.floor(round(100 * low, 4)) / 100
    high = math.ceil(round(100 * high, 4)) / 100
    return f"{low:.2f}–{high:.2f}"
