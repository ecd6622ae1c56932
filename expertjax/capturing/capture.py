"""The resumable loop: batches through the model, blocks into the store."""

import collections
import concurrent.futures
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorstore as ts
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.capturing.batches import BatchPlan, choose_buckets, shard_rows
from expertjax.capturing.rounding import check_finite
from expertjax.capturing.settings import CaptureSettings
from expertjax.capturing.steps import Steps
from expertjax.checkpoints.load import Model, params_digest
from expertjax.concepts.pool import ConceptSet, sentence_digest
from expertjax.concepts.tokens import TokenizedPool, tokenize
from expertjax.errors import InputError, Stopped
from expertjax.models.sites import UnitTable
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes, stopping
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from expertjax.stores.ledger import Ledger

MAX_WRITES = 3  # in flight; each holds one block in host memory


def capture(
    model: Model,
    concepts: ConceptSet,
    out: Path | str,
    settings: CaptureSettings | None = None,
    mesh: Mesh | None = None,
) -> ResultFolder:
    """Captures the response of every unit to every sentence of the pool.

    Can be interrupted at any moment and called again: finished blocks are kept.

    Args:
      model: from `load_model`.
      concepts: the pool and its memberships.
      out: the model's result folder.
      settings: see `CaptureSettings`.
      mesh: defaults to all devices on the data axis.

    Returns:
      the folder, with `responses.zarr` [N, U], `units.parquet`,
      `sentences.parquet`, `memberships.parquet` and `dropped.parquet`.

    Raises:
      InputError: settings that do not fit the model or the sentences, another
        run's folder, activations that are not finite or do not fit the dtype.
    """
    settings = settings or CaptureSettings()
    mesh = mesh or meshes.make_mesh()
    prepared = prepare(model, concepts, settings, mesh)
    folder = ResultFolder(out)
    processes.in_order(lambda: folder.claim("capture", prepared.identity))
    if not folder.keeps_responses:
        raise InputError(
            f"--out: {folder.path} holds a run whose responses were not kept; choose "
            "another --out, or --keep_responses=false to go on with it"
        )
    if not folder.responses_ledger.is_closed:
        if processes.is_first():
            folder.unsucceed()
            write_tables(folder, prepared)
        _run_blocks(folder, prepared)
    processes.barrier("capture: finished")
    return folder


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A model and sentences that fit each other, and what is to be done.

    Attributes:
      model: whose responses are wanted.
      pool: tokenised sentences, ascending by length.
      table: the units that are kept.
      settings: with every choice made.
      mesh: of this process's group.
      identity: everything that the bytes of the responses depend on, and counts.
    """

    model: Model
    pool: TokenizedPool
    table: UnitTable
    settings: CaptureSettings
    mesh: Mesh
    identity: dict[str, Any]

    @property
    def dtype(self) -> np.dtype:
        """Of the stored responses."""
        return arrays.DTYPES[self.settings.store_dtype]

    @property
    def columns(self) -> tuple[int, int]:
        """The units whose responses this process holds."""
        width = self.columns_per_process
        start = meshes.process_in_mesh(self.mesh) * width
        return start, min(start + width, self.table.num_units)

    @property
    def columns_per_process(self) -> int:
        """As many units as each process of the group holds."""
        model = meshes.model_size(self.mesh)
        return (
            -(-self.table.num_units // model) * model // meshes.num_processes(self.mesh)
        )

    @functools.cached_property
    def plan(self) -> BatchPlan:
        """How the pool is batched, in the blocks of its store."""
        settings, lengths_N = self.settings, self.pool.lengths
        multiple = meshes.data_size(self.mesh)
        full_padding = settings.compat == "selfcond"
        return BatchPlan.of(
            lengths_N,
            (settings.seq_len,)
            if full_padding
            else choose_buckets(lengths_N, settings.batch_tokens),
            settings.batch_tokens,
            shard_rows(
                len(lengths_N),
                self.columns_per_process,
                self.dtype.itemsize,
                settings.block_rows,
                multiple,
            ),
            multiple,
            full_padding=full_padding,
        )


def prepare(
    model: Model, concepts: ConceptSet, settings: CaptureSettings, mesh: Mesh
) -> Prepared:
    """Tokenises, while the weights' fingerprint is taken, and checks what can be.

    Raises:
      InputError: settings that do not fit the model or the sentences.
    """
    _check_length(model, settings)
    table = UnitTable.build(model.sites, model.num_layers, settings.sites)
    settings = settings.resolve(meshes.batch_tokens(mesh))
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        pool = background.submit(
            tokenize,
            concepts,
            model.tokenizer,
            seq_len=settings.seq_len,
            long=settings.long,
            special_tokens=settings.special_tokens,
        )
        digest = params_digest(model.params)
        tokenized = _fit_vocabulary(model, pool.result())
    identity = _identity(model, tokenized, table, settings, digest)
    return Prepared(model, tokenized, table, settings, mesh, identity)


def _check_length(model: Model, settings: CaptureSettings) -> None:
    longest = getattr(model.config, "max_positions", None)
    if longest is not None and settings.seq_len > longest:
        raise InputError(
            f"--seq_len={settings.seq_len}: {model.name} has only {longest} positions"
        )


def _fit_vocabulary(model: Model, pool: TokenizedPool) -> TokenizedPool:
    """Refuses tokens that the model does not have; as padding, any will do."""
    size = model.config.vocab_size
    for text, ids in zip(pool.concepts.sentences, pool.tokens, strict=True):
        if ids.max() >= size:
            raise InputError(
                f"{model.path}: its tokenizer makes token {ids.max()} of {text!r}, but "
                f"the model has only {size}; they do not belong together"
            )
    return pool if pool.pad_id < size else dataclasses.replace(pool, pad_id=0)


def _identity(
    model: Model,
    pool: TokenizedPool,
    table: UnitTable,
    settings: CaptureSettings,
    weights_sha256: str,
) -> dict[str, Any]:
    """See `Prepared`."""
    return dataclasses.asdict(settings) | {
        "model": model.name,
        "family": model.family.name,
        "weights_sha256": weights_sha256,
        "tokens_sha256": pool.digest(),
        "num_sentences": len(pool.tokens),
        "num_units": table.num_units,
        "num_layers": model.num_layers,
        "num_dropped": len(pool.dropped),
        "num_truncated": pool.num_truncated,
    }


def write_tables(folder: ResultFolder, prepared: Prepared) -> None:
    """Writes the tables of units, sentences and memberships."""
    pool, table = prepared.pool, prepared.table
    concepts = pool.concepts
    folder.write_table(
        "units",
        pd.DataFrame(
            {
                "unit": np.arange(table.num_units, dtype=np.int32),
                "site": table.site,
                "layer": table.layer,
                "index": table.index,
                "module": table.module,
            }
        ),
    )
    folder.write_table(
        "sentences",
        pd.DataFrame(
            {
                "sentence": np.arange(len(concepts.sentences), dtype=np.int32),
                "text": concepts.sentences,
                "n_tokens": pool.lengths,
                "sha256": [sentence_digest(text) for text in concepts.sentences],
            }
        ),
    )
    # Scoring has to tell them from sentences that were never there.
    folder.write_table(
        "dropped",
        pd.DataFrame(
            {
                "text": pd.Series(pool.dropped, dtype=str),
                "sha256": [sentence_digest(text) for text in pool.dropped],
            }
        ),
    )
    folder.write_memberships(
        concepts.keys,
        [member.sentence for member in concepts.members],
        [member.label for member in concepts.members],
    )


class _BlockWriter:
    """Commits blocks in the background and marks them when they are on disk."""

    def __init__(
        self, ledger: Ledger, array: ts.TensorStore, columns: tuple[int, int]
    ) -> None:
        self._ledger, self._array = ledger, array
        self._columns = slice(*columns)
        self._pending: collections.deque = collections.deque()

    def write(self, mark: int, start: int, values: np.ndarray) -> None:
        while len(self._pending) >= MAX_WRITES:
            self._finish_oldest()
        stop = start + len(values)
        future = self._array[start:stop, self._columns].write(values)
        self._pending.append((mark, start, stop, future))

    def finish(self) -> None:
        while self._pending:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        mark, start, stop, future = self._pending.popleft()
        arrays.commit(self._array, future)
        self._ledger.mark(mark, start, stop)


def _run_blocks(folder: ResultFolder, prepared: Prepared) -> None:
    """All blocks of this process's group, each process writing its own units."""
    pool, plan, mesh = prepared.pool, prepared.plan, prepared.mesh
    width, parts = prepared.columns_per_process, meshes.num_processes(mesh)
    shape = len(pool.tokens), prepared.table.num_units
    layout = arrays.Layout(
        shape,
        prepared.settings.store_dtype,
        (plan.block_rows, width),
        ("sentence", "unit"),
        arrays.narrow_chunks(shape[0]),
    )
    processes.in_order(lambda: arrays.create_array(folder.responses_path, layout))
    array = arrays.create_array(folder.responses_path, layout)
    ledger = folder.responses_ledger
    blocks = plan.blocks()
    # A block of several processes counts once all have written their part.
    there = ledger.finished()
    done = processes.agree(
        [
            there.issuperset(range(block * parts, (block + 1) * parts))
            for block in range(len(blocks))
        ]
    )
    mine = processes.share(range(len(blocks)), *meshes.share_of(mesh))
    todo = [block for block in mine if not done[block]]
    steps = Steps(prepared.model, prepared.table, prepared.settings, mesh)
    steps.prepare(plan.shapes([blocks[block] for block in todo]))
    writer = _BlockWriter(ledger, array, prepared.columns)
    part = meshes.process_in_mesh(mesh)
    with progress(prepared, shape[0]) as bar:
        bar.update(
            sum(blocks[b][1] - blocks[b][0] for b in range(len(blocks)) if done[b])
        )
        for block in processes.rounds(todo, len(todo)):
            if block is not None:
                start, stop = blocks[block]
                width = prepared.columns[1] - prepared.columns[0]
                values = np.empty((stop - start, width), prepared.dtype)
                capture_block(steps, prepared, pool, plan, start, values, bar)
                writer.write(block * parts + part, start, values)
            _stop_if_asked(writer)
        writer.finish()
    processes.barrier("capture: blocks")
    if processes.is_first():
        ledger.close(len(blocks) * parts)


