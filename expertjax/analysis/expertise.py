"""Reading a finished result: experts of a concept, as tables."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from expertjax.absent import floored
from expertjax.analysis import colearning
from expertjax.analysis.colearning import Measure, Overlap
from expertjax.analysis.counts import experts_per_concept, is_expert
from expertjax.concepts.form import spoken
from expertjax.concepts.names import find_concept, short_names
from expertjax.errors import InputError
from expertjax.stores import arrays, paths
from expertjax.stores.folder import ResultFolder

_UNIT = ["unit", "site", "layer", "index", "module"]
_OF_BEST = ("ap_low", "ap_high", "ap_without")
_WRITES = [
    "unit", "side", "rank", "token", "token_id", "effect", "deviations", "sign",
]  # fmt: skip
_EXCITED = ["unit", "rank", "sentence", "response", "start", "end", "token", "text"]


class Expertise:
    """All scores of all units for all concepts of one model.

    Attributes:
      folder: where they are stored.
    """

    def __init__(self, folder: ResultFolder) -> None:
        """Opens a result.

        Raises:
          InputError: the folder's scoring is not complete.
        """
        self.folder = folder
        folder.expertise_ledger.require_closed(folder.expertise_path)

    @classmethod
    def open(cls, path: Path | str) -> "Expertise":
        """Opens `OUT/<model_name>`."""
        return cls(ResultFolder(path))

    @functools.cached_property
    def units(self) -> pd.DataFrame:
        """[U] rows: unit, site, layer, index, module."""
        return self.folder.read_table("units")

    @functools.cached_property
    def concepts(self) -> pd.DataFrame:
        """[C] rows: concept, group, n_pos, n_neg, chance, max_ap and more.

        `null_threshold` is the AP that any unit reaches with at most 5% probability
        when the concept's labels are shuffled, `n_above` the units that reach it.

        `surface_feature` is what tells the concept best without a model, `surface_ap`
        its AP and `surface_high` the upper end of that AP's interval; `above_surface`
        says whether a unit is above it, and above chance, `n_above_surface` how many
        are. `words_ap` is what a linear model of all words reaches. `form` is what can
        be counted in sentences and tells the concept best, if any does; `ap_without`
        the best unit's AP on the `n_pos_without` and `n_neg_without` sentences that it
        does not tell apart. Results of imported files have these only with sentences.
        """
        return self.folder.read_table("concepts")

    @functools.cached_property
    def null(self) -> pd.DataFrame:
        """The law of AP under shuffled labels: n_pos, n_neg, tail, ap.

        A unit reaches `ap` with the probability `tail`.
        """
        return self.folder.read_table("null")

    @functools.cached_property
    def intervals(self) -> pd.DataFrame:
        """The best units of each concept: concept, rank, unit, ap, ap_low, ap_high."""
        return self.folder.read_table("experts")

    @functools.cached_property
    def excited(self) -> pd.DataFrame:
        """The sentences of the whole pool that excite each unit of `intervals` most.

        Returns:
          unit, rank (from 1), sentence, response; start, end, token: the token at
          which the unit is maximal, as characters of the text (-1 where it is special
          or stands for none); text. Empty where responses were not kept, or the
          result was made without this table.
        """
        if not self.folder.has_table("excited"):
            return pd.DataFrame(columns=_EXCITED)
        text = self.folder.read_table("sentences")["text"]
        table = self.folder.read_table("excited")
        return table.assign(text=text.iloc[table["sentence"]].to_numpy())

    @functools.cached_property
    def surface(self) -> pd.DataFrame:
        """What needs no model: concept, feature, ap and more; see `scoring.surface`.

        Empty where sentences are not known, or the result was made without this table.
        """
        if not self.folder.has_table("surface"):
            return pd.DataFrame(columns=["concept", "feature", "ap"])
        return self.folder.read_table("surface")

    def floors(self, above_surface: bool = False) -> np.ndarray:
        """[C] the AP that a unit has to reach to be an expert at any gamma.

        That is what luck reaches; with `above_surface` also what the concept's surface
        reaches.

        Raises:
          InputError: the surface is asked for and not known.
        """
        floors = self.concepts["null_threshold"].to_numpy()
        if not above_surface:
            return floors
        if "surface_high" not in self.concepts:
            raise InputError(
                f"{self.folder.path}: the surface of its sentences is not known; score "
                "it again, or import it with --concepts"
            )
        high = self.concepts["surface_high"].to_numpy(np.float32)
        return np.fmax(floors, np.nextafter(high, np.float32(2)))  # above, not at it

    @functools.cached_property
    def writes(self) -> pd.DataFrame:
        """The tokens that each unit of `intervals` promotes and suppresses directly.

        Returns:
          unit, side ("promoted", "suppressed"), rank (from 1), token, token_id, effect,
          deviations, sign: see `capturing.writes.direct_effect`; where sign is -1, the
          unit does the opposite at the tokens that excite it most. Units without a
          direct effect have no rows; empty for encoders, and where the result was made
          without this table.
        """
        if not self.folder.has_table("writes"):
            return pd.DataFrame(columns=_WRITES)
        return self.folder.read_table("writes")

    @functools.cached_property
    def _of_best(self) -> pd.DataFrame:
        """ap_low, ap_high and, where it is known, ap_without by concept and unit."""
        shown = [name for name in _OF_BEST if name in self.intervals]
        return self.intervals.set_index(["concept", "unit"])[shown]

    @functools.cached_property
    def metrics(self) -> list[str]:
        """The metrics that are stored."""
        return self.folder.metrics

    @functools.cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.concepts["concept"])}

    @functools.cached_property
    def names(self) -> list[str]:
        """[C] what people call the concepts, no two alike: see `concepts.names`."""
        return short_names(list(self._row_of))

    def key(self, concept: str) -> str:
        """The key, `group/name`, of a concept said as people say it: "bird".

        Raises:
          InputError: there is no such concept, or there are several; see
            `concepts.names.find_concept`.
        """
        if concept in self._row_of:
            return concept
        return find_concept(concept, list(self._row_of), f" in {self.folder.path}")

    def row(self, concept: str) -> int:
        """The number of a concept, given as to `key`.

        Raises:
          InputError: as of `key`.
        """
        return self._row_of[self.key(concept)]

    def metric(self, name: str, concept: str | None = None) -> np.ndarray:
        """One metric of all units: [U] for a concept, [C, U] for all."""
        array = self.folder.open_expertise(name)
        columns = slice(0, array.shape[1])
        if concept is None:
            return arrays.read(array, slice(0, array.shape[0]), columns)
        row = self.row(concept)
        return arrays.read(array, slice(row, row + 1), columns)[0]

    def top(
        self,
        concept: str,
        k: int = 20,
        metrics: Sequence[str] = ("on_p50", "on_p90", "off_mean"),
    ) -> pd.DataFrame:
        """The k units of highest AP for a concept, best first.

        Ties are broken by unit number, so that the choice is reproducible.

        Args:
          concept: `group/name`, or what else is unambiguous, such as "bird".
          k: number of units.
          metrics: to be shown beside AP; those that are not stored are left out.

        Returns:
          unit, site, layer, index, module, ap, `above_chance` (see `concepts`),
          `ap_low` and `ap_high` (95% bootstrap interval; NaN beyond the units that
          got one), `ap_heldout` where sentences were held out, and the metrics. Where
          the surface is known also `above_surface` and `ap_without` (see `concepts`).
        """
        ap_U = self.metric("ap", concept)
        best_K = np.argsort(-ap_U, kind="stable")[:k]
        shown = [m for m in ("ap_heldout", *metrics) if m in self.metrics]
        values = {m: self.metric(m, concept)[best_K] for m in shown}
        return self._top_table(concept, best_K, {"ap": ap_U[best_K], **values})

    def tops(
        self,
        ap_CxU: np.ndarray,
        k: int = 20,
        metrics: Sequence[str] = ("on_p50", "on_p90", "off_mean"),
    ) -> dict[str, pd.DataFrame]:
        """`top` of every concept; each metric is read once.

        Args:
          ap_CxU: the metric "ap".
          k: number of units.
          metrics: as for `top`.

        Raises:
          InputError: there are fewer than k units.
        """
        best_CxK = colearning.top_units(ap_CxU, k)
        values = {"ap": np.take_along_axis(ap_CxU, best_CxK, 1)}
        for metric in ("ap_heldout", *metrics):
            if metric in self.metrics:
                of_all = self.metric(metric)
                values[metric] = np.take_along_axis(of_all, best_CxK, 1)
        return {
            key: self._top_table(key, best_CxK[c], {m: v[c] for m, v in values.items()})
            for c, key in enumerate(self.concepts["concept"])
        }

    def _top_table(
        self, concept: str, units_K: np.ndarray, values: dict[str, np.ndarray]
    ) -> pd.DataFrame:
        """What `top` returns; `values` of the units, AP first."""
        ap_K, key = values["ap"], self.key(concept)
        row = self.row(key)
        pairs = pd.MultiIndex.from_product([[key], units_K])
        table = self.units[_UNIT].iloc[units_K].reset_index(drop=True)
        table = table.assign(ap=ap_K, above_chance=ap_K >= self.floors()[row])
        if "surface_high" in self.concepts:
            table = table.assign(above_surface=ap_K >= self.floors(True)[row])
        table[list(self._of_best)] = self._of_best.reindex(pairs).to_numpy()
        return table.assign(**{m: v for m, v in values.items() if m != "ap"})

    def experts(self, concept: str, gamma: float) -> pd.DataFrame:
        """The experts at gamma: all units of AP >= gamma above chance, best first."""
        ap_U, floor = self.metric("ap", concept), self.floors()[self.row(concept)]
        return self.top(concept, int((is_expert(ap_U, gamma) & (ap_U >= floor)).sum()))

    def shared_experts(self, k: int = 50, gamma: float | None = None) -> Overlap:
        """What every pair of concepts shares of its top k units, or experts at gamma.

        Raises:
          InputError: there are fewer than k units.
        """
        ap_CxU = self.metric("ap")
        if gamma is None:
            units = list(colearning.top_units(ap_CxU, k))
        else:
            units = colearning.expert_units(ap_CxU, gamma, self.floors())
        return colearning.overlap(list(self.concepts["concept"]), units, len(ap_CxU.T))

    def overlap(
        self, k: int = 50, measure: Measure = "overlap", gamma: float | None = None
    ) -> pd.DataFrame:
        """How many experts concepts share: see `analysis.colearning`.

        Args:
          k: units of a concept.
          measure: "overlap" or "jaccard".
          gamma: take all experts at gamma in place of the top k.

        Returns:
          a table [concept, concept] of numbers in [0, 1].

        Raises:
          InputError: there are fewer than k units, or no such measure.
        """
        found = self.shared_experts(k, gamma)
        return pd.DataFrame(found.matrix(measure), index=found.keys, columns=found.keys)

    def nearest(self, concept: str, n: int = 10, k: int = 50) -> pd.DataFrame:
        """The n concepts that share most of their top k units with one.

        Returns:
          concept, other, shared, overlap, expected, jaccard, p: see
          `analysis.colearning.nearest`.

        Raises:
          InputError: no such concept, or fewer than k units.
        """
        key = self.key(concept)
        return colearning.nearest(self.shared_experts(k), key, n)

    def shared_units(self, a: str, b: str, k: int = 50) -> pd.DataFrame:
        """The units that are among the top k of both concepts.

        Returns:
          unit, site, layer, index, module, and each concept's `ap_a`, `rank_a`,
          `ap_b`, `rank_b` (from 0); highest mean AP first.

        Raises:
          InputError: no such concept, or fewer than k units.
        """
        ap_2xU = np.stack([self.metric("ap", a), self.metric("ap", b)])
        top_a, top_b = colearning.top_units(ap_2xU, k)
        both, rank_a, rank_b = np.intersect1d(top_a, top_b, return_indices=True)
        order = np.argsort(-ap_2xU[:, both].mean(0), kind="stable")
        ap_a, ap_b = ap_2xU[:, both[order]]
        table = self.units[_UNIT].iloc[both[order]].reset_index(drop=True)
        return table.assign(
            ap_a=ap_a, rank_a=rank_a[order], ap_b=ap_b, rank_b=rank_b[order]
        )

    def summary(self, gamma: float) -> pd.DataFrame:
        """One row per concept: its best unit, and what chance would give.

        Returns:
          concept, chance, best AP, the family-wise 5% threshold, how many units are
          above it, the number of experts at gamma, and the best unit's module and
          index, and its AP on held-out sentences if there are any; where the surface is
          known its best feature, whose AP has a * where no unit is above it, and the
          best unit's AP without the form that tells the concept; best first, those
          that no unit is above at the end.
        """
        ap_CxU = self.metric("ap")
        best_C = ap_CxU.argmax(1)
        best = self.units.iloc[best_C]
        table = pd.DataFrame(
            {
                "concept": self.concepts["concept"],
                "chance": self.concepts["chance"].round(3),
                "best AP": self.concepts["max_ap"].round(3),
                "5% threshold": self.concepts["null_threshold"].round(3),
                "above it": self.concepts["n_above"],
                f"AP >= {gamma:g}": experts_per_concept(ap_CxU, gamma, self.floors()),
                "best unit": (
                    best["module"] + "[" + best["index"].astype(str) + "]"
                ).array,
            }
        )
        if "ap_heldout" in self.metrics:
            held_out = self.metric("ap_heldout")[np.arange(len(best_C)), best_C]
            table.insert(3, "held out", held_out.round(3))
        if "surface_ap" in self.concepts:
            table.insert(3, "surface", self._surfaces())
            table.insert(4, "without", self.concepts["ap_without"].round(3))
        order = np.argsort(-self.concepts["max_ap"].to_numpy(), kind="stable")
        if "above_surface" in self.concepts:
            is_below = ~self.concepts["above_surface"].to_numpy(bool)[order]
            order = order[np.argsort(is_below, kind="stable")]
        return table.iloc[order].reset_index(drop=True)

    def _surfaces(self) -> list[str]:
        """What tells each concept without a model, for a table."""
        columns = ["surface_ap", "above_surface", "surface_feature"]
        return [
            f"{ap:.3f}{' ' if is_above else '*'} {spoken(feature)}"
            for ap, is_above, feature in self.concepts[columns].itertuples(index=False)
        ]

    def responses(self, units: np.ndarray) -> np.ndarray:
        """[N, K] float32 responses of some units to the whole pool.

        Those that are none are as they are scored (see `absent`).

        Raises:
          InputError: they were not kept.
        """
        array = self.folder.source.open_responses()
        return floored(arrays.read(array, slice(0, array.shape[0]), units))

    def members(self, concept: str) -> tuple[np.ndarray, np.ndarray]:
        """The labelled sentences of a concept: [n] rows of the pool, [n] 1 or 0."""
        table = self.folder.read_table("memberships")
        rows = table[table["concept"] == self.concepts["concept"][self.row(concept)]]
        return rows["sentence"].to_numpy(), rows["label"].to_numpy()

    def most_exciting(
        self, units: Sequence[int], k: int = 5
    ) -> dict[int, pd.DataFrame]:
        """The k sentences of highest response of some units, over the whole pool.

        Returns:
          unit -> table of sentence, text, response.
        """
        columns = np.array(sorted(set(units)), dtype=np.int64)
        x_NxK = self.responses(columns)
        text = self.folder.read_table("sentences")["text"]
        tables = {}
        for column, unit in enumerate(columns):
            rows = np.argsort(-x_NxK[:, column], kind="stable")[:k]
            tables[int(unit)] = pd.DataFrame(
                {
                    "sentence": rows,
                    "text": text.iloc[rows].to_numpy(),
                    "response": x_NxK[rows, column],
                }
            )
        return tables


def find_results(results: Sequence[str]) -> list[Expertise]:
    """The results under some folders: each `OUT/<model_name>`, or all of `OUT`.

    Raises:
      InputError: a folder holds no result.
    """
    found = []
    for path in map(paths.as_path, results):
        if not path.is_dir():
            raise InputError(f"--results={path}: no such folder")
        runs = [path] if (path / "run.json").is_file() else []
        runs = runs or sorted(run.parent for run in path.glob("*/run.json"))
        if not runs:
            raise InputError(
                f"--results={path}: holds no result; expected OUT or OUT/<model_name>"
            )
        found += [Expertise(ResultFolder(run)) for run in runs]
    return found
