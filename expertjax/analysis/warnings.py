"""What a reader should be told of a result before any of its numbers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from expertjax.concepts.form import spoken
from expertjax.concepts.names import short_names

_MOST_NAMED = 8


def warnings(concepts: pd.DataFrame) -> list[str]:
    """Sentences on concepts whose best AP does not say what it seems to.

    Args:
      concepts: `concepts.parquet`.
    """
    found = []
    names = np.array(short_names(concepts["concept"].tolist()), object)
    too_few = np.isinf(concepts["null_threshold"].to_numpy())
    if too_few.any():
        sizes = concepts.loc[too_few, ["n_pos", "n_neg"]].to_numpy()
        told = [
            f"{name} ({n_pos} positives, {n_neg} negatives)"
            for name, (n_pos, n_neg) in zip(names[too_few], sizes, strict=True)
        ]
        found.append(
            f"{_count(too_few)} too few sentences: luck alone reaches any AP, and no "
            f"unit counts as an expert: {_listed(told)}."
        )
    by_luck = (concepts["n_above"] == 0).to_numpy() & ~too_few
    if by_luck.any():
        found.append(
            f"{_count(by_luck)} no unit above chance: {_listed(names[by_luck])}."
        )
    if "above_surface" in concepts:
        is_below = ~concepts["above_surface"].to_numpy(bool) & ~by_luck & ~too_few
        rows = concepts.assign(name=names)[is_below]
        rows = rows.sort_values("max_ap", ascending=False, kind="stable")
        told = [
            f"{row.name} (best unit {row.max_ap:.3f}; {spoken(row.surface_feature)} "
            f"{row.surface_ap:.3f}, up to {row.surface_high:.3f})"
            for row in rows.itertuples(index=False)
        ]
        if told:
            found.append(
                f"{_count(is_below)} no unit above the surface: what can be counted in "
                f"the sentences, or one word, tells as well as any unit: "
                f"{_listed(told)}."
            )
    return found


def _count(is_so: np.ndarray) -> str:
    number = int(is_so.sum())
    return "1 concept has" if number == 1 else f"{number} concepts have"


def _listed(told: Sequence[str]) -> str:
    rest = len(told) - _MOST_NAMED
    more = [f"and {rest} more"] if rest > 0 else []
    return ", ".join([*told[:_MOST_NAMED], *more])
