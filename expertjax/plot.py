"""Figures of results, as `ej.plot`: each function returns a matplotlib `Figure`.

    ej.plot.ap_distribution(expertise, "football").savefig("ap.svg")

They are those of the report. No figure touches matplotlib's global state; a notebook
shows one that stands last in a cell.
"""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from expertjax.analysis import counts
from expertjax.analysis import presence as presence_counts
from expertjax.analysis import ranking as rankings
from expertjax.analysis.expertise import Expertise
from expertjax.report import colearning_figures, figures, ranking_figures

__all__ = [
    "ap_distribution",
    "best_ap",
    "best_ap_per_layer",
    "experts_over_gamma",
    "experts_per_layer",
    "overlap",
    "presence",
    "ranking",
]


def ap_distribution(expertise: Expertise, concept: str, gamma: float = 0.9) -> Figure:
    """AP of all units for a concept, beside what chance would give.

    Args:
      expertise: a result.
      concept: `group/name`, or what else is unambiguous, such as "football".
      gamma: expert threshold, marked by a line.

    Raises:
      InputError: there is no such concept.
    """
    c = expertise.row(concept)
    row = expertise.concepts.iloc[c]
    null = expertise.null
    law = null[(null["n_pos"] == row["n_pos"]) & (null["n_neg"] == row["n_neg"])]
    return figures.ap_distribution(
        expertise.metric("ap", concept),
        law,
        row["chance"],
        row["null_threshold"],
        gamma,
        expertise.names[c],
        row.get("surface_high"),
    )


def experts_over_gamma(expertise: Expertise, gamma: float = 0.9) -> Figure:
    """Acquired concepts and experts at every threshold; `gamma` is marked."""
    ap_CxU, floors = expertise.metric("ap"), expertise.floors()
    over = counts.over_gamma(ap_CxU, floor_C=floors)
    return figures.experts_over_gamma(over, gamma)


def experts_per_layer(
    expertise: Expertise, gamma: float = 0.9, concept: str | None = None
) -> Figure:
    """Experts in each layer, stacked by site: of all concepts, or of one.

    Raises:
      InputError: there is no such concept.
    """
    if concept is None:
        ap_CxU, floors = expertise.metric("ap"), expertise.floors()
    else:
        ap_CxU = expertise.metric("ap", concept)[None]
        floors = expertise.floors()[[expertise.row(concept)]]
    table = counts.experts_by_layer_and_site(ap_CxU, expertise.units, gamma, floors)
    return figures.experts_per_layer(table, gamma)


def best_ap(expertise: Expertise, gamma: float = 0.9) -> Figure:
    """Best AP of each concept beside chance and the 5% threshold, best first."""
    concepts = expertise.concepts.sort_values("max_ap", ascending=False, kind="stable")
    return figures.best_ap_overview(concepts, gamma)


def best_ap_per_layer(expertise: Expertise) -> Figure:
    """Best AP of each concept in each layer; concepts of highest AP on top."""
    table = counts.max_ap_by_layer(
        expertise.metric("ap"), expertise.units, expertise.concepts
    )
    order = table.max(axis=1).sort_values(ascending=False, kind="stable").index
    return figures.max_ap_heatmap(table.loc[order])


def overlap(expertise: Expertise, k: int = 50) -> Figure:
    """Which concepts share their k best units; like ones stand side by side.

    Raises:
      InputError: the model has fewer units.
    """
    return colearning_figures.overlap_map(expertise.shared_experts(k))


def presence(results: Sequence[Expertise], gamma: float = 0.9) -> Figure:
    """Acquired concepts and experts of several models at every threshold.

    Raises:
      InputError: two results have one name, or no concept is in all of them.
    """
    counted = presence_counts.presence(results, presence_counts.default_gammas(gamma))
    return ranking_figures.presence_curves(counted, gamma)


def ranking(
    results: Sequence[Expertise], scores: Mapping[str, float], benchmark: str = "score"
) -> Figure:
    """r² between expert counts and a benchmark's scores at every threshold.

    Args:
      results: of three models or more.
      scores: model -> score.
      benchmark: name of the scores.

    Raises:
      InputError: see `presence` and `analysis.ranking.rank`.
    """
    found = rankings.rank(presence_counts.presence(results), scores)
    return ranking_figures.r2_over_gamma(found, benchmark)
