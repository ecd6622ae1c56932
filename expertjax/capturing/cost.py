"""What a capture will cost, before it is begun."""

import dataclasses

import jax
import numpy as np

from expertjax.capturing.operations import flops_per_token
from expertjax.capturing.prepare import Prepared


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

    def seconds(self, flops_per_second: float) -> float:
        """Time of the forward passes at a rate that the devices reach."""
        return self.flops / flops_per_second


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
        (plan.batch_size(T), T, -(-count // plan.batch_size(T)))
        for T, count in zip(*np.unique(plan.bucket_N, return_counts=True), strict=True)
    ]
    computed = sum(int(B) * int(T) * int(batches) for B, T, batches in shapes)
    pairs = sum(int(B) * int(T) ** 2 * int(batches) for B, T, batches in shapes)
    linear = flops_per_token(model, table.depth) * computed
    item = prepared.dtype.itemsize
    return Cost(
        sentences=len(lengths_N),
        tokens=int(lengths_N.sum()),
        computed_tokens=computed,
        shapes=len(shapes),
        units=table.num_units,
        flops=linear + 4 * table.depth * model.config.width * pairs,
        response_bytes=len(lengths_N) * table.num_units * item,
        parameter_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(model.params)),
        output_bytes=max(B for B, _, _ in shapes) * table.num_units * item,
        block_bytes=plan.block_rows * table.num_units * item,
    )
