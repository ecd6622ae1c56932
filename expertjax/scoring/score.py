"""The pass over a store: blocks of units in, blocks of expertise out."""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorstore as ts
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.concepts.pool import ConceptSet, Membership, permuted, sentence_digest
from expertjax.errors import InputError, join_problems
from expertjax.scoring import kernel
from expertjax.scoring.blocks import Kernel, ScoreFn, score_fn
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder

PERMUTED = "ap_permuted"  # AP under one permutation of each concept's labels
STORED = (*kernel.METRICS, PERMUTED)


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
    """How expertise is computed.

    Attributes:
      null_seed: of the permutation of labels behind `ap_permuted`.
      block_bytes: responses held in memory at a time.
      kernel: "auto", "jax" or "compiled"; see `score_fn`.
    """

    null_seed: int = 0
    block_bytes: int = 128 * 2**20
    kernel: Kernel = "auto"


def score(
    responses: ResultFolder,
    concepts: ConceptSet | None = None,
    out: Path | str | None = None,
    settings: ScoreSettings | None = None,
    mesh: Mesh | None = None,
) -> ResultFolder:
    """Scores every unit of a store against every concept.

    Can be interrupted at any moment and called again.

    Args:
      responses: a folder whose capture is complete.
      concepts: other concepts over the same sentences; by default those of the
        capture.
      out: folder for the results, by default the same one.
      settings: see `ScoreSettings`.
      mesh: for the JAX kernel.

    Returns:
      the folder with `expertise.zarr` and `concepts.parquet`.

    Raises:
      InputError: the capture is incomplete, a chunk is missing or damaged, a
        concept has a sentence that was not captured, or `out` holds another run.
    """
    settings = settings or ScoreSettings()
    array = responses.open_responses()
    folder = ResultFolder(Path(out)) if out else responses
    keys, members = _memberships(responses, concepts)
    identity = _identity(responses, keys, members, settings)
    identity["responses_folder"] = os.path.relpath(responses.path, folder.path)
    elsewhere = folder.path.resolve() != responses.path.resolve()
    if elsewhere:
        folder.claim("capture", responses.read_run()["capture"])
    folder.claim("score", identity)
    if elsewhere:
        _copy_tables(responses, folder)
        sentences = [member.sentence for member in members]
        labels = [member.label for member in members]
        folder.write_memberships(keys, sentences, labels)
    if not folder.expertise_ledger.is_closed:
        folder.unsucceed()
        scorer = score_fn(settings.kernel, mesh)
        _run_blocks(array, folder, members, settings, scorer)
    _write_concepts(folder, keys, members)
    return folder


def load_memberships(
    folder: ResultFolder,
) -> tuple[tuple[str, ...], tuple[Membership, ...]]:
    """The concepts of a folder and who is labelled how, in their order."""
    table = folder.read_table("memberships")
    keys, members = [], []
    for key, rows in table.groupby("concept", sort=False):
        keys.append(str(key))
        members.append(
            Membership(rows["sentence"].to_numpy(), rows["label"].to_numpy())
        )
    return tuple(keys), tuple(members)


def _memberships(
    responses: ResultFolder, concepts: ConceptSet | None
) -> tuple[tuple[str, ...], tuple[Membership, ...]]:
    if concepts is None:
        return load_memberships(responses)
    captured = responses.read_table("sentences")["sha256"]
    row_of = {digest: row for row, digest in enumerate(captured)}
    # Sentences over seq_len were dropped from the capture and stay out here.
    row_of |= dict.fromkeys(responses.read_table("dropped")["sha256"], -1)
    digests = [sentence_digest(text) for text in concepts.sentences]
    problems = [
        f"not captured: {text!r}"
        for text, digest in zip(concepts.sentences, digests, strict=True)
        if digest not in row_of
    ]
    if problems:
        raise InputError(
            join_problems(
                f"--concepts: sentences that {responses.path} does not have; "
                "capture them first:",
                problems,
            )
        )
    rows = np.array([row_of[digest] for digest in digests], np.int32)
    kept = concepts.keep(np.flatnonzero(rows >= 0))
    new_rows = rows[rows >= 0]
    members = tuple(
        Membership(new_rows[member.sentence], member.label) for member in kept.members
    )
    return kept.keys, members


