"""The pass over a store: blocks of units in, blocks of expertise out."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorstore as ts
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.concepts.pool import ConceptSet, Membership
from expertjax.errors import InputError
from expertjax.runtime import processes, stopping
from expertjax.scoring import labels, null
from expertjax.scoring.blocks import Scorer, make_scorer
from expertjax.scoring.experts import BestUnits, IntervalFn
from expertjax.scoring.intervals import Intervals
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores import arrays, paths
from expertjax.stores.folder import ResultFolder

HELD_OUT = "ap_heldout"


def score(
    responses: ResultFolder,
    concepts: ConceptSet | None = None,
    out: Path | str | None = None,
    settings: ScoreSettings | None = None,
    mesh: Mesh | None = None,
) -> ResultFolder:
    """Scores every unit of a store against every concept.

    Can be interrupted at any moment and called again. Where there are several
    processes, all call it and share the blocks of units.

    Args:
      responses: a folder whose capture is complete.
      concepts: other concepts over the same sentences; by default those of the
        capture.
      out: folder for the results, by default the same one.
      settings: see `ScoreSettings`.
      mesh: for the JAX kernel; defaults to all devices of this process.

    Returns:
      the folder with `expertise.zarr`, `concepts.parquet`, `null.parquet` and
      `experts.parquet`.

    Raises:
      InputError: the capture is incomplete, a chunk is missing or damaged, a
        concept has a sentence that was not captured or too few to hold some out,
        or `out` holds another run.
    """
    settings = settings or ScoreSettings()
    array = responses.open_responses()
    folder = ResultFolder(out) if out else responses
    keys, members = labels.memberships_over(responses, concepts)
    bounds = unit_blocks(array.shape, arrays.chunk_columns(array), settings.block_bytes)
    scoring = _Scoring(folder, keys, members, settings, bounds, mesh)
    scoring.begin(responses, {})
    if not folder.expertise_ledger.is_closed:
        every = scoring.part(slice(0, len(keys)), np.arange(array.shape[0]))
        mine = processes.share(list(enumerate(bounds)))
        todo = scoring.resume(mine)
        targets = scoring.create(len(keys))
        with scoring.progress(mine, todo) as bar:
            blocks = _read_ahead(array, todo)
            for item in processes.rounds(blocks, len(todo)):
                if item is not None:
                    scoring.add(targets, every, *item)
                    bar.update(item[2] - item[1])
                stopping.check()
        scoring.close(targets, len(bounds))
    scoring.clean()
    return folder


def score_in_memory(
    folder: ResultFolder,
    keys: Sequence[str],
    members: Sequence[Membership],
    num_units: int,
    settings: ScoreSettings,
    memory_bytes: int,
    capture: Callable[[np.ndarray], np.ndarray],
    mesh: Mesh | None = None,
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
      memory_bytes: the most that a group's responses take as float32.
      capture: rows of the pool, ascending -> their [n, U] responses.
      mesh: for the JAX kernel; defaults to all devices of this process.

    Raises:
      InputError: the sentences of one concept alone take more than `memory_bytes`, a
        concept has too few sentences to hold some out, or the folder holds another
        run.
    """
    size, num_rows = _group_size(keys, members, num_units, memory_bytes)
    bounds = unit_blocks(
        (num_rows, num_units), arrays.CHUNK_COLUMNS, settings.block_bytes
    )
    scoring = _Scoring(folder, keys, members, settings, bounds, mesh)
    scoring.begin(folder, {"keep_responses": False, "concepts_at_a_time": size})
    if not folder.expertise_ledger.is_closed:
        groups = range(-(-len(keys) // size))
        marks = [
            (group * len(bounds) + i, b)
            for group in processes.share(groups)
            for i, b in enumerate(bounds)
        ]
        todo = dict(scoring.resume(marks))
        mine = [
            group
            for group in processes.share(groups)
            if any(group * len(bounds) + i in todo for i in range(len(bounds)))
        ]
        targets = scoring.create(size)
        for group in processes.rounds(mine, len(mine)):
            if group is not None:
                concepts = slice(group * size, min((group + 1) * size, len(keys)))
                rows = _rows_of(members[concepts])
                part = scoring.part(concepts, rows)
                x_NxU = capture(rows)
                for i, (start, stop) in enumerate(bounds):
                    mark = group * len(bounds) + i
                    if mark in todo:
                        block = x_NxU[:, start:stop].astype(np.float32)
                        scoring.add(targets, part, mark, start, stop, block)
                        stopping.check_alone()
                del x_NxU  # before the next group's are made
            stopping.check()
        scoring.close(targets, len(groups) * len(bounds))
    scoring.clean()


def _rows_of(members: Sequence[Membership]) -> np.ndarray:
    """The rows that some concepts need, ascending."""
    return np.unique(np.concatenate([member.sentence for member in members]))


def _group_size(
    keys: Sequence[str],
    members: Sequence[Membership],
    num_units: int,
    memory_bytes: int,
) -> tuple[int, int]:
    """The most concepts at a time that fit into memory, and the most rows of a group.

    All groups are of one size, so that each is a row of shards.
    """
    fitting = memory_bytes // (4 * num_units)
    # Halving finds a size that is at least half of the largest.
    size = len(members)
    while True:
        starts = range(0, len(members), size)
        rows = [len(_rows_of(members[start : start + size])) for start in starts]
        if max(rows) <= fitting:
            return size, max(rows)
        if size == 1:
            key, needed = keys[int(np.argmax(rows))], max(rows) * 4 * num_units
            raise InputError(
                f"--memory_bytes={memory_bytes}: the responses to the sentences of "
                f"{key} alone take {needed} bytes"
            )
        size = -(-size // 2)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Some concepts, and how their blocks are scored.

    Attributes:
      concepts: their run.
      scorers: "" for all metrics, and `HELD_OUT`.
      interval: of the best units.
    """

    concepts: slice
    scorers: dict[str, Scorer]
    interval: IntervalFn


class _Scoring:
    """What the ways of scoring share: the folder, its arrays, its tables."""

    def __init__(
        self,
        folder: ResultFolder,
        keys: Sequence[str],
        members: Sequence[Membership],
        settings: ScoreSettings,
        bounds: Sequence[tuple[int, int]],
        mesh: Mesh | None,
    ) -> None:
        self._folder, self._keys, self._members = folder, keys, members
        self._settings, self._bounds, self._mesh = settings, bounds, mesh
        self._held_out = _held_out(keys, members, settings)
        self._fitted = _parts(members, self._held_out, False)
        self._best = BestUnits(folder.experts_path, settings.bootstrap_top, len(keys))

    def begin(self, responses: ResultFolder, more: dict[str, Any]) -> None:
        """Claims the folder; all processes wait until that is done."""
        if processes.is_first():
            _prepare(
                responses,
                self._folder,
                self._keys,
                self._members,
                self._held_out,
                self._settings,
                more,
            )
        processes.barrier("score: prepared")

    def part(self, concepts: slice, rows: np.ndarray) -> _Part:
        """Some concepts over responses to some rows of the pool, ascending."""
        settings = self._settings

        def over_rows(members: Sequence[Membership]) -> list[Membership]:
            return [
                Membership(
                    np.searchsorted(rows, member.sentence).astype(np.int32),
                    member.label,
                )
                for member in members[concepts]
            ]

        fitted = over_rows(self._fitted)
        names, kernel = settings.metric_names, settings.kernel
        scorers = {"": make_scorer(fitted, names, kernel, self._mesh)}
        if settings.holdout:
            rest = over_rows(_parts(self._members, self._held_out, True))
            scorers[HELD_OUT] = make_scorer(rest, ["ap"], kernel, self._mesh)
        interval = Intervals(fitted, settings.bootstrap_resamples)
        return _Part(concepts, scorers, interval)

    def resume(
        self, blocks: Sequence[tuple[int, tuple[int, int]]]
    ) -> list[tuple[int, tuple[int, int]]]:
        """The (mark, bounds) of those that are still to be scored."""
        done = self._folder.expertise_ledger.finished()
        self._best.resume([mark for mark, _ in blocks if mark in done])
        return [block for block in blocks if block[0] not in done]

    def create(self, concepts_per_shard: int) -> dict[str, ts.TensorStore]:
        """An array [C, U] for each metric, a shard for each block."""
        settings = self._settings
        names = [*settings.metric_names, *([HELD_OUT] if settings.holdout else [])]
        layout = arrays.Layout(
            (len(self._keys), self._bounds[-1][1]),
            "float32",
            (concepts_per_shard, self._bounds[0][1]),
            ("concept", "unit"),
        )
        arrays.create_group(self._folder.expertise_path)
        return {
            name: arrays.create_array(self._folder.expertise_path / name, layout)
            for name in names
        }

    def progress(self, mine: Sequence, todo: Sequence) -> tqdm:
        """The bar, over all units."""
        total = self._bounds[-1][1]
        bar = tqdm(total=total, unit="unit", desc=f"score {self._folder.name}")
        others = total - sum(stop - start for _, (start, stop) in mine)
        finished = sum(stop - start for _, (start, stop) in mine) - sum(
            stop - start for _, (start, stop) in todo
        )
        bar.update(others + finished)
        return bar

    def add(
        self,
        targets: dict[str, ts.TensorStore],
        part: _Part,
        mark: int,
        start: int,
        stop: int,
        x_NxU: np.ndarray,
    ) -> None:
        """Scores units start to stop for the concepts of a part, and writes that."""
        scores = part.scorers[""](x_NxU)
        if HELD_OUT in part.scorers:
            scores[HELD_OUT] = part.scorers[HELD_OUT](x_NxU)["ap"]
        self._best.add(
            mark, part.concepts.start, start, x_NxU, scores["ap"], part.interval
        )
        arrays.write_part(targets, scores, part.concepts, slice(start, stop))
        self._folder.expertise_ledger.mark(mark, start, stop)

    def close(self, targets: dict[str, ts.TensorStore], num_marks: int) -> None:
        """Writes what is known once all processes are through."""
        processes.barrier("score: blocks")
        if processes.is_first():
            experts = self._best.table(num_marks, self._keys)
            self._folder.write_table("experts", experts)
            _write_concepts(self._folder, self._keys, self._fitted, targets["ap"])
            self._folder.expertise_ledger.close(num_marks)

    def clean(self) -> None:
        """Removes what is in `experts.parquet` now."""
        if processes.is_first():
            paths.remove_folder(self._folder.experts_path)
        processes.barrier("score: finished")


def _held_out(
    keys: Sequence[str], members: Sequence[Membership], settings: ScoreSettings
) -> list[np.ndarray]:
    """[C] arrays [n] of bool: the sentences that take no part in the scores."""
    if settings.holdout:
        return labels.hold_out(keys, members, settings.holdout, settings.holdout_seed)
    return [np.zeros(len(member.label), bool) for member in members]


def _parts(
    members: Sequence[Membership], held_out: Sequence[np.ndarray], which: bool
) -> list[Membership]:
    return [
        Membership(member.sentence[rows == which], member.label[rows == which])
        for member, rows in zip(members, held_out, strict=True)
    ]


def _prepare(
    responses: ResultFolder,
    folder: ResultFolder,
    keys: Sequence[str],
    members: Sequence[Membership],
    held_out: Sequence[np.ndarray],
    settings: ScoreSettings,
    more: dict[str, Any],
) -> None:
    """Claims the folder and writes the tables that say what is scored."""
    capture = responses.read_run()["capture"]
    identity = {
        "responses": capture["weights_sha256"] + ":" + capture["tokens_sha256"],
        "responses_folder": paths.relative(responses.path, folder.path),
        "memberships_sha256": labels.memberships_digest(keys, members),
        "num_concepts": len(keys),
        "metrics": list(settings.metric_names),
        "holdout": settings.holdout,
        "holdout_seed": settings.holdout_seed,
        "bootstrap_top": settings.bootstrap_top,
        "bootstrap_resamples": settings.bootstrap_resamples,
        "block_bytes": settings.block_bytes,
        **more,
    }
    elsewhere = paths.resolved(folder.path) != paths.resolved(responses.path)
    if elsewhere:
        folder.claim("capture", capture)
    folder.claim("score", identity)
    if elsewhere:
        for name in ("units", "sentences", "dropped"):
            paths.copy_file(
                responses.path / f"{name}.parquet", folder.path / f"{name}.parquet"
            )
    if elsewhere or settings.holdout:
        folder.write_memberships(
            keys,
            [member.sentence for member in members],
            [member.label for member in members],
            held_out if settings.holdout else None,
        )
    if not folder.expertise_ledger.is_closed:
        folder.unsucceed()


def unit_blocks(
    shape: tuple[int, ...], chunk: int, block_bytes: int
) -> list[tuple[int, int]]:
    """Columns of each block: whole chunks, at most `block_bytes` of responses."""
    num_sentences, num_units = shape
    width = max(chunk, block_bytes // (4 * num_sentences) // chunk * chunk)
    return [
        (start, min(start + width, num_units)) for start in range(0, num_units, width)
    ]


def _read_ahead(
    responses: ts.TensorStore, todo: Sequence[tuple[int, tuple[int, int]]]
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Each block of columns, while the next one is being read."""
    read = functools.partial(arrays.start_read, responses, slice(0, responses.shape[0]))
    coming = read(slice(*todo[0][1])) if todo else None
    for i, (block, (start, stop)) in enumerate(todo):
        reading = coming
        following = todo[i + 1 : i + 2]
        coming = read(slice(*following[0][1])) if following else None
        assert reading is not None
        yield block, start, stop, reading.finish()


def _write_concepts(
    folder: ResultFolder,
    keys: Sequence[str],
    fitted: Sequence[Membership],
    ap_CxU: ts.TensorStore,
) -> None:
    shapes = [(member.num_positives, member.num_negatives) for member in fitted]
    thresholds = null.thresholds(shapes, ap_CxU.shape[1])
    best, above = _count_above(ap_CxU, thresholds)
    folder.write_table("null", null.null_table(shapes))
    folder.write_table(
        "concepts",
        pd.DataFrame(
            {
                "concept": keys,
                "group": [key.partition("/")[0] for key in keys],
                "n_pos": [member.num_positives for member in fitted],
                "n_neg": [member.num_negatives for member in fitted],
                "chance": [member.chance for member in fitted],
                "max_ap": best,
                "null_threshold": thresholds,
                "n_above": above,
            }
        ),
    )


def _count_above(
    ap_CxU: ts.TensorStore, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Best AP and the number of units at or above the threshold, of each concept."""
    best = np.zeros(len(thresholds), np.float32)
    above = np.zeros(len(thresholds), np.int32)
    rows = slice(0, len(thresholds))
    for start, stop in unit_blocks(ap_CxU.shape, arrays.CHUNK_COLUMNS, 128 * 2**20):
        part = arrays.read(ap_CxU, rows, slice(start, stop))
        best = np.maximum(best, part.max(1))
        above += (part >= thresholds[:, None]).sum(1, dtype=np.int32)
    return best, above
