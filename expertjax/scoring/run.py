"""What the ways of scoring share: the folder, its arrays, its tables."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import pandas as pd
import tensorstore as ts
from jax.sharding import Mesh

from expertjax.absent import ROUTED, floored
from expertjax.concepts.pool import Membership
from expertjax.jax_settings import jax_settings
from expertjax.runtime import processes
from expertjax.scoring import labels, null
from expertjax.scoring.blocks import Scorer, make_scorer
from expertjax.scoring.experts import BestUnits, OfBest
from expertjax.scoring.intervals import Intervals
from expertjax.scoring.settings import ScoreSettings
from expertjax.scoring.surface import Surface
from expertjax.scoring.without import average_precisions
from expertjax.stores import arrays, paths
from expertjax.stores.folder import ResultFolder

HELD_OUT = "ap_heldout"
Bounds = tuple[int, int]  # units start to stop
Responses = np.ndarray | jax.Array  # [N, U] float32


@dataclasses.dataclass(frozen=True)
class Part:
    """Some concepts, and how their blocks are scored.

    Attributes:
      concepts: their run.
      num_rows: of the responses; what may stand after them is none.
      members: [C] their labelled rows that are scored.
      scorers: "" for all metrics, and `HELD_OUT`.
      of_best: what only the best units get.
    """

    concepts: slice
    num_rows: int
    members: Sequence[Membership]
    scorers: dict[str, Scorer]
    of_best: OfBest


Add = Callable[[Part, int, int, int, Responses], None]


class Scoring:
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
        self._surface = Surface(folder, keys, self._fitted)
        self._best = BestUnits(folder.experts_path, settings.bootstrap_top, len(keys))

    def begin(self, responses: ResultFolder, more: dict[str, Any]) -> None:
        """Claims the folder; all processes wait until that is done.

        Args:
          responses: the folder whose responses are scored.
          more: settings beside the usual ones that the bytes depend on.
        """
        if processes.is_first():
            self._begin(responses, more)
            kept_apart = _parts(self._members, self._held_out, True)
            self._surface.measure(kept_apart, self._settings)
        processes.barrier("score: prepared")
        sites = self._folder.read_table("units")["site"].astype(str)
        self._is_routed_U = sites.str.contains(ROUTED).to_numpy()

    def _begin(self, responses: ResultFolder, more: dict[str, Any]) -> None:
        """Writes the tables that say what is scored."""
        capture = responses.read_run()["capture"]
        identity = {
            "responses": capture["weights_sha256"] + ":" + capture["tokens_sha256"],
            "responses_folder": paths.relative(responses.path, self._folder.path),
            "memberships_sha256": labels.memberships_digest(self._keys, self._members),
            "num_concepts": len(self._keys),
            "metrics": list(self._settings.metric_names),
            "holdout": self._settings.holdout,
            "holdout_seed": self._settings.holdout_seed,
            "tie_tolerance": self._settings.tie_tolerance,
            "bootstrap_top": self._settings.bootstrap_top,
            "bootstrap_resamples": self._settings.bootstrap_resamples,
            "block_bytes": self._settings.block_bytes,
            **more,
        }
        elsewhere = paths.resolved(self._folder.path) != paths.resolved(responses.path)
        if elsewhere:
            self._folder.claim("capture", capture)
        self._folder.claim("score", identity)
        if elsewhere:
            for name in ("units", "sentences", "dropped"):
                paths.copy_file(
                    responses.path / f"{name}.parquet",
                    self._folder.path / f"{name}.parquet",
                )
        if elsewhere or self._settings.holdout:
            self._folder.write_memberships(
                self._keys,
                [member.sentence for member in self._members],
                [member.label for member in self._members],
                self._held_out if self._settings.holdout else None,
            )
        if not self._folder.expertise_ledger.is_closed:
            self._folder.unsucceed()

    def part(self, concepts: slice, rows: np.ndarray) -> Part:
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
        assert settings.tie_tolerance is not None
        how = settings.kernel, self._mesh, settings.tie_tolerance
        scorers = {"": make_scorer(fitted, settings.metric_names, *how)}
        if settings.holdout:
            rest = over_rows(_parts(self._members, self._held_out, True))
            scorers[HELD_OUT] = make_scorer(rest, ["ap"], *how)
        interval = Intervals(
            [_alone(member, member) for member in fitted],
            settings.bootstrap_resamples,
            tolerance=settings.tie_tolerance,
        )
        without = over_rows(self._surface.without)
        without = [_alone(*both) for both in zip(without, fitted, strict=True)]
        tolerance = settings.tie_tolerance

        def of_best(concept: int, x_nxK: np.ndarray) -> np.ndarray:
            ap = average_precisions(without[concept], x_nxK, tolerance)
            return np.column_stack([interval(concept, x_nxK), ap])

        return Part(concepts, len(rows), fitted, scorers, of_best)

    def compile_for(self, part: Part, num_rows: int) -> None:
        """Begins to compile what scores a part, where that is done ahead.

        Args:
          part: see there.
          num_rows: that its blocks will have.
        """
        for width in dict.fromkeys(stop - start for start, stop in self._bounds):
            for scorer in part.scorers.values():
                scorer.prepare(num_rows, width)

    def resume(self, blocks: Sequence[tuple[int, Bounds]]) -> list[tuple[int, Bounds]]:
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

    @contextlib.contextmanager
    def adding(self, targets: dict[str, ts.TensorStore]) -> Iterator[Add]:
        """Scores blocks; each is written while the next one is scored.

        Yields:
          add(part, mark, start, stop, x_NxU): scores units start to stop for the
          concepts of a part.
        """
        with ThreadPoolExecutor(1) as background:
            writing: list[Future] = []

            def add(
                part: Part, mark: int, start: int, stop: int, x_NxU: Responses
            ) -> None:
                if self._is_routed_U[start:stop].any():  # else a pass for nothing
                    x_NxU = floored(np.asarray(x_NxU)[: part.num_rows])
                scores = part.scorers[""](x_NxU)
                if HELD_OUT in part.scorers:
                    scores[HELD_OUT] = part.scorers[HELD_OUT](x_NxU)["ap"]
                while writing:
                    writing.pop().result()
                block = part, mark, start, stop, x_NxU, scores
                writing.append(background.submit(self._finish, targets, *block))

            yield add
            while writing:
                writing.pop().result()

    @jax_settings()
    def _finish(
        self,
        targets: dict[str, ts.TensorStore],
        part: Part,
        mark: int,
        start: int,
        stop: int,
        x_NxU: Responses,
        scores: dict[str, np.ndarray],
    ) -> None:
        """Looks for the best units of a scored block, and writes it."""
        ap_CxU, first = scores["ap"], part.concepts.start
        block = mark, first, start, x_NxU, ap_CxU
        self._best.add(*block, part.members, part.of_best)
        arrays.write_part(targets, scores, part.concepts, slice(start, stop))
        self._folder.expertise_ledger.mark(mark, start, stop)

    def close(self, targets: dict[str, ts.TensorStore], num_marks: int) -> None:
        """Writes what is known once all processes are through."""
        processes.barrier("score: blocks")
        if processes.is_first():
            experts = self._best.table(num_marks, self._keys)
            self._folder.write_table("experts", experts)
            shapes = [(m.num_positives, m.num_negatives) for m in self._fitted]
            surface = self._surface.columns(experts)
            write_concepts(self._folder, self._keys, shapes, targets["ap"], surface)
            self._folder.expertise_ledger.close(num_marks)

    def clean(self) -> None:
        """Removes what is in `experts.parquet` now."""
        if processes.is_first():
            paths.remove_folder(self._folder.experts_path)
        processes.barrier("score: finished")


def _alone(some: Membership, among: Membership) -> Membership:
    """Some of a concept's labelled rows, by their places among them all."""
    order = np.argsort(among.sentence)
    place = np.searchsorted(among.sentence, some.sentence, sorter=order)
    return Membership(order[place].astype(np.int32), some.label)


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


