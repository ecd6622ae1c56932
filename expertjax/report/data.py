"""What a report is made from: plain tables and arrays, checked once."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from expertjax.concepts.names import short_names
from expertjax.errors import join_problems
from expertjax.report.spread import Spread

_UNIT_COLUMNS = ("unit", "site", "layer", "index", "module")
_CONCEPT_COLUMNS = (
    "concept", "group", "n_pos", "n_neg", "chance", "max_ap", "null_threshold",
    "n_above",
)  # fmt: skip
_NULL_COLUMNS = ("n_pos", "n_neg", "tail", "ap")
_EXPERT_COLUMNS = (
    *_UNIT_COLUMNS, "ap", "on_p50", "on_p90", "off_mean", "above_chance", "ap_low",
    "ap_high",
)  # fmt: skip
_HELD_OUT = "ap_heldout"
MOSTLY_FIRST = 0.9  # of the sentences
_ROUNDING = 1e-5  # AP is float32 in the store, perhaps float64 in tables


@dataclasses.dataclass(frozen=True)
class Sentences:
    """The sentences of the pool that a report shows.

    Attributes:
      texts: sentence -> text.
      excited: unit -> the sentences of the whole pool that excite it most, best first:
        sentence, response, start, end (characters of the token at which the unit is
        maximal, -1 unknown).
      missed: concept -> the positives that excite its best unit least, lowest first:
        sentence, response.
      members: who is labelled how: concept, sentence, label (1 positive, 0 negative).
      own: unit -> the sentences of its best concept that excite it most: sentence,
        response, rank among all that are labelled.
      spreads: unit -> its responses to its best concepts, counted.
    """

    texts: pd.Series
    excited: dict[int, pd.DataFrame]
    missed: dict[str, pd.DataFrame]
    members: pd.DataFrame
    own: dict[int, pd.DataFrame] = dataclasses.field(default_factory=dict)
    spreads: dict[int, Spread] = dataclasses.field(default_factory=dict)

    @staticmethod
    def none() -> "Sentences":
        """Those of a result whose responses were not kept."""
        members = pd.DataFrame(columns=["concept", "sentence", "label"])
        return Sentences(pd.Series([], dtype=object), {}, {}, members)


@dataclasses.dataclass(frozen=True)
class ReportData:
    """One model's results; rows of `units` and `concepts` are the axes of `ap_CxU`.

    Raises:
      ValueError: columns are missing; lengths, best APs or counts disagree; an AP is
        not in [0, 1]; a concept's null law is missing or out of order; or a sentence
        has no text.
    """

    model_name: str
    # Shown as they are, in this order: family, layers, units, pooling, ...
    facts: dict[str, str]
    # A unit is an expert for a concept where its AP is at least gamma.
    gamma: float
    # [U] rows: unit, site, layer, index, module.
    units: pd.DataFrame
    # [C] rows: concept ("group/name"), group, n_pos, n_neg, chance, max_ap;
    # null_threshold, which under permuted labels any unit at all reaches with
    # probability 0.05 at most (inf: no AP could); n_above, the units that reach it.
    concepts: pd.DataFrame
    # The law of one unit's AP under permuted labels, for each (n_pos, n_neg) of the
    # concepts. Rows n_pos, n_neg, tail, ap: AP >= ap has probability tail; ap ascends
    # as tail descends.
    null: pd.DataFrame
    # [C, U] float32.
    ap_CxU: np.ndarray
    # concept -> its top units, best first: the columns of `units`, then ap, on_p50,
    # on_p90, off_mean, above_chance, the interval ap_low and ap_high (NaN: not
    # computed) and, in all tables or in none, ap_heldout.
    experts: dict[str, pd.DataFrame]
    sentences: Sentences
    # In the pool, of which the page keeps some; None is not known.
    num_sentences: int | None = None
    # concept, feature, ap: what needs no model; without rows where it is not known.
    surface: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=["concept", "feature", "ap"])
    )
    # What units write: see `Expertise.writes`. None: it was not computed.
    writes: pd.DataFrame | None = None
    # The units for which it was; those without rows in `writes` have no direct effect.
    writers: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        problems = [
            *_missing("units", self.units, _UNIT_COLUMNS),
            *_missing("concepts", self.concepts, _CONCEPT_COLUMNS),
            *_missing("null", self.null, _NULL_COLUMNS),
        ]
        for concept, table in self.experts.items():
            problems += _missing(f"experts[{concept!r}]", table, _EXPERT_COLUMNS)
        if len({_HELD_OUT in table for table in self.experts.values()}) == 2:
            problems.append(f"experts: some tables have a column {_HELD_OUT}, not all")
        if not problems:
            problems = [
                *self._axis_problems(),
                *self._null_problems(),
                *self._sentence_problems(),
            ]
        if not 0 < self.gamma <= 1:
            problems.append(f"gamma is {self.gamma}, expected a number in (0, 1]")
        if problems:
            raise ValueError(join_problems("these results make no report:", problems))

    @functools.cached_property
    def names(self) -> list[str]:
        """[C] what people call the concepts; see `concepts.names`."""
        return short_names(list(self.concepts["concept"]))

    @property
    def floor_C(self) -> np.ndarray:
        """[C] the AP that an expert has to reach at any gamma."""
        return self.concepts["null_threshold"].to_numpy(float)

    @property
    def has_held_out(self) -> bool:
        """Whether APs on sentences held out from the selection are there."""
        return any(_HELD_OUT in table for table in self.experts.values())

    @property
    def held_out(self) -> pd.Series:
        """concept -> AP of its best unit on held-out sentences; NaN where not known."""
        of = {
            key: table[_HELD_OUT].iloc[0] if _HELD_OUT in table else np.nan
            for key, table in self.experts.items()
        }
        return pd.Series(of, dtype=float).reindex(self.concepts["concept"])

    def null_of(self, n_pos: int, n_neg: int) -> pd.DataFrame:
        """The rows of `null` for so many positives and negatives."""
        at = (self.null["n_pos"] == n_pos) & (self.null["n_neg"] == n_neg)
        return self.null[at]

    def _axis_problems(self) -> list[str]:
        expected = (len(self.concepts), len(self.units))
        if self.ap_CxU.shape != expected:
            shape = self.ap_CxU.shape
            return [f"ap_CxU has shape {shape}, expected {expected}: concepts, units"]
        if 0 in expected:
            return [f"ap_CxU has shape {expected}: nothing to report"]
        return [*self._value_problems(), *self._above_problems()]

    def _value_problems(self) -> Iterator[str]:
        """AP outside [0, 1], or tables and array in a different order."""
        best = self.concepts["max_ap"].to_numpy(float)
        for row, ap_U in enumerate(self.ap_CxU):
            low, high = float(ap_U.min()), float(ap_U.max())  # NaN if any is
            if not (low >= 0 and high <= 1 + _ROUNDING):
                yield f"ap_CxU[{row}] spans {low} to {high}, expected AP in [0, 1]"
            elif not abs(high - best[row]) <= _ROUNDING:
                yield f"concepts row {row}: max_ap {best[row]}, but ap_CxU has {high}"

    def _above_problems(self) -> Iterator[str]:
        """Thresholds that are none, or counts that are not of them."""
        table = self.concepts[["null_threshold", "n_above"]]
        rows = zip(self.ap_CxU, table.itertuples(index=False), strict=True)
        for row, (ap_U, (threshold, n_above)) in enumerate(rows):
            if np.isnan(threshold):
                yield f"concepts row {row}: null_threshold is {threshold}"
                continue
            least = np.count_nonzero(ap_U >= threshold + _ROUNDING)
            most = np.count_nonzero(ap_U >= threshold - _ROUNDING)
            if not least <= n_above <= most:
                yield (
                    f"concepts row {row}: n_above {n_above}, but {most} of ap_CxU "
                    f"reach {threshold}"
                )

    def _null_problems(self) -> Iterator[str]:
        """Concepts without a null law, or laws that are none."""
        sizes = list(zip(self.concepts["n_pos"], self.concepts["n_neg"], strict=True))
        for n_pos, n_neg in sorted(set(sizes)):
            law = self.null_of(n_pos, n_neg)
            of = f"n_pos {n_pos} and n_neg {n_neg}"
            if law.empty:
                yield f"null has no rows for {of}"
            elif not (
                law["tail"].is_monotonic_decreasing
                and law["ap"].is_monotonic_increasing
            ):
                yield f"null for {of}: expected ap to ascend as tail descends"

    def _sentence_problems(self) -> Iterator[str]:
        known = set(self.sentences.texts.index)
        kinds = (self.sentences.excited, self.sentences.own, self.sentences.missed)
        for of, table in (item for kind in kinds for item in kind.items()):
            absent = set(table["sentence"]) - known
            if absent:
                yield f"sentences of {of!r}: no text of sentence {min(absent)}"


def _missing(name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> list[str]:
    absent = [column for column in columns if column not in table.columns]
    return [f"{name} has no column {', '.join(absent)}"] if absent else []