class MemoryCapture:
    """Captures some sentences at a time, into memory."""

    def __init__(self, prepared: Prepared) -> None:
        """Begins to compile."""
        self._prepared, mesh = prepared, prepared.mesh
        if meshes.num_processes(mesh) > 1:
            raise InputError(
                "--keep_responses=false: a `model` axis that spans processes splits "
                "the units, which are scored together here; make it smaller"
            )
        self._steps = Steps(prepared.model, prepared.table, prepared.settings, mesh)
        self._steps.prepare(prepared.plan.shapes(prepared.plan.blocks()))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[n, U] responses, in the dtype of the store, to rows of the pool, ascending.

        Raises:
          InputError: names the first response that is not finite or does not fit.
          Stopped: SIGTERM has arrived; of the group, nothing is kept.
        """
        prepared = self._prepared
        pool, plan = prepared.pool.keep(rows), prepared.plan.keep(rows)
        values = np.empty((len(rows), prepared.table.num_units), prepared.dtype)
        with progress(prepared, len(rows)) as bar:
            for start, stop in plan.blocks():
                block = values[start:stop]
                capture_block(self._steps, prepared, pool, plan, start, block, bar)
                stopping.check_alone()
        return values


def progress(prepared: Prepared, num_sentences: int) -> tqdm:
    """The bar, which one process shows."""
    return tqdm(
        total=num_sentences,
        unit="sentence",
        desc=f"capture {prepared.model.name}",
        disable=not processes.is_first(),
    )


def _stop_if_asked(writer: _BlockWriter) -> None:
    try:
        stopping.check()
    except Stopped:
        writer.finish()
        raise


def capture_block(
    steps: Steps,
    prepared: Prepared,
    pool: TokenizedPool,
    plan: BatchPlan,
    start: int,
    values_NxU: np.ndarray,
    bar: tqdm,
) -> None:
    """Captures a run of sentences.

    A batch is fetched while the next one is being computed.

    Args:
      steps: of the model.
      prepared: whose units.
      pool: the sentences.
      plan: how they are batched.
      start: the first sentence.
      values_NxU: gets the responses, of the units that this process holds.
      bar: to be moved on.

    Raises:
      InputError: names the first response that is not finite or does not fit.
    """
    first, last = prepared.columns
    running: collections.deque = collections.deque()

    def fetch() -> None:
        batch, (responses, is_finite) = running.popleft()
        row, rows = batch.rows[0], batch.rows[1] - batch.rows[0]
        wanted = slice(0, rows), slice(0, last - first)
        if not is_finite:
            check_finite(
                steps.unrounded(batch)[wanted],
                row,
                prepared.dtype,
                pool,
                prepared.table,
                first,
            )
        values_NxU[row - start :][:rows] = meshes.local(responses)[wanted]
        bar.update(rows)

    for batch in plan.batches(pool, start, start + len(values_NxU)):
        running.append((batch, steps(batch)))
        if len(running) > 1:
            fetch()
    while running:
        fetch()
