"""Several models side by side, as the page shows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from expertjax.analysis.expertise import Expertise
from expertjax.analysis.presence import Presence
from expertjax.analysis.ranking import MIN_MODELS, Ranking
from expertjax.report.payload import numbers, one_number

_MEASURES = ("acquired", "experts", "units_share")


def compare(
    results: Sequence[Expertise], presence: Presence, ranking: Ranking | None = None
) -> dict[str, Any]:
    """What the page of several models shows beside each of them.

    Args:
      results: [M] finished results.
      presence: their counts of experts.
      ranking: how these rank the models, if there are benchmark scores.
    """
    tables = {r.folder.name: r.concepts.set_index("concept") for r in results}
    return {
        "models": presence.names,
        "gammas": numbers(presence.gammas, 4),
        "concepts": list(presence.concepts),
        "left_out": presence.left_out,
        "num_units": [model.num_units for model in presence.models],
        "measures": {
            measure: [numbers(row, 6) for row in presence.counts(measure)]
            for measure in _MEASURES
        },
        "best": [_column(tables[m], presence, "max_ap") for m in presence.names],
        "above": [_column(tables[m], presence, "n_above") for m in presence.names],
        "ranking": ranking_payload(ranking) if ranking else None,
    }


def ranking_payload(ranking: Ranking) -> dict[str, Any]:
    """The ranking, its r² at each threshold, and what stands against it."""
    r2 = {
        str(measure): {
            "gamma": numbers(rows["gamma"], 4),
            "r2": numbers(rows["r2"], 5),
            "spearman": numbers(rows["spearman"], 5),
        }
        for measure, rows in ranking.table.groupby("measure", sort=False)
    }
    return {
        "scores": {str(name): float(score) for name, score in ranking.scores.items()},
        "r2": r2,
        "best": _records(ranking.best),
        "predictions": _records(ranking.predictions),
        "warnings": list(ranking.warnings),
        "min_models": MIN_MODELS,
    }


def _column(table: pd.DataFrame, presence: Presence, name: str) -> list[Any]:
    return numbers(table[name].loc[list(presence.concepts)], 5)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            str(name): one_number(value) if isinstance(value, float | np.floating) else
            value
            for name, value in row.items()
        }
        for row in table.to_dict("records")
    ]
