"""Scores of one concept after the other, into a result folder."""

from collections.abc import Sequence

import numpy as np
import tensorstore as ts

from expertjax.concepts.pool import Membership
from expertjax.models.sites import UnitTable
from expertjax.scoring.experts import OF_BEST, BestUnits
from expertjax.scoring.run import write_concepts
from expertjax.scoring.surface import Surface
from expertjax.stores import arrays, paths
from expertjax.stores.folder import ResultFolder
from expertjax.stores.selfcond_files import ConceptScores

BEST_UNITS = 10  # in experts.parquet
_SHARD_BYTES = 16 * 2**20  # of one metric, which is what waits in memory


class ImportedScores:
    """`expertise.zarr` and the tables that go with it; shards of some concepts."""

    def __init__(
        self,
        folder: ResultFolder,
        keys: Sequence[str],
        table: UnitTable,
        metrics: Sequence[str],
    ) -> None:
        """Makes the arrays.

        Args:
          folder: where to.
          keys: [C] concepts, all of which are added in this order.
          table: the units.
          metrics: of each of them, ap among them.
        """
        self._folder, self._keys = folder, keys
        num_units = table.num_units
        self._rows = max(1, min(len(keys), _SHARD_BYTES // (4 * num_units)))
        starts = np.cumsum([0, *(site.features for _, site in table.segments)])
        self._start = {
            site.module_name(layer): int(start)
            for (layer, site), start in zip(table.segments, starts[:-1], strict=True)
        }
        self._best = BestUnits(folder.experts_path, BEST_UNITS, len(keys))
        self._waiting = {
            name: np.empty((self._rows, num_units), np.float32) for name in metrics
        }
        self._added = 0
        self._targets = self._create((len(keys), num_units), metrics)

    def _create(
        self, shape: tuple[int, int], metrics: Sequence[str]
    ) -> dict[str, ts.TensorStore]:
        path = self._folder.expertise_path
        shard = (self._rows, shape[1])
        layout = arrays.Layout(shape, "float32", shard, ("concept", "unit"))
        arrays.create_group(path)
        return {name: arrays.create_array(path / name, layout) for name in metrics}

    def add(self, scores: ConceptScores) -> None:
        """Takes the next concept."""
        starts = np.array([self._start[module] for module in scores.layout])
        unit_R = starts[scores.module_R] + scores.index_R
        for name, values in scores.scores.items():
            self._waiting[name][self._added % self._rows, unit_R] = values
        self._added += 1
        if self._added % self._rows == 0 or self._added == len(self._keys):
            self._write()

    def _write(self) -> None:
        """Writes the concepts that wait."""
        block = (self._added - 1) // self._rows
        rows = slice(block * self._rows, self._added)
        count = rows.stop - rows.start
        values = {name: array[:count] for name, array in self._waiting.items()}
        ap_CxU = values["ap"]
        arrays.write_part(self._targets, values, rows, slice(0, ap_CxU.shape[1]))
        no_responses = np.empty((0, ap_CxU.shape[1]), np.float32)
        no_sentences = [Membership.none()] * count
        of_block = block, rows.start, 0, no_responses, ap_CxU, no_sentences
        self._best.add(*of_block, _nothing)
        self._folder.expertise_ledger.mark(block, rows.start, rows.stop)

    def close(
        self, shapes: Sequence[tuple[int, int]], surface: Surface | None = None
    ) -> None:
        """Writes the tables of concepts and of the best units.

        Args:
          shapes: [C] (n_pos, n_neg).
          surface: of the concepts, measured, where their sentences are known.
        """
        assert self._added == len(self._keys)
        num_blocks = -(-self._added // self._rows)
        experts = self._best.table(num_blocks, self._keys)
        self._folder.write_table("experts", experts)
        columns = surface and surface.columns(experts)
        write_concepts(self._folder, self._keys, shapes, self._targets["ap"], columns)
        self._folder.expertise_ledger.close(num_blocks)
        paths.remove_folder(self._folder.experts_path)


def _nothing(concept: int, x_NxK: np.ndarray) -> np.ndarray:
    """It would take responses."""
    del concept
    return np.full((x_NxK.shape[1], len(OF_BEST)), np.nan, np.float32)
