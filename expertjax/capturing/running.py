"""Sentences through the model, batch after batch without a halt."""

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from expertjax.capturing.batches import Batch
from expertjax.capturing.prepare import Prepared
from expertjax.capturing.rounding import check_finite
from expertjax.capturing.steps import Steps
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes


def progress(prepared: Prepared) -> tqdm:
    """The bar, which one process shows."""
    return tqdm(
        total=len(prepared.pool.tokens),
        unit="sentence",
        desc=f"capture {prepared.model.name}",
        disable=not processes.is_first(),
    )


def run_blocks(
    steps: Steps,
    prepared: Prepared,
    spans: Sequence[tuple[int, int]],
    blocks: Sequence[tuple[int, int]],
    bar: tqdm,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The blocks of some spans, one after the other.

    Args:
      steps: of the model.
      prepared: sentences and units.
      spans: their rows, start and stop.
      blocks: all of theirs, likewise.
      bar: to be moved on.

    Yields:
      of each block [n, U] responses in the dtype of the store, of the units that this
      process holds, and [U] int64: of these, the sentences of its span whose maximum
      is at the first token, as far as they have been run.

    Raises:
      InputError: names the first response that is not finite or does not fit.
    """
    first, last = prepared.columns
    batches = run_batches(steps, prepared, spans, bar, to_host=True)
    beginnings = {start for start, _ in spans}
    at_first_U = np.zeros(last - first, np.int64)
    begin = end = 0  # the rows of the batch that is there
    for start, stop in blocks:
        if start in beginnings:
            at_first_U = np.zeros(last - first, np.int64)
        values_NxU = np.empty((stop - start, last - first), prepared.dtype)
        row = start
        while row < stop:
            if not begin <= row < end:
                batch, responses, at_first = next(batches)
                begin, end = batch.rows
                responses_BxU = meshes.local(responses)[:, : last - first]
                at_first_U = at_first_U + at_first
            until = min(stop, end)
            values_NxU[row - start : until - start] = responses_BxU[
                row - begin : until - begin
            ]
            row = until
        yield values_NxU, at_first_U


def run_batches(
    steps: Steps,
    prepared: Prepared,
    spans: Sequence[tuple[int, int]],
    bar: tqdm,
    to_host: bool,
) -> Iterator[tuple[Batch, jax.Array, np.ndarray]]:
    """The batches of some runs of sentences, each given while the next is computed.

    The end of a run is no halt: the next one's first batch is under way by then, and
    with `to_host` a batch's responses are on their way as soon as they are there.

    Yields:
      the batch; its [B, U] responses, on the devices; [U] counts as in `run_blocks`.
    """
    first, last = prepared.columns

    def started() -> Iterator[tuple[Batch, Any]]:
        for start, stop in spans:
            for batch in prepared.plan.batches(prepared.pool, start, stop):
                responses, *rest = steps(batch, prepared.counted_of(batch))
                if to_host:
                    responses = meshes.start_to_host(responses)
                yield batch, (responses, *rest)

    coming = started()
    running = collections.deque(itertools.islice(coming, 1))
    while running:
        running.extend(itertools.islice(coming, 1))
        batch, (responses, is_finite, at_first) = running.popleft()
        row, rows = batch.rows[0], batch.rows[1] - batch.rows[0]
        if not is_finite:
            check_finite(
                steps.unrounded(batch)[:rows, : last - first],
                row,
                prepared.dtype,
                prepared.pool,
                prepared.table,
                first,
            )
        counts_U = meshes.local(at_first)[0, : last - first]
        bar.update(rows)  # now: after the last batch nothing asks for more
        yield batch, responses, counts_U
