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
    known = [view.margin for view in concepts if not math.isnan(view.margin)]
    above = ("n/a", "")
    if known:
        above = (f"{sum(margin > 0 for margin in known):,}", f"of {len(known):,}")
    return [
        (f"{at_gamma.acquired[0]:,}", of_concepts, "acquired concepts"),
        (*above, "concepts above permuted labels"),
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
    environment.tests["nan"] = math.isnan
    return environment


def _fixed(number: float) -> str:
    """Three decimals; what is not known says so."""
    return "n/a" if math.isnan(number) else f"{number:.3f}"
