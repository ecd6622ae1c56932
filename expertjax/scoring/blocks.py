"""Scoring one block of units for all concepts, on whatever hardware is there."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from expertjax.concepts.pool import Membership
from expertjax.errors import InputError
from expertjax.runtime import mesh as meshes
from expertjax.scoring import compiled, kernel

Kernel = Literal["auto", "jax", "compiled"]

# [N, U] responses -> metric -> [C, U].
ScoreFn = Callable[[np.ndarray, Sequence[Membership]], dict[str, np.ndarray]]


def score_fn(name: Kernel, mesh: Mesh | None = None) -> ScoreFn:
    """The function that scores a block.

    Args:
      name: "compiled" (CPU loop), "jax" (units sharded over the mesh), or
        "auto": the loop where the devices are CPUs.
      mesh: for "jax"; defaults to all devices.

    Raises:
      InputError: another name.
    """
    if name == "auto":
        name = "compiled" if jax.default_backend() == "cpu" else "jax"
    if name == "compiled":
        return compiled.score_block
    if name != "jax":
        raise InputError(f"--kernel={name}: expected auto, jax or compiled")
    return functools.partial(score_block_on_mesh, mesh=mesh or meshes.make_mesh())


def score_block_on_mesh(
    responses_NxU: np.ndarray, members: Sequence[Membership], mesh: Mesh
) -> dict[str, np.ndarray]:
    """All metrics by the reference kernel, each device scoring its own units.

    Args:
      responses_NxU: float32, finite.
      members: [C] labelled rows.
      mesh: all of its devices share the units.

    Returns:
      metric -> [C, U] float32.
    """
    num_units = responses_NxU.shape[1]
    padding = -num_units % mesh.size
    padded = np.pad(responses_NxU, ((0, 0), (0, padding)))
    x_NxU = jax.device_put(padded, meshes.split_units(mesh))
    score = _score_on_mesh(mesh)
    scores = [score(x_NxU, *_padded_labels(member)) for member in members]
    return {
        name: np.stack([meshes.local(s[name])[:num_units] for s in scores])
        for name in kernel.METRICS
    }


@functools.lru_cache
def _score_on_mesh(mesh: Mesh) -> Callable:
    units = meshes.split_units(mesh).spec
    whole = meshes.replicated(mesh).spec

    def score(x_NxU, row_n, label_n):  # type: ignore[no-untyped-def]
        return kernel.score_units(x_NxU[row_n], label_n)

    sharded = jax.shard_map(
        score,
        mesh=mesh,
        in_specs=(units, whole, whole),
        out_specs=jax.sharding.PartitionSpec(units[1]),
    )
    return jax.jit(sharded)


def _padded_labels(member: Membership) -> tuple[jax.Array, jax.Array]:
    """Rows and labels, filled up so that few lengths are compiled."""
    n = len(member.label)
    step = 1 << max(4, n.bit_length() - 3)  # at most an eighth too long
    fill = -n % step
    return (
        jnp.asarray(np.pad(member.sentence, (0, fill))),
        jnp.asarray(np.pad(member.label, (0, fill), constant_values=-1)),
    )
