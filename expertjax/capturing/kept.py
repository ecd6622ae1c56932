"""Responses that are in memory until they are scored: on the host, or on the devices.

On accelerators they stay where they were computed: only scores cross to the host.
"""

import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from expertjax.absent import ABSENT, widened
from expertjax.runtime import mesh as meshes
from expertjax.typing import Array


class Kept(Protocol):
    """[N, U] responses in the dtype of a store, filled batch by batch."""

    def put(self, rows: tuple[int, int], responses: jax.Array) -> None:
        """Takes a batch.

        Args:
          rows: start and stop; batches come in ascending order.
          responses: at least so many rows, and at least U columns.
        """

    def columns(self, start: int, stop: int) -> np.ndarray | jax.Array:
        """[N, stop - start] float32, as scorers take them; absent ones `ABSENT`."""


class OnHost:
    """In host memory."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        """Nothing is there yet.

        Args:
          shape: N, U.
          dtype: of the store.
        """
        self._values_NxU = np.empty(shape, dtype)

    def put(self, rows: tuple[int, int], responses: jax.Array) -> None:
        """See `Kept`."""
        values = self._values_NxU[slice(*rows)]
        values[:] = meshes.local(responses)[: len(values), : values.shape[1]]

    def columns(self, start: int, stop: int) -> np.ndarray:
        """See `Kept`."""
        return widened(self._values_NxU[:, start:stop])


class OnDevices:
    """In device memory, the units split over all devices of the mesh."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, mesh: Mesh) -> None:
        """Nothing is there yet.

        Args:
          shape: N, U.
          dtype: of the store.
          mesh: whose devices the responses come from.
        """
        self._shape, self._dtype, self._mesh = shape, dtype, mesh
        self._values_NxU: jax.Array | None = None

    def put(self, rows: tuple[int, int], responses: jax.Array) -> None:
        """See `Kept`."""
        if self._values_NxU is None:
            # The first batch has most rows: those of short sentences do.
            rows_and_filler = self._shape[0] + len(responses)
            width = -(-responses.shape[1] // self._mesh.size) * self._mesh.size
            shape = rows_and_filler, width
            self._values_NxU = _room(self._mesh, shape, self._dtype)
        assert rows[0] + len(responses) <= len(self._values_NxU)
        put = putting(self._mesh)
        self._values_NxU = put(self._values_NxU, responses, rows[0])

    def columns(self, start: int, stop: int) -> jax.Array:
        """See `Kept`."""
        assert self._values_NxU is not None
        return _columns(self._values_NxU, start, self._shape[0], stop - start)


def _room(mesh: Mesh, shape: tuple[int, int], dtype: np.dtype) -> jax.Array:
    make = functools.partial(jnp.zeros, shape, dtype)
    return jax.jit(make, out_shardings=meshes.split_units(mesh))()


@functools.lru_cache
def putting(mesh: Mesh) -> Any:
    """f([N, U] so far, [B, U], first row) -> [N, U], in the same memory."""

    def put(values_NxU: Array, responses_BxU: Array, row: Array) -> Array:
        # Filler stands in rows that later batches take, or after the last.
        return jax.lax.dynamic_update_slice(values_NxU, responses_BxU, (row, 0))

    return jax.jit(put, donate_argnums=0, out_shardings=meshes.split_units(mesh))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _columns(values_NxU: Array, start: Array, num_rows: int, width: int) -> Array:
    x = jax.lax.dynamic_slice(values_NxU, (0, start), (num_rows, width))
    wide = x.astype(jnp.float32)
    if x.dtype == jnp.float16:
        wide = jnp.where(x == jnp.finfo(jnp.float16).min, ABSENT, wide)
    return wide
