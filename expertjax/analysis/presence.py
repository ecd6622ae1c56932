"""Expert presence: how many concepts, experts and units a model has at each gamma.

X_gamma of "Ranking models" (our definition, after arXiv 2005.07647): at every
threshold, a model's acquired concepts, its experts (pairs of a unit and a concept)
and its distinct expert units, for the same concepts in all models. A unit whose AP
luck alone reaches is no expert at any threshold.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from expertjax.analysis.expertise import Expertise
from expertjax.errors import InputError

MEASURES = ("acquired", "experts", "experts_share", "units", "units_share")
_GAMMAS = np.linspace(0.5, 1, 501).round(3)


def default_gammas(gamma: float | None = None) -> np.ndarray:
    """501 thresholds from 0.5 to 1, and gamma among them, ascending."""
    return np.unique([*_GAMMAS, gamma if gamma is not None else 0.5])


@dataclasses.dataclass(frozen=True)
class ModelPresence:
    """The counts of one model.

    Attributes:
      model: its name.
      units_L: number of units of each layer.
      layers: [L] numbers of the layers, ascending.
      acquired_G: concepts with at least one expert.
      acquired_LxG: concepts with at least one expert in the layer.
      experts_LxG: pairs of a unit and a concept.
      expert_units_LxG: distinct units that are an expert for some concept.
    """

    model: str
    layers: np.ndarray
    units_L: np.ndarray
    acquired_G: np.ndarray
    acquired_LxG: np.ndarray
    experts_LxG: np.ndarray
    expert_units_LxG: np.ndarray

    @property
    def num_units(self) -> int:
        """Units of the model."""
        return int(self.units_L.sum())

    @property
    def depth_L(self) -> np.ndarray:
        """Relative depth of the layers' middles, in (0, 1)."""
        return (np.arange(len(self.layers)) + 0.5) / len(self.layers)


@dataclasses.dataclass(frozen=True)
class Presence:
    """The counts of several models, for the same concepts and thresholds.

    Attributes:
      concepts: [C] that all models have.
      gammas: [G] thresholds, ascending.
      models: a model each.
      above_surface: only experts that are above their concept's surface count.
      left_out: model -> its concepts that some other model lacks.
    """

    concepts: tuple[str, ...]
    gammas: np.ndarray
    models: tuple[ModelPresence, ...]
    above_surface: bool
    left_out: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """[M] of the models."""
        return [model.model for model in self.models]

    def counts(self, measure: str) -> np.ndarray:
        """X_gamma of the models, [M, G].

        Args:
          measure: "acquired" (concepts), "acquired_share" (of all concepts),
            "experts" (pairs), "experts_share" (of all units times concepts), "units"
            (distinct expert units) or "units_share" (of all units).
        """
        kind, _, share = measure.partition("_")
        if kind == "acquired":
            counts = np.stack([model.acquired_G for model in self.models])
            whole = np.full(len(self.models), len(self.concepts))
        else:
            name = {"experts": "experts_LxG", "units": "expert_units_LxG"}[kind]
            counts = np.stack([getattr(model, name).sum(0) for model in self.models])
            whole = np.array([model.num_units for model in self.models])
            if kind == "experts":
                whole = whole * len(self.concepts)
        return counts / whole[:, None] if share else counts

    def table(self, gamma: float | None = None) -> pd.DataFrame:
        """model, gamma, concepts, num_units and all measures: a row per threshold.

        Args:
          gamma: only the highest threshold that is not above this one.
        """
        shown = np.arange(len(self.gammas))
        if gamma is not None:
            shown = shown[[self.column(gamma)]]
        columns = {
            measure: self.counts(measure)[:, shown].ravel()
            for measure in ("acquired", "acquired_share", *MEASURES[1:])
        }
        num_units = [model.num_units for model in self.models]
        return pd.DataFrame(
            {
                "model": np.repeat(self.names, len(shown)),
                "gamma": np.tile(self.gammas[shown], len(self.models)),
                "concepts": len(self.concepts),
                "num_units": np.repeat(num_units, len(shown)),
                **columns,
            }
        )

    def layers(self, gamma: float) -> pd.DataFrame:
        """A row per model and layer at the highest threshold up to gamma.

        Returns:
          model, layer, depth (relative, of the layer's middle), num_units, acquired,
          experts, units.
        """
        at = self.column(gamma)
        tables = [
            pd.DataFrame(
                {
                    "model": model.model,
                    "layer": model.layers,
                    "depth": model.depth_L,
                    "num_units": model.units_L,
                    "acquired": model.acquired_LxG[:, at],
                    "experts": model.experts_LxG[:, at],
                    "units": model.expert_units_LxG[:, at],
                }
            )
            for model in self.models
        ]
        return pd.concat(tables, ignore_index=True)

    def column(self, gamma: float) -> int:
        """The number of the highest threshold that is not above gamma.

        Raises:
          InputError: all thresholds are above it.
        """
        at = int(np.searchsorted(self.gammas, gamma + 1e-9)) - 1
        if at < 0:
            raise InputError(
                f"gamma {gamma:g} is below the lowest threshold, {self.gammas[0]:g}"
            )
        return at


