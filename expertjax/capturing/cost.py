"""What a capture will cost, before it is begun."""

import dataclasses
import os
import time

import jax
import numpy as np

from expertjax.capturing.batches import Batch
from expertjax.capturing.operations import flops_per_token
from expertjax.capturing.prepare import Prepared
from expertjax.capturing.steps import Steps
from expertjax.runtime import mesh as meshes

_REPEATS = 3  # of a batch that is timed; the least counts


@dataclasses.dataclass(frozen=True)
class Cost:
    """Counts of one capture, of all processes together.

    Attributes:
      sentences: N.
      tokens: real ones.
      computed_tokens: with padding and filler.
      shapes: programs to be compiled.
      units: U.
      flops: multiplications and additions of linear layers and attention, padding
        included.
      response_bytes: on disk.
      parameter_bytes: of one copy of the model.
      output_bytes: of a batch's responses on the devices; two are held at a time.
      block_bytes: of a block; a process holds up to five in memory.
    """

    sentences: int
    tokens: int
    computed_tokens: int
    shapes: int
    units: int
    flops: int
    response_bytes: int
    parameter_bytes: int
    output_bytes: int
    block_bytes: int

    @property
    def padding(self) -> float:
        """The share of computed tokens that are none."""
        return 1 - self.tokens / self.computed_tokens


def capture_cost(prepared: Prepared) -> Cost:
    """Counts from the plan: nothing is run.

    To `flops_per_token` come four operations of attention per pair of tokens and
    coordinate: scores and weighted sums (Kaplan et al. 2020, section 2.1).

    Args:
      prepared: from `capturing.prepare.prepare`.
    """
    model, plan, table = prepared.model, prepared.plan, prepared.table
    lengths_N = prepared.pool.lengths
    shapes = [
        (plan.batch_size(T), int(T), -(-int(count) // plan.batch_size(T)))
        for T, count in zip(*np.unique(plan.bucket_N, return_counts=True), strict=True)
    ]
    item = prepared.dtype.itemsize
    return Cost(
        sentences=len(lengths_N),
        tokens=int(lengths_N.sum()),
        computed_tokens=sum(B * T * batches for B, T, batches in shapes),
        shapes=len(shapes),
        units=table.num_units,
        flops=sum(_flops(prepared, B, T) * batches for B, T, batches in shapes),
        response_bytes=len(lengths_N) * table.num_units * item,
        parameter_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(model.params)),
        output_bytes=max(B for B, _, _ in shapes) * table.num_units * item,
        block_bytes=plan.block_rows * table.num_units * item,
    )


def capture_seconds(prepared: Prepared, cost: Cost) -> float:
    """About how long a capture takes, from a batch of it that is run here.

    Compiling is in it, on as many cores as there are, and so are the groups of
    processes that share the sentences; loading, tokenising and a slow disk are not.

    Args:
      prepared: from `capturing.prepare.prepare`.
      cost: of it.
    """
    spans = prepared.plan.spans()
    start, stop = spans[len(spans) // 2]
    batch = next(prepared.plan.batches(prepared.pool, start, stop))
    steps = Steps(prepared)
    first = _time(steps, batch)
    each = min(_time(steps, batch) for _ in range(_REPEATS))
    groups, _ = meshes.share_of(prepared.mesh)
    running = each * cost.flops / _flops(prepared, *batch.tokens.shape) / groups
    compiling = max(0.0, first - each) * -(-cost.shapes // (os.cpu_count() or 1))
    return running + compiling


def _time(steps: Steps, batch: Batch) -> float:
    began = time.perf_counter()
    jax.block_until_ready(steps(batch))
    return time.perf_counter() - began


def _flops(prepared: Prepared, B: int, T: int) -> int:
    """Of a batch; see `capture_cost`."""
    model, depth = prepared.model, prepared.table.depth
    attention = 4 * depth * model.config.width * T
    return B * T * (flops_per_token(model, depth) + attention)