def unit_blocks(
    shape: tuple[int, ...], chunk: int, block_bytes: int, num_scores: int = 0
) -> list[tuple[int, int]]:
    """Columns of each block: whole chunks.

    Args:
      shape: N, U.
      chunk: columns of a chunk.
      block_bytes: of responses at most, and of scores at most twice as many.
      num_scores: of a unit.
    """
    num_sentences, num_units = shape
    column_bytes = 4 * max(num_sentences, num_scores // 2)
    width = max(chunk, block_bytes // column_bytes // chunk * chunk)
    return [
        (start, min(start + width, num_units)) for start in range(0, num_units, width)
    ]


def write_concepts(
    folder: ResultFolder,
    keys: Sequence[str],
    shapes: Sequence[tuple[int, int]],
    ap_CxU: ts.TensorStore,
    surface: pd.DataFrame | None = None,
) -> None:
    """Writes `concepts.parquet` and `null.parquet`.

    Args:
      folder: the model's.
      keys: [C] concepts.
      shapes: [C] (n_pos, n_neg).
      ap_CxU: their AP, finished.
      surface: [C] rows of `Surface.columns`; None where sentences are not known.
    """
    thresholds = null.thresholds(shapes, ap_CxU.shape[1])
    least = [thresholds]
    if surface is not None:
        high = surface["surface_high"].to_numpy(np.float32)
        # Above it, not at it: an AP of 1 beats no feature of AP 1.
        least.append(np.maximum(thresholds, np.nextafter(high, np.float32(2))))
    best, above = _count_above(ap_CxU, np.stack(least))
    folder.write_table("null", null.null_table(shapes))
    table = pd.DataFrame(
        {
            "concept": keys,
            "group": [key.partition("/")[0] for key in keys],
            "n_pos": [n_pos for n_pos, _ in shapes],
            "n_neg": [n_neg for _, n_neg in shapes],
            "chance": [n_pos / (n_pos + n_neg) for n_pos, n_neg in shapes],
            "max_ap": best,
            "null_threshold": thresholds,
            "n_above": above[0],
        }
    )
    if surface is not None:
        columns = {name: surface[name].to_numpy() for name in surface}
        table = table.assign(
            **columns, above_surface=above[1] > 0, n_above_surface=above[1]
        )
    folder.write_table("concepts", table)


def _count_above(
    ap_CxU: ts.TensorStore, least_KxC: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[C] best AP; [K, C] how many units reach each of K thresholds."""
    num_concepts = least_KxC.shape[1]
    best = np.zeros(num_concepts, np.float32)
    above = np.zeros(least_KxC.shape, np.int32)
    rows = slice(0, num_concepts)
    for start, stop in unit_blocks(ap_CxU.shape, arrays.CHUNK_COLUMNS, 128 * 2**20):
        part = arrays.read(ap_CxU, rows, slice(start, stop))
        best = np.maximum(best, part.max(1))
        for counts, least_C in zip(above, least_KxC, strict=True):
            counts += (part >= least_C[:, None]).sum(1, dtype=np.int32)
    return best, above
