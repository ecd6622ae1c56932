"""The response of a unit: its activations on a sentence's tokens, pooled."""

from typing import Literal

import jax.numpy as jnp
from jax import lax

from expertjax.absent import ABSENT
from expertjax.typing import Array

Pooling = Literal["max", "mean", "last"]


def pool_tokens(
    pooling: Pooling,
    mask_BxT: Array,
    z_BxTxF: Array,
    routed_BxT: Array | None = None,
) -> Array:
    """Pools over the tokens that the mask counts.

    The maximum is that of Suau et al. (2020) and of the reference; the mean that
    of Kojima et al. (2024).

    Args:
      pooling: "max", "mean" or "last" (the last counted token).
      mask_BxT: bool; at least one token of each row counts.
      z_BxTxF: activations.
      routed_BxT: bool, of an expert's units: "max" and "mean" are over the tokens that
        reach it. None is all.

    Returns:
      [B, F] in the dtype of the activations ("mean": float32); NaN where "max" or
      "mean" meets one; `ABSENT` where no token, or not the last one, reaches the
      expert.
    """
    if routed_BxT is None:
        return _pool(pooling, mask_BxT, z_BxTxF)
    there_BxT = mask_BxT & routed_BxT
    if pooling == "last":
        last_Bx1 = _last(mask_BxT)[:, None]
        reached_Bx1 = jnp.take_along_axis(routed_BxT, last_Bx1, axis=1)
        pooled_BxF = _pool(pooling, mask_BxT, z_BxTxF)
    else:
        reached_Bx1 = there_BxT.any(1, keepdims=True)
        pooled_BxF = _pool(pooling, there_BxT, z_BxTxF)
    return jnp.where(reached_Bx1, pooled_BxF, ABSENT)


def _pool(pooling: Pooling, mask_BxT: Array, z_BxTxF: Array) -> Array:
    mask_BxTx1 = mask_BxT[:, :, None]
    if pooling == "max":
        top_BxF = jnp.max(z_BxTxF, 1, where=mask_BxTx1, initial=-jnp.inf)
        # XLA's vectorised maximum on CPUs passes over NaN, whatever it is told.
        is_nan_BxF = jnp.any(jnp.isnan(z_BxTxF) & mask_BxTx1, 1)
        return jnp.where(is_nan_BxF, jnp.nan, top_BxF)
    if pooling == "mean":
        z_BxTxF = z_BxTxF.astype(jnp.float32)
        return jnp.mean(z_BxTxF, 1, where=mask_BxTx1)
    if pooling == "last":
        last_Bx1x1 = _last(mask_BxT)[:, None, None]
        last = jnp.take_along_axis(z_BxTxF, last_Bx1x1, axis=1)
        return last[:, 0]
    raise ValueError(f"unknown pooling {pooling!r}")


def _last(mask_BxT: Array) -> Array:
    """[B] the last token that the mask counts."""
    return mask_BxT.shape[1] - 1 - jnp.argmax(mask_BxT[:, ::-1], axis=1)


def token_moments(mask_BxT: Array, z_BxTxF: Array) -> Array:
    """Mean and variance over the tokens that the mask counts.

    The variance is summed about the mean: the mean of squares less the mean's square
    loses all of it to rounding where a unit is far from 0.

    Args:
      mask_BxT: bool; at least one token of each row counts.
      z_BxTxF: activations.

    Returns:
      [2, B, F] float32, so that sentences stay with their devices.
    """
    z_BxTxF = z_BxTxF.astype(jnp.float32)
    mask_BxTx1 = mask_BxT[:, :, None]
    mean_Bx1xF = jnp.mean(z_BxTxF, 1, where=mask_BxTx1, keepdims=True)
    variance_BxF = jnp.mean((z_BxTxF - mean_Bx1xF) ** 2, 1, where=mask_BxTx1)
    return jnp.stack([mean_Bx1xF[:, 0], variance_BxF])


