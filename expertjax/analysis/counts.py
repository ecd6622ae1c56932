"""Counts behind the figures: one pass over the concepts, a row of units at a time.

Rows are taken one by one because `ap_CxU` may have 1641 x 221,184 entries and lie
on disk. Thresholds are compared in the array's own dtype, so that an AP stored as
float32(0.9) is an expert at 0.9. What luck alone reaches is no expert whatever gamma
is: each concept has a floor, its `null_threshold`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from expertjax.absent import ROUTED


@dataclasses.dataclass(frozen=True)
class OverGamma:
    """How many concepts and experts there are at each threshold; arrays [G]."""

    n_concepts: int
    gammas: np.ndarray
    acquired: np.ndarray  # concepts with at least one expert
    experts: np.ndarray  # pairs of a unit and a concept
    units: np.ndarray  # distinct units that are an expert for some concept


def over_gamma(
    ap_CxU: np.ndarray,
    gammas: ArrayLike | None = None,
    floor_C: ArrayLike | None = None,
) -> OverGamma:
    """Counts at every threshold.

    Args:
      ap_CxU: average precision, [C, U].
      gammas: thresholds, ascending, [G]; default 501 of them from 0.5 to 1.
      floor_C: the AP that an expert of each concept has to reach as well.
    """
    grid = np.linspace(0.5, 1, 501) if gammas is None else gammas
    gammas = np.asarray(grid, ap_CxU.dtype)
    acquired = np.zeros(len(gammas), int)
    experts = np.zeros(len(gammas), int)
    best_U = np.zeros(ap_CxU.shape[1], ap_CxU.dtype)
    for ap_U in with_floor(ap_CxU, floor_C):
        above = count_at_least(ap_U, gammas)
        acquired += above > 0
        experts += above
        np.maximum(best_U, ap_U, out=best_U)
    units = count_at_least(best_U, gammas)
    return OverGamma(len(ap_CxU), gammas, acquired, experts, units)


def with_floor(ap_CxU: np.ndarray, floor_C: ArrayLike | None) -> Iterator[np.ndarray]:
    """The rows of AP, with -1 for what does not reach the concept's floor."""
    floors = np.full(len(ap_CxU), -np.inf) if floor_C is None else np.asarray(floor_C)
    for ap_U, floor in zip(ap_CxU, floors, strict=True):
        yield np.where(ap_U >= floor, ap_U, ap_U.dtype.type(-1))


def is_expert(ap_U: np.ndarray, gamma: float) -> np.ndarray:
    """Where AP is at least gamma, [U] bool."""
    return ap_U >= ap_U.dtype.type(gamma)


def experts_per_concept(
    ap_CxU: np.ndarray, gamma: float, floor_C: ArrayLike | None = None
) -> np.ndarray:
    """Number of experts of each concept, [C] int."""
    rows = with_floor(ap_CxU, floor_C)
    return np.array([np.count_nonzero(is_expert(ap_U, gamma)) for ap_U in rows])


def experts_by_layer_and_site(
    ap_CxU: np.ndarray,
    units: pd.DataFrame,
    gamma: float,
    floor_C: ArrayLike | None = None,
) -> pd.DataFrame:
    """Pairs of a unit and a concept with AP >= gamma: a row per layer.

    Args:
      ap_CxU: average precision, [C, U].
      units: [U] rows with `layer` and `site`.
      gamma: the threshold.
      floor_C: the AP that an expert of each concept has to reach as well.

    Returns:
      A table [layers, sites] of counts: layers ascending, sites in unit order, those
      of a mixture's experts as one.
    """
    layer_U, layers = pd.factorize(units["layer"], sort=True)
    site_U, sites = pd.factorize(kinds_of_sites(units["site"]))
    cell_U = layer_U * len(sites) + site_U
    counts = np.zeros(len(layers) * len(sites), int)
    for ap_U in with_floor(ap_CxU, floor_C):
        counts += np.bincount(cell_U[is_expert(ap_U, gamma)], minlength=len(counts))
    table = counts.reshape(len(layers), len(sites))
    return pd.DataFrame(table, index=layers, columns=sites)


def kinds_of_sites(sites: pd.Series) -> pd.Series:
    """The names of sites, without the numbers of experts that a mixture is made of."""
    code_U, names = pd.factorize(sites)  # few names of many units
    kinds = pd.Series(names).str.replace(ROUTED, "experts.", regex=True)
    return kinds.take(code_U).set_axis(sites.index)


def max_ap_by_layer(
    ap_CxU: np.ndarray, units: pd.DataFrame, concepts: pd.DataFrame
) -> pd.DataFrame:
    """Best AP of each concept in each layer.

    Args:
      ap_CxU: average precision, [C, U].
      units: [U] rows with `layer`.
      concepts: [C] rows with `concept`.

    Returns:
      A table [concepts, layers]: concepts as given, layers ascending.
    """
    layer_U, layers = pd.factorize(units["layer"], sort=True)
    order_U = np.argsort(layer_U, kind="stable")
    starts = np.searchsorted(layer_U[order_U], np.arange(len(layers)))
    best = [np.maximum.reduceat(ap_U[order_U], starts) for ap_U in ap_CxU]
    return pd.DataFrame(np.stack(best), index=concepts["concept"], columns=layers)


def count_at_least(ap_U: np.ndarray, gammas: np.ndarray) -> np.ndarray:
    """For each threshold, how many values reach it, [G]."""
    high = ap_U[ap_U >= gammas[0]]
    reached = np.searchsorted(gammas, high, side="right")  # thresholds per value
    per_threshold = np.bincount(reached, minlength=len(gammas) + 1)[1:]
    return per_threshold[::-1].cumsum()[::-1]
