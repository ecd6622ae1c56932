"""The best units of each concept, kept while blocks of units go by."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from expertjax.stores.paths import make_folder, readable, write_atomically
from expertjax.typing import Array

# Concept, [N, K] responses -> [K, 3] the columns of `OF_BEST`.
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
        of_best: OfBest,
    ) -> None:
        """Adds a block of units, and writes what may be among the best of it.

        Args:
          block: its number.
          first: number of its first concept.
          start: number of its first unit.
          x_NxU: float32 responses, on the host or on devices.
          ap_CxU: their AP.
          of_best: see `OfBest`; counts the block's concepts from 0, and has to be safe
            in threads.
        """
        if not self._k:
            return

        def of_concept(c: int) -> tuple[np.ndarray, np.ndarray]:
            best = np.argsort(-ap_CxU[c], kind="stable")[: self._k]
            best = best[ap_CxU[c, best] >= self._best[first + c, -1]]
            return best, of_best(c, _columns(x_NxU, best, self._k))

        with ThreadPoolExecutor() as pool:
            found = list(pool.map(of_concept, range(len(ap_CxU))))
        columns: list[list[np.ndarray]] = [[] for _ in _COLUMNS]
        for c, (units, ends) in enumerate(found):
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


def _columns(x_NxU: np.ndarray | jax.Array, units: np.ndarray, most: int) -> np.ndarray:
    """[N, K] responses of K units, at most so many; only these leave the devices."""
    if isinstance(x_NxU, np.ndarray):
        return x_NxU[:, units]
    # Always as many are asked for, so that one program does.
    filled = np.zeros(min(most, x_NxU.shape[1]), np.int32)
    filled[: len(units)] = units
    return np.asarray(_take(x_NxU, filled))[:, : len(units)]


@jax.jit
def _take(x_NxU: Array, units_K: Array) -> Array:
    return x_NxU[:, units_K]
