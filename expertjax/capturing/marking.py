"""The token at which each unit is highest, found on the device."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from expertjax.capturing.pooling import marked_token, pool_tokens
from expertjax.capturing.prepare import Prepared
from expertjax.capturing.steps import Steps, jit_forward
from expertjax.models.sites import ChosenUnits
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes, stopping
from expertjax.typing import Array


def positions_and_responses(
    prepared: Prepared, columns: np.ndarray, which_UxK: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that stand for the responses of some units to some sentences.

    All processes of a job call this and share the blocks of sentences.

    Args:
      prepared: sentences and a table of units.
      columns: [U] the units' numbers in that table.
      which_UxK: rows of sentences for each unit.

    Returns:
      [U, K] int32, see `marked_token`, and [U, K] float32 responses.

    Raises:
      Stopped: SIGTERM has arrived.
    """
    plan, mesh = prepared.plan, prepared.mesh
    steps = Steps(prepared, marked_step(prepared, columns))
    spans = processes.share(plan.spans(), *meshes.share_of(mesh))
    steps.prepare(plan.shapes(spans))
    positions = np.full(which_UxK.shape, -1, np.int32)
    responses = np.full(which_UxK.shape, -np.inf, np.float32)
    pairs = np.argsort(which_UxK, axis=None, kind="stable")  # by sentence
    sentence = which_UxK.ravel()[pairs]
    with tqdm(
        total=len(prepared.pool.tokens),
        unit="sentence",
        desc=f"mark tokens {prepared.model.name}",
        disable=not processes.is_first(),
    ) as bar:
        for span in processes.rounds(spans, len(spans)):
            for batch in plan.batches(prepared.pool, *span) if span else ():
                response_BxU, position_BxU = np.split(meshes.local(steps(batch)), 2)
                first, last = np.searchsorted(sentence, batch.rows)
                row = sentence[first:last] - batch.rows[0]
                unit, rank = np.unravel_index(pairs[first:last], which_UxK.shape)
                positions[unit, rank] = position_BxU[row, unit]
                responses[unit, rank] = response_BxU[row, unit]
            bar.update(span[1] - span[0] if span else 0)
            stopping.check()
    return processes.largest(positions), processes.largest(responses)


def marked_step(prepared: Prepared, columns: np.ndarray | None = None) -> Any:
    """A step for `Steps`; [2B, U] float32: responses, and below them positions.

    As one array: as two, they take 60% longer to compile on CPUs.

    Args:
      prepared: sentences and a table of units.
      columns: [U] the units' numbers in that table; None is all.
    """

    def pool(mask_BxT: Array, *z: Array) -> Array:
        pooling = prepared.settings.pooling
        response_BxF = pool_tokens(pooling, mask_BxT, *z)
        position_BxF = marked_token(pooling, mask_BxT, *z)
        return jnp.concatenate([response_BxF, position_BxF.astype(jnp.float32)])

    chosen = None if columns is None else ChosenUnits.of(prepared.table, columns)
    gather = (chosen or prepared.table).gather
    return jit_forward(
        prepared,
        lambda mask: functools.partial(pool, mask),
        lambda output, _: gather(output.pooled),
        meshes.replicated(prepared.mesh),
        chosen=chosen,
    )
