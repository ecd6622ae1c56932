"""The best units of each concept, kept while blocks of units go by."""

import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from expertjax.concepts.pool import Membership
from expertjax.runtime import mesh as meshes
from expertjax.scoring.blocks import batches_by_length
from expertjax.stores.paths import make_folder, readable, write_atomically
from expertjax.typing import Array

# Concept, [n, K] responses to its labelled sentences -> [K, 3] columns of `OF_BEST`.
OfBest = Callable[[int, np.ndarray], np.ndarray]

OF_BEST = ("ap_low", "ap_high", "ap_without")
_COLUMNS = ("concept", "unit", "ap", *OF_BEST)


class BestUnits:
    """The k best units of each concept so far, with what only they get.

    That is an interval of their AP, and their AP without the form that tells the
    concept best (see `without`). The responses behind these are in memory only while
    their block is scored. A unit gets them there if it may be among the best; what a
    block adds is kept in a file of its own, so that an interrupted run loses none.
    """

    def __init__(self, folder: Path, k: int, num_concepts: int) -> None:
        """Opens the folder, which is made when the first block is added.

        Args:
          folder: for the blocks' files.
          k: units per concept.
          num_concepts: C.
        """
        self._folder = folder
        self._k = k
        # The AP of the k-th best unit so far; less cannot be among the best.
        self._best = np.full((num_concepts, k), -np.inf, np.float32)

    def resume(self, blocks: Sequence[int]) -> None:
        """Takes note of blocks that were added before."""
        for block in blocks if self._k else ():
            for c, rows in self._read(block).groupby("concept"):
                self._note(int(c), rows["ap"].to_numpy())

    def add(
        self,
        block: int,
        first: int,
        start: int,
        x_NxU: np.ndarray | jax.Array,
        ap_CxU: np.ndarray,
        members: Sequence[Membership],
        of_best: OfBest,
    ) -> None:
        """Adds a block of units, and writes what may be among the best of it.

        Args:
          block: its number.
          first: number of its first concept.
          start: number of its first unit.
          x_NxU: float32 responses, on the host or on devices.
          ap_CxU: their AP.
          members: [C] labelled rows of the responses.
          of_best: see `OfBest`; counts the block's concepts from 0, and has to be safe
            in threads.
        """
        if not self._k:
            return

        def best_of(c: int) -> np.ndarray:
            best = np.argsort(-ap_CxU[c], kind="stable")[: self._k]
            return best[ap_CxU[c, best] >= self._best[first + c, -1]]

        with ThreadPoolExecutor() as pool:
            best = list(pool.map(best_of, range(len(ap_CxU))))
            responses = _responses(x_NxU, members, best, self._k)
            found = list(pool.map(of_best, range(len(ap_CxU)), responses))
        columns: list[list[np.ndarray]] = [[] for _ in _COLUMNS]
        for c, (units, ends) in enumerate(zip(best, found, strict=True)):
            self._note(first + c, ap_CxU[c, units])
            concept = np.full(len(units), first + c)
            parts = (concept, start + units, ap_CxU[c, units], *ends.T)
            for column, part in zip(columns, parts, strict=True):
                column.append(part)
        table = pd.DataFrame(
            dict(zip(_COLUMNS, map(np.concatenate, columns), strict=True))
        )
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        make_folder(self._folder)
        write_atomically(self._path(block), buffer.getvalue())

    def table(self, num_blocks: int, keys: Sequence[str]) -> pd.DataFrame:
        """The k best units of each concept over all blocks.

        Args:
          num_blocks: all of which have been added, by this process or another.
          keys: [C] concepts.

        Returns:
          concept, rank (from 1), unit, ap, ap_low, ap_high, ap_without; best first,
          ties by unit.
        """
        blocks = range(num_blocks) if self._k else ()
        empty = pd.DataFrame({name: pd.Series(dtype="f4") for name in _COLUMNS})
        table = pd.concat([empty, *map(self._read, blocks)], ignore_index=True)
        table = table.astype({"concept": "i4", "unit": "i4"})
        table = table.sort_values(
            ["concept", "ap", "unit"], ascending=[True, False, True]
        )
        table = table.groupby("concept", sort=False).head(self._k)
        rank = table.groupby("concept", sort=False).cumcount() + 1
        table.insert(1, "rank", rank.astype("i4"))
        table["concept"] = [keys[c] for c in table["concept"]]
        return table.reset_index(drop=True)

    def _note(self, c: int, ap: np.ndarray) -> None:
        self._best[c] = -np.sort(-np.concatenate([self._best[c], ap]))[: self._k]

    def _path(self, block: int) -> Path:
        return self._folder / f"{block:06d}.parquet"

    def _read(self, block: int) -> pd.DataFrame:
        return pd.read_parquet(readable(self._path(block)))


def _responses(
    x_NxU: np.ndarray | jax.Array,
    members: Sequence[Membership],
    units: Sequence[np.ndarray],
    most: int,
) -> Iterable[np.ndarray]:
    """[C] arrays [n, K]: each concept's labelled responses, of its K units.

    Of responses on devices, only these cross to the host.

    Args:
      x_NxU: responses.
      members: [C] labelled rows.
      units: [C] numbers of units.
      most: of them; always as many are taken, so that few programs do.
    """
    if isinstance(x_NxU, np.ndarray):
        return (
            x_NxU[member.sentence[:, None], units_K]
            for member, units_K in zip(members, units, strict=True)
        )
    most = min(most, x_NxU.shape[1])
    taken = []
    for concepts, rows_cxn, _ in batches_by_length(members):
        units_cxK = np.zeros((len(rows_cxn), most), np.int32)
        for i, c in enumerate(concepts):
            units_cxK[i, : len(units[c])] = units[c]
        x_cxnxK = _take(x_NxU, rows_cxn, units_cxK)
        taken.append((concepts, meshes.start_to_host(x_cxnxK)))
    found = {
        int(c): x_nxK[: len(members[c].label), : len(units[c])]
        for concepts, x_cxnxK in taken
        for c, x_nxK in zip(concepts, meshes.local(x_cxnxK), strict=False)
    }
    return (found[c] for c in range(len(members)))


@jax.jit
def _take(x_NxU: Array, rows_cxn: Array, units_cxK: Array) -> Array:
    return x_NxU[rows_cxn[:, :, None], units_cxK[:, None, :]]
