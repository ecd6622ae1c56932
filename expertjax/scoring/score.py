"""The pass over a store: blocks of units in, blocks of expertise out."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorstore as ts
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.concepts.pool import ConceptSet, Membership
from expertjax.runtime import processes, stopping
from expertjax.scoring import labels, null
from expertjax.scoring.blocks import Scorer, make_scorer
from expertjax.scoring.experts import BestUnits
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
    held_out = _held_out(keys, members, settings)
    if processes.is_first():
        _prepare(responses, folder, keys, members, held_out, settings)
    processes.barrier("score: prepared")
    if not folder.expertise_ledger.is_closed:
        _run_blocks(array, folder, keys, members, held_out, settings, mesh)
    if processes.is_first():
        # All of it is in `experts.parquet` now.
        paths.remove_folder(folder.experts_path)
    processes.barrier("score: finished")
    return folder


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


def _run_blocks(
    responses: ts.TensorStore,
    folder: ResultFolder,
    keys: Sequence[str],
    members: Sequence[Membership],
    held_out: Sequence[np.ndarray],
    settings: ScoreSettings,
    mesh: Mesh | None,
) -> None:
    num_units = responses.shape[1]
    bounds = unit_blocks(
        responses.shape, arrays.chunk_columns(responses), settings.block_bytes
    )
    fitted = _parts(members, held_out, False)
    scorers = {"": make_scorer(fitted, settings.metric_names, settings.kernel, mesh)}
    if settings.holdout:
        rest = _parts(members, held_out, True)
        scorers[HELD_OUT] = make_scorer(rest, ["ap"], settings.kernel, mesh)
    best = BestUnits(
        folder.experts_path,
        settings.bootstrap_top,
        len(keys),
        Intervals(fitted, settings.bootstrap_resamples),
    )
    targets = _create(folder, settings, len(keys), bounds)
    ledger = folder.expertise_ledger
    mine = processes.share(list(enumerate(bounds)))
    best.resume([block for block, _ in mine if ledger.is_done(block)])
    todo = [(block, b) for block, b in mine if not ledger.is_done(block)]
    with tqdm(total=num_units, unit="unit", desc=f"score {folder.name}") as bar:
        bar.update(num_units - sum(stop - start for _, (start, stop) in todo))
        for block, start, stop, x_NxU in _read_ahead(responses, todo):
            scores = _score_block(scorers, x_NxU)
            best.add(block, start, x_NxU, scores["ap"])
            arrays.write_columns(targets, scores, start, stop)
            ledger.mark(block, start, stop)
            bar.update(stop - start)
            stopping.check()
    processes.barrier("score: blocks")
    if processes.is_first():
        folder.write_table("experts", best.table(len(bounds), keys))
        _write_concepts(folder, keys, fitted, targets["ap"])
        ledger.close(len(bounds))


def _score_block(
    scorers: dict[str, Scorer], x_NxU: np.ndarray
) -> dict[str, np.ndarray]:
    scores = scorers[""](x_NxU)
    if HELD_OUT in scorers:
        scores[HELD_OUT] = scorers[HELD_OUT](x_NxU)["ap"]
    return scores


def _create(
    folder: ResultFolder,
    settings: ScoreSettings,
    num_concepts: int,
    bounds: Sequence[tuple[int, int]],
) -> dict[str, ts.TensorStore]:
    """An array [C, U] for each metric, a shard for each block."""
    names = [*settings.metric_names, *([HELD_OUT] if settings.holdout else [])]
    layout = arrays.Layout(
        (num_concepts, bounds[-1][1]),
        "float32",
        (num_concepts, bounds[0][1]),
        ("concept", "unit"),
    )
    arrays.create_group(folder.expertise_path)
    return {
        name: arrays.create_array(folder.expertise_path / name, layout)
        for name in names
    }


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
