"""A fingerprint of parameters."""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def params_digest(params: nnx.State) -> str:
    """SHA-256 over names, shapes and a position-weighted checksum of the bits.

    Integer arithmetic that wraps is exact in any order, so the digest is the
    same however the parameters are sharded, and no weight leaves its device.
    """
    return join_lines(digest_line(p, v[...]) for p, v in params.flat_state())


def digest_line(path: tuple[Any, ...], value: jax.Array) -> str:
    """What the digest holds of one parameter."""
    return f"{path} {value.shape} {value.dtype} {int(_checksum(value))}\n"


def join_lines(lines: Iterable[str]) -> str:
    """The digest of parameters in the order of `flat_state`."""
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@jax.jit
def _checksum(value: jax.Array) -> jax.Array:
    """Sum of bits x odd weights, modulo 2^32."""
    width = jnp.dtype(value.dtype).itemsize * 8
    bits = jax.lax.bitcast_convert_type(value, f"uint{width}").astype(jnp.uint32)
    weights = jnp.zeros(value.shape, jnp.uint32)
    for axis in range(value.ndim):
        index = jax.lax.broadcasted_iota(jnp.uint32, value.shape, axis)
        weights = weights * jnp.uint32(0x9E3779B1) + index
    return jnp.sum(bits * (2 * weights + 1), dtype=jnp.uint32)
