"""What a report is made from: plain tables and arrays, checked once."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd

from expertjax.errors import join_problems

_UNIT_COLUMNS = ("unit", "site", "layer", "index", "module")
_CONCEPT_COLUMNS = (
    "concept", "group", "n_pos", "n_neg", "chance", "max_ap", "null_max_ap",
)  # fmt: skip
_EXPERT_COLUMNS = (*_UNIT_COLUMNS, "ap", "on_p50", "on_p90", "off_mean")
_ROUNDING = 1e-5  # AP is float32 in the store, perhaps float64 in tables


@dataclasses.dataclass(frozen=True)
class ExcitedSentence:
    """A sentence to which some unit responds strongly."""

    text: str
    response: float
    label: int  # 1 positive, 0 negative, -1 not in the concept


@dataclasses.dataclass(frozen=True)
class ReportData:
    """One model's results; rows of `units` and `concepts` are the axes of `ap_CxU`.

    Raises:
      ValueError: columns are missing, lengths or best APs disagree, or an AP is not
        in [0, 1].
    """

    model_name: str
    # Shown as they are, in this order: family, layers, units, pooling, ...
    facts: dict[str, str]
    # A unit is an expert for a concept where its AP is at least gamma.
    gamma: float
    # [U] rows: unit, site, layer, index, module.
    units: pd.DataFrame
    # [C] rows: concept ("group/name"), group, n_pos, n_neg, chance, max_ap, and
    # null_max_ap, the best AP over all units under permuted labels (NaN: unknown).
    concepts: pd.DataFrame
    # [C, U] float32.
    ap_CxU: np.ndarray
    # concept -> its top units, best first: the columns of `units`, then ap, on_p50,
    # on_p90, off_mean.
    experts: dict[str, pd.DataFrame]
    # concept -> unit -> the sentences of the whole pool that excite it most.
    excited: dict[str, dict[int, list[ExcitedSentence]]]

    def __post_init__(self) -> None:
        problems = [
            *_missing("units", self.units, _UNIT_COLUMNS),
            *_missing("concepts", self.concepts, _CONCEPT_COLUMNS),
        ]
        for concept, table in self.experts.items():
            problems += _missing(f"experts[{concept!r}]", table, _EXPERT_COLUMNS)
        problems += self._axis_problems()
        if not 0 < self.gamma <= 1:
            problems.append(f"gamma is {self.gamma}, expected a number in (0, 1]")
        if problems:
            raise ValueError(join_problems("these results make no report:", problems))

    def _axis_problems(self) -> list[str]:
        expected = (len(self.concepts), len(self.units))
        if self.ap_CxU.shape != expected:
            shape = self.ap_CxU.shape
            return [f"ap_CxU has shape {shape}, expected {expected}: concepts, units"]
        if 0 in expected:
            return [f"ap_CxU has shape {expected}: nothing to report"]
        if "max_ap" not in self.concepts:
            return []
        return [*self._value_problems()]

    def _value_problems(self) -> Iterator[str]:
        """AP outside [0, 1], or tables and array in a different order."""
        best = self.concepts["max_ap"].to_numpy(float)
        for row, ap_U in enumerate(self.ap_CxU):
            low, high = float(ap_U.min()), float(ap_U.max())  # NaN if any is
            if not (low >= 0 and high <= 1 + _ROUNDING):
                yield f"ap_CxU[{row}] spans {low} to {high}, expected AP in [0, 1]"
            elif not abs(high - best[row]) <= _ROUNDING:
                yield f"concepts row {row}: max_ap {best[row]}, but ap_CxU has {high}"


def _missing(name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> list[str]:
    absent = [column for column in columns if column not in table.columns]
    return [f"{name} has no column {', '.join(absent)}"] if absent else []
