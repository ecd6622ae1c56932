"""The resumable loop: batches through the model, blocks into the store."""

import collections
from pathlib import Path

import numpy as np
import tensorstore as ts
from jax.sharding import Mesh

from expertjax.capturing.first_token import open_counts, write_share
from expertjax.capturing.kept import Kept, OnDevices, OnHost
from expertjax.capturing.prepare import Prepared, prepare, write_tables
from expertjax.capturing.running import progress, run_batches, run_blocks
from expertjax.capturing.settings import CaptureSettings
from expertjax.capturing.steps import Steps
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.errors import InputError, Stopped
from expertjax.jax_settings import jax_settings
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes, stopping
from expertjax.runtime.host_memory import return_freed_memory
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from expertjax.stores.ledger import Ledger

MAX_WRITES = 3  # in flight; each holds one block in host memory


@jax_settings()
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
      settings: see `CaptureSettings`; by default what the model was loaded for.
      mesh: defaults to all devices on the data axis.

    Returns:
      the folder, with `responses.zarr` [N, U], `units.parquet`,
      `sentences.parquet`, `memberships.parquet` and `dropped.parquet`. Where pooling
      is "max", `units.parquet` says in which share of the sentences a unit's maximum
      stands at the first token that counts (`at_first_token`).

    Raises:
      InputError: settings that do not fit the model or the sentences, another
        run's folder, activations that are not finite or do not fit the dtype.
    """
    settings = settings or CaptureSettings.of(model)
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


class _BlockWriter:
    """Commits blocks in the background and marks them when they are on disk."""

    def __init__(
        self,
        ledger: Ledger,
        responses: ts.TensorStore,
        at_first: ts.TensorStore,
        columns: tuple[int, int],
    ) -> None:
        self._ledger, self._arrays = ledger, (responses, at_first)
        self._columns = slice(*columns)
        self._pending: collections.deque = collections.deque()

    def write(
        self,
        mark: int,
        rows: tuple[int, int],
        values_NxU: np.ndarray,
        span: int,
        at_first_U: np.ndarray | None,
    ) -> None:
        """Begins to write.

        Args:
          mark: of the ledger.
          rows: the block's sentences.
          values_NxU: responses, of the units that this process holds.
          span: the number of the block's span.
          at_first_U: of these units, the sentences of the span whose maximum is at the
            first token; given with its last block.
        """
        while len(self._pending) >= MAX_WRITES:
            self._finish_oldest()
        responses, at_first = self._arrays
        writes = [(responses, responses[slice(*rows), self._columns].write(values_NxU))]
        if at_first_U is not None:
            counts_U = at_first_U.astype(np.float32)
            writes.append((at_first, at_first[span, self._columns].write(counts_U)))
        self._pending.append((mark, *rows, writes))

    def finish(self) -> None:
        while self._pending:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        mark, start, stop, writes = self._pending.popleft()
        for array, future in writes:
            arrays.commit(array, future)
        self._ledger.mark(mark, start, stop)
        return_freed_memory()


def _run_blocks(folder: ResultFolder, prepared: Prepared) -> None:
    """All blocks of this process's group, each process writing its own units."""
    plan, mesh = prepared.plan, prepared.mesh
    parts = meshes.num_processes(mesh)
    shape = len(prepared.pool.tokens), prepared.table.num_units
    layout = arrays.Layout(
        shape,
        prepared.settings.store_dtype,
        (plan.block_rows, prepared.columns_per_process),
        ("sentence", "unit"),
        arrays.narrow_chunks(shape[0]),
    )
    blocks, spans = plan.blocks(), plan.spans()
    processes.in_order(lambda: arrays.create_array(folder.responses_path, layout))
    processes.in_order(lambda: open_counts(folder, prepared, len(spans)))
    responses = arrays.create_array(folder.responses_path, layout)
    at_first = open_counts(folder, prepared, len(spans))
    ledger = folder.responses_ledger
    # A block of several processes counts once all have written their part.
    marks = ledger.finished()
    done = processes.agree(
        [
            marks.issuperset(range(block * parts, (block + 1) * parts))
            for block in range(len(blocks))
        ]
    )
    per_span = plan.span_rows // plan.block_rows
    of_span = [range(len(blocks))[i * per_span :][:per_span] for i in range(len(spans))]
    is_done = [all(done[block] for block in of_span[i]) for i in range(len(spans))]
    mine = processes.share(range(len(spans)), *meshes.share_of(mesh))
    todo = [span for span in mine if not is_done[span]]
    steps = Steps(prepared)
    steps.prepare(plan.shapes([spans[span] for span in todo]))
    writer = _BlockWriter(ledger, responses, at_first, prepared.columns)
    part = meshes.process_in_mesh(mesh)
    with progress(prepared) as bar:
        bar.update(
            sum(b - a for (a, b), there in zip(spans, is_done, strict=True) if there)
        )
        runs = [(span, block) for span in todo for block in of_span[span]]
        captured = run_blocks(
            steps,
            prepared,
            [spans[span] for span in todo],
            [blocks[block] for _, block in runs],
            bar,
        )
        for item in processes.rounds(zip(runs, captured, strict=True), len(runs)):
            if item is not None:
                (span, block), (values, at_first_U) = item
                if not done[block]:
                    is_last = block == of_span[span][-1]
                    counted = at_first_U if is_last else None
                    mark = block * parts + part
                    writer.write(mark, blocks[block], values, span, counted)
            _stop_if_asked(writer)
        writer.finish()
    processes.barrier("capture: blocks")
    if processes.is_first():
        write_share(folder, prepared)
        ledger.close(len(blocks) * parts)


