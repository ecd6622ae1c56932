"""Reading a finished result: experts of a concept, as tables."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from expertjax.analysis.counts import experts_per_concept, is_expert
from expertjax.errors import InputError
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder


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
        return cls(ResultFolder(Path(path)))

    @functools.cached_property
    def units(self) -> pd.DataFrame:
        """[U] rows: unit, site, layer, index, module."""
        return self.folder.read_table("units")

    @functools.cached_property
    def concepts(self) -> pd.DataFrame:
        """[C] rows: concept, group, n_pos, n_neg, chance, max_ap, null_max_ap."""
        return self.folder.read_table("concepts")

    @functools.cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.concepts["concept"])}

    def row(self, concept: str) -> int:
        """The number of a concept given as `group/name`.

        Raises:
          InputError: there is no such concept.
        """
        if concept not in self._row_of:
            some = ", ".join(list(self._row_of)[:5])
            raise InputError(
                f"no concept {concept!r} in {self.folder.path}; e.g. {some}"
            )
        return self._row_of[concept]

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
        metrics: Sequence[str] = ("ap", "on_p50", "on_p90", "off_mean"),
    ) -> pd.DataFrame:
        """The k units of highest AP for a concept, best first.

        Ties are broken by unit number, so that the choice is reproducible.

        Returns:
          unit, site, layer, index, module and the metrics.
        """
        ap = self.metric("ap", concept)
        best = np.argsort(-ap, kind="stable")[:k]
        table = self.units.iloc[best].reset_index(drop=True)
        return table.assign(**{m: self.metric(m, concept)[best] for m in metrics})

    def experts(self, concept: str, gamma: float) -> pd.DataFrame:
        """The experts at gamma: all units of AP >= gamma, best first."""
        return self.top(
            concept, int(is_expert(self.metric("ap", concept), gamma).sum())
        )

    def summary(self, gamma: float) -> pd.DataFrame:
        """One row per concept: its best unit, and what chance would give.

        Returns:
          concept, best AP, the best AP under permuted labels, the number of
          experts at gamma, and the best unit's module and index; best first.
        """
        ap_CxU = self.metric("ap")
        best = self.units.iloc[ap_CxU.argmax(1)]
        table = pd.DataFrame(
            {
                "concept": self.concepts["concept"],
                "chance": self.concepts["chance"].round(3),
                "best AP": self.concepts["max_ap"].round(3),
                "permuted": self.concepts["null_max_ap"].round(3),
                f"AP >= {gamma:g}": experts_per_concept(ap_CxU, gamma),
                "best unit": (
                    best["module"] + "[" + best["index"].astype(str) + "]"
                ).array,
            }
        )
        return table.sort_values("best AP", ascending=False, ignore_index=True)

    def most_exciting(
        self, units: Sequence[int], k: int = 5
    ) -> dict[int, pd.DataFrame]:
        """The k sentences of highest response of some units, over the whole pool.

        Returns:
          unit -> table of sentence, text, response.
        """
        run = self.folder.read_run()
        source = ResultFolder(self.folder.path / run["score"]["responses_folder"])
        array = source.open_responses()
        columns = np.array(sorted(set(units)), dtype=np.int64)
        x_NxK = arrays.read(array, slice(0, array.shape[0]), columns)
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


def find_results(paths: Sequence[str]) -> list[Expertise]:
    """The results under some folders: each `OUT/<model_name>`, or all of `OUT`.

    Raises:
      InputError: a folder holds no result.
    """
    found = []
    for path in map(Path, paths):
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