def model_presence(
    model: str,
    ap_CxU: np.ndarray,
    layer_U: ArrayLike,
    gammas: np.ndarray | None = None,
    floor_C: ArrayLike | None = None,
) -> ModelPresence:
    """Counts of one model: one pass over the concepts, a row at a time.

    Args:
      model: its name.
      ap_CxU: average precision, [C, U].
      layer_U: layer of each unit.
      gammas: thresholds, ascending, [G]; default 501 of them from 0.5 to 1.
      floor_C: an expert has to reach this AP of its concept as well.
    """
    # In AP's own dtype, so that an AP stored as float32(0.9) is an expert at 0.9.
    gammas = np.asarray(_GAMMAS if gammas is None else gammas, ap_CxU.dtype)
    place_U, layers = pd.factorize(np.asarray(layer_U), sort=True)
    shape = len(layers), len(gammas)
    acquired_G = np.zeros(len(gammas), int)
    acquired_LxG, experts_LxG = np.zeros(shape, int), np.zeros(shape, int)
    best_U = np.full(ap_CxU.shape[1], -np.inf, ap_CxU.dtype)
    floors = np.full(len(ap_CxU), -np.inf) if floor_C is None else floor_C
    for ap_U, floor in zip(ap_CxU, np.asarray(floors), strict=True):
        counted = np.flatnonzero(ap_U >= max(gammas[0], ap_U.dtype.type(floor)))
        ap_K = ap_U[counted]
        above_LxG = _count_by_layer(ap_K, place_U[counted], gammas, len(layers))
        experts_LxG += above_LxG
        acquired_LxG += above_LxG > 0
        acquired_G += above_LxG.any(0)
        best_U[counted] = np.maximum(best_U[counted], ap_K)
    counted = np.flatnonzero(best_U >= gammas[0])
    return ModelPresence(
        model,
        np.asarray(layers),
        np.bincount(place_U, minlength=len(layers)),
        acquired_G,
        acquired_LxG,
        experts_LxG,
        _count_by_layer(best_U[counted], place_U[counted], gammas, len(layers)),
    )


def _count_by_layer(
    ap_K: np.ndarray, place_K: np.ndarray, gammas: np.ndarray, num_layers: int
) -> np.ndarray:
    """For each layer and threshold, how many values reach it, [L, G]."""
    reached_K = np.searchsorted(gammas, ap_K, side="right") - 1
    cells = np.bincount(
        place_K * len(gammas) + reached_K, minlength=num_layers * len(gammas)
    )
    per_threshold = cells.reshape(num_layers, len(gammas))
    return per_threshold[:, ::-1].cumsum(1)[:, ::-1]


def common_concepts(
    results: Sequence[Expertise],
) -> tuple[list[str], dict[str, list[str]]]:
    """The concepts that all results have, in the first one's order, and the rest.

    Raises:
      InputError: two results have one name, or no concept is in all of them.
    """
    names = [result.folder.name for result in results]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"--results: two results are called {', '.join(twice)}; each needs a "
            "folder name of its own"
        )
    keys = [list(result.concepts["concept"]) for result in results]
    shared = set(keys[0]).intersection(*keys)
    if not shared:
        raise InputError(
            f"--results: no concept is in all of {', '.join(names)}; models are "
            "compared by the concepts that they have in common"
        )
    left_out = {
        name: missing
        for name, own in zip(names, keys, strict=True)
        if (missing := [key for key in own if key not in shared])
    }
    return [key for key in keys[0] if key in shared], left_out


def count_result(
    result: Expertise,
    ap_CxU: np.ndarray,
    concepts: Sequence[str],
    gammas: np.ndarray | None = None,
    above_surface: bool = False,
) -> ModelPresence:
    """`model_presence` of some of a result's concepts.

    Args:
      result: of the model; its experts have to be above chance.
      ap_CxU: AP for all of its concepts.
      concepts: those that count.
      gammas: thresholds, ascending, [G].
      above_surface: its experts have to be above the surface, too.

    Raises:
      InputError: the surface is asked for and not known.
    """
    rows = np.sort([result.row(key) for key in concepts])  # counts know no order
    floors = result.floors(above_surface)[rows]
    chosen_CxU = ap_CxU if len(rows) == len(ap_CxU) else ap_CxU[rows]
    return model_presence(
        result.folder.name, chosen_CxU, result.units["layer"], gammas, floors
    )


def presence(
    results: Sequence[Expertise],
    gammas: ArrayLike | None = None,
    above_surface: bool = False,
) -> Presence:
    """Counts of several models, one in memory at a time.

    Args:
      results: finished results.
      gammas: thresholds, ascending, [G]; default 501 of them from 0.5 to 1.
      above_surface: count only experts that are above their concept's surface.

    Raises:
      InputError: two results have one name, no concept is in all of them, or the
        surface is asked for and not known.
    """
    grid = np.asarray(_GAMMAS if gammas is None else gammas, float)
    concepts, left_out = common_concepts(results)
    models = [
        count_result(result, result.metric("ap"), concepts, grid, above_surface)
        for result in results
    ]
    return Presence(tuple(concepts), grid, tuple(models), above_surface, left_out)