def pool_every_token(z_BxTxF: Array, routed_BxT: Array | None = None) -> Array:
    """The maximum over all tokens: one pass over them, where `pool_tokens` takes three.

    Args:
      z_BxTxF: activations.
      routed_BxT: see `pool_tokens`.

    Returns:
      [B, F]; on CPUs, NaN is passed over.
    """
    if routed_BxT is None:
        return jnp.max(z_BxTxF, 1)
    there_BxTx1 = routed_BxT[:, :, None]
    top_BxF = jnp.max(z_BxTxF, 1, where=there_BxTx1, initial=-jnp.inf)
    return jnp.where(there_BxTx1.any(1), top_BxF, ABSENT)


def first_token(
    mask_BxT: Array, z_BxTxF: Array, routed_BxT: Array | None = None
) -> Array:
    """The activation at the first token that the mask counts.

    Args:
      mask_BxT: bool; at least one token of each row counts.
      z_BxTxF: activations.
      routed_BxT: see `pool_tokens`.

    Returns:
      [B, F]; `ABSENT` where that token does not reach the unit's expert.
    """
    first_Bx1 = jnp.argmax(mask_BxT, axis=1)[:, None]
    first = jnp.take_along_axis(z_BxTxF, first_Bx1[:, :, None], axis=1)[:, 0]
    if routed_BxT is None:
        return first
    reached_Bx1 = jnp.take_along_axis(routed_BxT, first_Bx1, axis=1)
    return jnp.where(reached_Bx1, first, ABSENT)


def first_of_all(z_BxTxF: Array, routed_BxT: Array | None = None) -> Array:
    """The same where every token counts: a slice.

    Args:
      z_BxTxF: activations.
      routed_BxT: see `pool_tokens`.

    Returns:
      [B, F]
    """
    if routed_BxT is None:
        return z_BxTxF[:, 0]
    return jnp.where(routed_BxT[:, :1], z_BxTxF[:, 0], ABSENT)


def marked_token(
    pooling: Pooling,
    mask_BxT: Array,
    z_BxTxF: Array,
    routed_BxT: Array | None = None,
) -> Array:
    """The token that stands for a response: where the activation is highest.

    Of "last", it is the last counted token, whose activation is the response.

    Args:
      pooling: as of `pool_tokens`.
      mask_BxT: likewise.
      z_BxTxF: likewise.
      routed_BxT: likewise.

    Returns:
      [B, F] int32 positions; the first one of several equal ones, and T where all
      activations are NaN or none reaches the expert.
    """
    if pooling == "last":
        last_Bx1 = _last(mask_BxT).astype(jnp.int32)[:, None]
        return jnp.broadcast_to(last_Bx1, (len(last_Bx1), z_BxTxF.shape[2]))
    counted_BxT = mask_BxT if routed_BxT is None else mask_BxT & routed_BxT
    counted_BxTxF = counted_BxT[:, :, None] & (z_BxTxF > -jnp.inf)
    z_BxTxF = jnp.where(counted_BxTxF, z_BxTxF, -jnp.inf)
    # XLA's argmax over tokens is not vectorised on CPUs. A maximum and a comparison
    # with it would be, but activations may be computed anew for each, in other code,
    # and none is then the maximum to the bit.
    return lax.platform_dependent(z_BxTxF, cpu=_highest_by_token, default=_highest)


def _highest(z_BxTxF: Array) -> Array:
    """[B, F] int32 the first highest token, T where all are -inf."""
    is_any_BxF = (z_BxTxF > -jnp.inf).any(1)
    first_BxF = jnp.argmax(z_BxTxF, axis=1).astype(jnp.int32)
    return jnp.where(is_any_BxF, first_BxF, z_BxTxF.shape[1])


def _highest_by_token(z_BxTxF: Array) -> Array:
    """The same, token after token."""
    top_BxF = jnp.full_like(z_BxTxF[:, 0], -jnp.inf)
    length = z_BxTxF.shape[1]

    def step(t: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        top_BxF, position_BxF = carry
        z_BxF = lax.dynamic_index_in_dim(z_BxTxF, t, axis=1, keepdims=False)
        is_higher_BxF = z_BxF > top_BxF
        return (
            jnp.where(is_higher_BxF, z_BxF, top_BxF),
            jnp.where(is_higher_BxF, t, position_BxF),
        )

    start = top_BxF, jnp.full_like(top_BxF, length, jnp.int32)
    return lax.fori_loop(0, length, step, start)[1]
