"""The resumable loop: batches through the model, blocks into the store."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tensorstore as ts
from flax import nnx
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.capturing.batches import Batch, BatchPlan, block_bounds, shard_rows
from expertjax.capturing.pooling import pool_fn
from expertjax.capturing.rounding import round_responses
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model, params_digest
from expertjax.concepts.pool import ConceptSet, sentence_digest
from expertjax.concepts.tokens import TokenizedPool, tokenize
from expertjax.errors import InputError, Stopped
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.sites import UnitTable
from expertjax.runtime import mesh as meshes
from expertjax.runtime import sharding, stopping
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from expertjax.typing import Array

MAX_WRITES = 3  # in flight; each holds one block in host memory

Step = Callable[[Any, Array, Array, Array], Array]


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
    _check_length(model, settings)
    folder = ResultFolder(out)
    table = UnitTable.build(model.sites, model.num_layers, settings.sites)
    pool = tokenize(
        concepts,
        model.tokenizer,
        seq_len=settings.seq_len,
        long=settings.long,
        special_tokens=settings.special_tokens,
    )
    pool = _fit_vocabulary(model, pool)
    identity = _identity(model, pool, table, settings)
    folder.claim("capture", identity)
    if not folder.responses_ledger.is_closed:
        folder.unsucceed()
        _write_tables(folder, pool, table)
        step = make_step(model, table, settings, mesh)
        _run_blocks(model, folder, pool, table, settings, mesh, step)
    return folder


def make_step(
    model: Model, table: UnitTable, settings: CaptureSettings, mesh: Mesh
) -> Step:
    """The jitted forward pass that leaves only pooled units on the device.

    Returns:
      f(params, tokens_BxT, mask_BxT, pooled_BxT) -> [B, U] float32.
    """
    record = frozenset(site.name for site in table.recorded)

    def step(params: Any, tokens: Array, mask: Array, pooled: Array) -> Array:
        module = nnx.merge(model.graphdef, params)
        pool = pool_fn(settings.pooling, pooled)
        probe = Probe(pool=pool, record=record, depth=table.depth)
        return table.gather(module(Inputs.of(tokens, mask), probe).pooled)

    split = meshes.split_batch(mesh)
    params = sharding.parameter_shardings(mesh, model.params)
    shardings = (params, split, split, split)
    return jax.jit(step, in_shardings=shardings, out_shardings=split)


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
    model: Model, pool: TokenizedPool, table: UnitTable, settings: CaptureSettings
) -> dict[str, Any]:
    """Everything that the bytes of the responses depend on, and two counts."""
    return dataclasses.asdict(settings) | {
        "model": model.name,
        "family": model.family.name,
        "weights_sha256": params_digest(model.params),
        "tokens_sha256": pool.digest(),
        "num_sentences": len(pool.tokens),
        "num_units": table.num_units,
        "num_layers": model.num_layers,
        "num_dropped": len(pool.dropped),
        "num_truncated": pool.num_truncated,
    }


def _write_tables(folder: ResultFolder, pool: TokenizedPool, table: UnitTable) -> None:
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

    def __init__(self, folder: ResultFolder, array: ts.TensorStore) -> None:
        self._ledger = folder.responses_ledger
        self._array = array
        self._pending: collections.deque = collections.deque()

    def write(self, block: int, start: int, values: np.ndarray) -> None:
        while len(self._pending) >= MAX_WRITES:
            self._finish_oldest()
        stop = start + len(values)
        future = self._array[start:stop].write(values)
        self._pending.append((block, start, stop, future))

    def finish(self) -> None:
        while self._pending:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        block, start, stop, future = self._pending.popleft()
        arrays.commit(self._array, future)
        self._ledger.mark(block, start, stop)


def _run_blocks(
    model: Model,
    folder: ResultFolder,
    pool: TokenizedPool,
    table: UnitTable,
    settings: CaptureSettings,
    mesh: Mesh,
    step: Step,
) -> None:
    dtype = arrays.DTYPES[settings.store_dtype]
    shape = len(pool.tokens), table.num_units
    rows = shard_rows(*shape, dtype.itemsize, settings.block_rows)
    layout = arrays.Layout(
        shape,
        settings.store_dtype,
        (rows, shape[1]),
        ("sentence", "unit"),
        arrays.narrow_chunks(shape[0]),
    )
    array = arrays.create_array(folder.responses_path, layout)
    plan = BatchPlan(
        seq_len=settings.seq_len,
        batch_tokens=settings.batch_tokens,
        multiple=meshes.data_size(mesh),
        full_padding=settings.compat == "selfcond",
    )
    params = sharding.place_parameters(mesh, model.params)
    ledger, writer = folder.responses_ledger, _BlockWriter(folder, array)
    bounds = block_bounds(*shape, dtype.itemsize, settings.block_rows)
    with tqdm(total=shape[0], unit="sentence", desc=f"capture {model.name}") as bar:
        for block, (start, stop) in enumerate(bounds):
            if ledger.is_done(block):
                bar.update(stop - start)
                continue
            values = np.empty((stop - start, shape[1]), dtype)
            batches = plan.batches(pool, start, stop)
            for first, responses in _responses(step, params, batches):
                target = values[first - start :][: len(responses)]
                round_responses(responses, target, first, pool, table)
                bar.update(len(responses))
            writer.write(block, start, values)
            _stop_if_asked(writer)
        writer.finish()
    ledger.close(len(bounds))


def _stop_if_asked(writer: _BlockWriter) -> None:
    try:
        stopping.check()
    except Stopped:
        writer.finish()
        raise


def _responses(
    step: Step, params: Any, batches: Iterable[Batch]
) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, [B, U]) of each batch, while the next one is being computed."""
    previous: tuple[Batch, Array] | None = None
    for batch in batches:
        inputs = (batch.tokens, batch.mask, batch.pooled)
        responses = step(params, *map(jnp.asarray, inputs))
        if previous:
            yield _fetch(*previous)
        previous = batch, responses
    if previous:
        yield _fetch(*previous)


def _fetch(batch: Batch, responses_BxU: Array) -> tuple[int, np.ndarray]:
    start, stop = batch.rows
    return start, meshes.local(responses_BxU)[: stop - start]
