"""Several models side by side, as the page shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from expertjax.analysis.compare import Comparison
from expertjax.analysis.expertise import Expertise
from expertjax.analysis.presence import Presence
from expertjax.analysis.ranking import Ranking
from expertjax.concepts.form import spoken
from expertjax.concepts.names import short_names
from expertjax.report.payload import numbers, one_number, significant

_MEASURES = ("acquired", "experts", "experts_share", "units", "units_share")


def side_by_side(
    results: Sequence[Expertise],
    comparison: Comparison,
    held_out: Mapping[str, pd.Series],
) -> dict[str, Any]:
    """What the page of several models shows beside each of them.

    Args:
      results: [M] finished results.
      comparison: of them, by `analysis.compare.compare`.
      held_out: model -> concept -> AP of its best unit on held-out sentences.
    """
    presence = comparison.presence
    concepts = list(presence.concepts)
    tables = {r.folder.name: r.concepts.set_index("concept") for r in results}
    own = [tables[name].loc[concepts] for name in presence.names]
    return {
        "models": presence.names,
        "gammas": numbers(presence.gammas, 4),
        "at": presence.column(comparison.settings.gamma),
        "gamma": comparison.settings.gamma,
        "above_surface": presence.above_surface,
        "concepts": concepts,
        "names": short_names(concepts),
        "num_units": [model.num_units for model in presence.models],
        "measures": {
            measure: [significant(row) for row in presence.counts(measure)]
            for measure in _MEASURES
        },
        "best": [numbers(table["max_ap"], 5) for table in own],
        "held_out": [numbers(held_out[m].loc[concepts], 5) for m in presence.names],
        "depth": _depth(presence, comparison.settings.gamma),
        "above": [numbers(table["n_above"], 0) for table in own],
        "surface": _surface(own),
        "rankings": {
            name: _ranking(ranking) for name, ranking in comparison.rankings.items()
        },
        "agreement": []
        if comparison.agreement is None
        else _records(comparison.agreement),
        "warnings": list(comparison.warnings),
    }


def _depth(presence: Presence, gamma: float) -> list[dict[str, Any]]:
    """[M] experts of each layer, and how many there are for a thousand units."""
    table = presence.layers(gamma)
    rate = 1000 * table["experts"] / table["num_units"]
    of_model = dict(list(table.assign(rate=rate).groupby("model")))
    return [
        {
            "layer": [str(layer) for layer in of_model[name]["layer"]],
            "depth": numbers(of_model[name]["depth"], 4),
            "experts": numbers(of_model[name]["experts"], 0),
            "rate": significant(of_model[name]["rate"]),
        }
        for name in presence.names
    ]


def _surface(own: Sequence[pd.DataFrame]) -> dict[str, Any] | None:
    """What tells each concept without a model; None where a result does not know.

    All that differs between models is how many tokens sentences have, so that the
    first one's feature stands for all; each has its own verdict.
    """
    if any("surface_ap" not in table for table in own):
        return None
    return {
        "feature": [spoken(feature) for feature in own[0]["surface_feature"]],
        "ap": numbers(own[0]["surface_ap"], 5),
        "above": [numbers(table["above_surface"], 0) for table in own],
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    """r² at each threshold, the best of it, and what stands against it."""
    over = {
        str(measure): {
            name: numbers(rows[name], 5) for name in ("gamma", "r2", "spearman")
        }
        for measure, rows in ranking.table.groupby("measure", sort=False)
    }
    return {
        "scores": {str(name): float(score) for name, score in ranking.scores.items()},
        "over": over,
        "best": _records(ranking.best),
        "predictions": _records(ranking.predictions),
        "warnings": list(ranking.warnings),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): _plain(value) for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    return one_number(float(value)) if isinstance(value, float) else value