def _identity(
    responses: ResultFolder,
    keys: Sequence[str],
    members: Sequence[Membership],
    settings: ScoreSettings,
) -> dict:
    digest = hashlib.sha256()
    for key, member in zip(keys, members, strict=True):
        digest.update(key.encode())
        digest.update(member.sentence.astype(np.int32).tobytes())
        digest.update(member.label.astype(np.int8).tobytes())
    capture = responses.read_run()["capture"]
    return {
        "responses": capture["weights_sha256"] + ":" + capture["tokens_sha256"],
        "memberships_sha256": digest.hexdigest(),
        "num_concepts": len(keys),
        "metrics": list(STORED),
        "null_seed": settings.null_seed,
        "block_bytes": settings.block_bytes,
    }


def _copy_tables(source: ResultFolder, target: ResultFolder) -> None:
    for name in ("units", "sentences", "dropped"):
        shutil.copyfile(
            source.path / f"{name}.parquet", target.path / f"{name}.parquet"
        )


def unit_blocks(shape: tuple[int, int], block_bytes: int) -> list[tuple[int, int]]:
    """Columns of each block: whole chunks, at most `block_bytes` of responses."""
    num_sentences, num_units = shape
    chunk = arrays.CHUNK_COLUMNS
    width = max(chunk, block_bytes // (4 * num_sentences) // chunk * chunk)
    return [
        (start, min(start + width, num_units)) for start in range(0, num_units, width)
    ]


def _run_blocks(
    responses: ts.TensorStore,
    folder: ResultFolder,
    members: Sequence[Membership],
    settings: ScoreSettings,
    scorer: ScoreFn,
) -> None:
    num_sentences, num_units = responses.shape
    bounds = unit_blocks((num_sentences, num_units), settings.block_bytes)
    layout = arrays.Layout(
        (len(members), num_units),
        "float32",
        (len(members), min(bounds[0][1], num_units)),
        ("concept", "unit"),
    )
    arrays.create_group(folder.expertise_path)
    targets = {
        name: arrays.create_array(folder.expertise_path / name, layout)
        for name in STORED
    }
    shuffled = [
        permuted(member, settings.null_seed + i) for i, member in enumerate(members)
    ]
    ledger = folder.expertise_ledger
    todo = [(i, b) for i, b in enumerate(bounds) if not ledger.is_done(i)]
    with tqdm(total=num_units, unit="unit", desc=f"score {folder.name}") as bar:
        bar.update(num_units - sum(stop - start for _, (start, stop) in todo))
        for block, start, stop, x_NxU in _read_ahead(responses, todo):
            scores = scorer(x_NxU, members)
            scores[PERMUTED] = scorer(x_NxU, shuffled)["ap"]
            arrays.write_columns(targets, scores, start, stop)
            ledger.mark(block, start, stop)
            bar.update(stop - start)
    ledger.close(len(bounds))


def _read_ahead(
    responses: ts.TensorStore, todo: Sequence[tuple[int, tuple[int, int]]]
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Each block of columns, while the next one is being read."""
    everything = slice(0, responses.shape[0])
    pending = None
    for block, (start, stop) in [*todo, (-1, (0, 0))]:
        columns = slice(start, stop)
        coming = arrays.start_read(responses, everything, columns) if stop else None
        if pending:
            yield *pending[0], arrays.finish_read(responses, pending[1])
        pending = ((block, start, stop), coming) if coming is not None else None


def _write_concepts(
    folder: ResultFolder, keys: Sequence[str], members: Sequence[Membership]
) -> None:
    best = {}
    everything = slice(0, len(keys))
    for column, metric in (("max_ap", "ap"), ("null_max_ap", PERMUTED)):
        array = folder.open_expertise(metric)
        best[column] = arrays.read(array, everything, slice(0, array.shape[1])).max(1)
    folder.write_table(
        "concepts",
        pd.DataFrame(
            {
                "concept": keys,
                "group": [key.partition("/")[0] for key in keys],
                "n_pos": [member.num_positives for member in members],
                "n_neg": [member.num_negatives for member in members],
                "chance": [member.chance for member in members],
                **best,
            }
        ),
    )
