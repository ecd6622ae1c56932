"""Scoring by groups of concepts whose responses are in memory and not kept."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.concepts.pool import Membership
from expertjax.errors import InputError
from expertjax.runtime import processes, stopping
from expertjax.scoring.blocks import fitting_block_bytes
from expertjax.scoring.run import Bounds, Scoring, unit_blocks
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder

# Units start to stop -> their float32 responses, [at least n, stop - start].
Columns = Callable[[int, int], np.ndarray | jax.Array]


def score_in_memory(
    folder: ResultFolder,
    keys: Sequence[str],
    members: Sequence[Membership],
    num_units: int,
    settings: ScoreSettings,
    memory_bytes: int,
    capture: Callable[[np.ndarray, np.ndarray, int, tuple[int, int]], Columns],
    mesh: Mesh | None = None,
    item_size: int = 4,
) -> None:
    """Scores concepts by groups whose responses are made when needed and not kept.

    Can be interrupted at any moment and called again: finished groups are kept. Where
    there are several processes, they share the groups.

    Args:
      folder: whose capture is claimed.
      keys: [C] concepts.
      members: [C] labelled rows of the pool.
      num_units: U.
      settings: see `ScoreSettings`.
      memory_bytes: the most that a group's responses take.
      capture: rows of the pool, ascending; which of them no earlier group has; how
        many there is to be room for, as many in all groups; the group's number and
        that of all groups -> their responses.
      mesh: for the JAX kernel; defaults to all devices of this process.
      item_size: bytes of a response in memory.

    Raises:
      InputError: the sentences of one concept alone take more than `memory_bytes`, a
        concept has too few sentences to hold some out, or the folder holds another
        run.
    """
    capture_settings = folder.read_run()["capture"]
    fitting = fitting_block_bytes(settings.kernel)
    settings = settings.resolve(capture_settings, fitting)
    size, num_rows = _group_size(keys, members, num_units * item_size, memory_bytes)
    bounds = unit_blocks(
        (num_rows, num_units),
        arrays.CHUNK_COLUMNS,
        settings.block_bytes,
        size * len(settings.metric_names),
    )
    scoring = Scoring(folder, keys, members, settings, bounds, mesh)
    scoring.begin(folder, {"keep_responses": False, "concepts_at_a_time": size})
    if not folder.expertise_ledger.is_closed:
        groups = range(-(-len(keys) // size))
        todo: dict[int, list[tuple[int, Bounds]]] = {}
        for mark, of_block in scoring.resume(
            [
                (group * len(bounds) + i, b)
                for group in processes.share(groups)
                for i, b in enumerate(bounds)
            ]
        ):
            todo.setdefault(mark // len(bounds), []).append((mark, of_block))
        targets = scoring.create(size)
        first_concept = _first_concepts(members)
        for item in processes.rounds(todo.items(), len(todo)):
            if item is not None:
                group, blocks = item
                concepts = slice(group * size, min((group + 1) * size, len(keys)))
                rows = _rows_of(members[concepts])
                part = scoring.part(concepts, rows)
                scoring.compile_for(part, num_rows)
                is_new = first_concept[rows] >= concepts.start
                columns = capture(rows, is_new, num_rows, (group, len(groups)))
                desc = f"score {folder.name}"
                if len(groups) > 1:
                    desc += f" ({group + 1} of {len(groups)})"
                bar = tqdm(total=num_units, unit="unit", desc=desc)
                with bar, scoring.adding(targets) as add:
                    bar.update(
                        num_units - sum(stop - start for _, (start, stop) in blocks)
                    )
                    for mark, (start, stop) in blocks:
                        block = columns(start, stop)
                        add(part, mark, start, stop, block)
                        bar.update(stop - start)
                        stopping.check_alone()
                del columns, block  # before the next group's are made
            stopping.check()
        scoring.close(targets, len(groups) * len(bounds))
    scoring.clean()


def _rows_of(members: Sequence[Membership]) -> np.ndarray:
    """The rows that some concepts need, ascending."""
    return np.unique(np.concatenate([member.sentence for member in members]))


def _first_concepts(members: Sequence[Membership]) -> np.ndarray:
    """The first concept that needs each row, by row."""
    rows = np.concatenate([member.sentence for member in members])
    concepts = np.repeat(np.arange(len(members)), [len(m.sentence) for m in members])
    first = np.full(rows.max() + 1, len(members))
    np.minimum.at(first, rows, concepts)
    return first


def _group_size(
    keys: Sequence[str],
    members: Sequence[Membership],
    row_bytes: int,
    memory_bytes: int,
) -> tuple[int, int]:
    """The most concepts at a time that fit into memory, and the most rows of a group.

    All groups are of one size, so that each is a row of shards.
    """
    fitting = memory_bytes // row_bytes
    # Halving finds a size that is at least half of the largest.
    size = len(members)
    while True:
        starts = range(0, len(members), size)
        rows = [len(_rows_of(members[start : start + size])) for start in starts]
        if max(rows) <= fitting:
            return size, max(rows)
        if size == 1:
            key, needed = keys[int(np.argmax(rows))], max(rows) * row_bytes
            raise InputError(
                f"--memory_bytes={memory_bytes}: the responses to the sentences of "
                f"{key} alone take {needed} bytes"
            )
        size = -(-size // 2)
