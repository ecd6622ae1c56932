"""The token at which each unit is highest, found on the device."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from expertjax.capturing.pooling import marked_token, pool_tokens
from expertjax.capturing.prepare import Prepared
from expertjax.capturing.steps import Steps, jit_forward
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes, stopping
from expertjax.typing import Array, PoolFn


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
    steps = Steps(prepared, _marked_step(prepared, columns))
    blocks = processes.share(plan.blocks(), *meshes.share_of(mesh))
    steps.prepare(plan.shapes(blocks) if blocks else [])
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
        for block in processes.rounds(blocks, len(blocks)):
            for batch in plan.batches(prepared.pool, *block) if block else ():
                position_BxU, response_BxU = map(meshes.local, steps(batch))
                first, last = np.searchsorted(sentence, batch.rows)
                row = sentence[first:last] - batch.rows[0]
                unit, rank = np.unravel_index(pairs[first:last], which_UxK.shape)
                positions[unit, rank] = position_BxU[row, unit]
                responses[unit, rank] = response_BxU[row, unit]
            bar.update(block[1] - block[0] if block else 0)
            stopping.check()
    return processes.largest(positions), processes.largest(responses)


def _marked_step(prepared: Prepared, columns: np.ndarray) -> Any:
    table, pooling = prepared.table, prepared.settings.pooling

    def make_pool(mask: Array) -> PoolFn:
        return lambda z: tuple(
            pool(pooling, mask, z) for pool in (marked_token, pool_tokens)
        )

    def chosen(pooled: Mapping[str, tuple[Array, ...]]) -> tuple[Array, ...]:
        parts = [{site: both[i] for site, both in pooled.items()} for i in (0, 1)]
        return tuple(table.gather(part)[:, columns] for part in parts)

    return jit_forward(prepared, make_pool, chosen, meshes.replicated(prepared.mesh))