class MemoryCapture:
    """Captures some sentences at a time, into memory."""

    def __init__(
        self, prepared: Prepared, folder: ResultFolder, on_devices: bool
    ) -> None:
        """Begins to compile.

        Args:
          prepared: sentences and units.
          folder: gets the counts of maxima at first tokens.
          on_devices: leave the responses there? Else they come to the host.
        """
        self._prepared, self._folder = prepared, folder
        self._on_devices = on_devices
        if meshes.num_processes(prepared.mesh) > 1:
            raise InputError(
                "--keep_responses=false: a `model` axis that spans processes splits "
                "the units, which are scored together here; make it smaller"
            )
        self._steps = Steps(prepared)
        self._steps.prepare(prepared.plan.shapes(prepared.plan.spans()))

    def __call__(
        self,
        rows: np.ndarray,
        is_new: np.ndarray,
        num_rows: int,
        part: tuple[int, int],
    ) -> Kept:
        """Captures one part of several.

        Args:
          rows: [n] of the pool, ascending.
          is_new: [n] bool, True at sentences of no earlier part.
          num_rows: how many there are on devices, so that all parts are of one shape.
          part: its number, and that of all parts.

        Returns:
          [n, U] responses, kept in the dtype of the store; on devices [num_rows, U],
          of which those after the n rows are none.

        Raises:
          InputError: names the first response that is not finite or does not fit.
          Stopped: SIGTERM has arrived; of the group, nothing is kept.
        """
        prepared = self._prepared.keep(rows, is_new)
        num_units = prepared.table.num_units
        at_first_U = np.zeros(num_units, np.int64)
        responses: Kept
        if self._on_devices:
            shape = num_rows, num_units
            responses = OnDevices(shape, prepared.dtype, prepared.mesh)
        else:
            responses = OnHost((len(rows), num_units), prepared.dtype)
        with progress(prepared) as bar:
            whole = [(0, len(rows))]
            batches = run_batches(
                self._steps, prepared, whole, bar, not self._on_devices
            )
            for batch, values, at_first in batches:
                responses.put(batch.rows, values)
                at_first_U += at_first
                stopping.check_alone()
        number, count = part
        counts = open_counts(self._folder, self._prepared, count)
        arrays.commit(counts, counts[number].write(at_first_U.astype(np.float32)))
        return responses


def _stop_if_asked(writer: _BlockWriter) -> None:
    try:
        stopping.check()
    except Stopped:
        writer.finish()
        raise
