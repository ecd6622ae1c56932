"""Attention and positions: what the families share."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from expertjax.models.edits import Tap
from expertjax.typing import Array


class Inputs(NamedTuple):
    """Tokens, where they stand, and which keys they may see.

    Without a key-value cache, keys are the tokens themselves and S = T.

    Attributes:
      tokens: [B, T] int.
      positions: [B, T] int, from 0 at a sentence's first real token, whether it
        is padded on the left or on the right.
      key_valid: [B, S] bool, True at real tokens.
      key_positions: [B, S] int.
    """

    tokens: Array
    positions: Array
    key_valid: Array
    key_positions: Array

    @classmethod
    def of(cls, tokens_BxT: Array, mask_BxT: Array) -> "Inputs":
        """The inputs of a plain forward pass.

        Args:
          tokens_BxT: token ids.
          mask_BxT: 1 at real tokens; padding on either side, none in between.
        """
        valid = jnp.asarray(mask_BxT).astype(bool)
        start_Bx1 = jnp.argmax(valid, axis=1)[:, None]
        # Right padding goes on counting, as torch does; left padding stays at 0.
        positions = jnp.maximum(jnp.arange(valid.shape[1])[None] - start_Bx1, 0)
        return cls(jnp.asarray(tokens_BxT), positions, valid, positions)

    @classmethod
    def repeating(cls, tokens_BxT: Array, mask_BxT: Array) -> "Inputs":
        """Padding as copies of each sentence's last token, at the same position.

        Nothing attends to a copy, and a copy computes at every layer what the token
        does. So the maximum over all tokens is that over the real ones.

        Args:
          tokens_BxT: token ids.
          mask_BxT: 1 at real tokens; padding on the right.
        """
        valid = jnp.asarray(mask_BxT).astype(bool)
        last_Bx1 = jnp.sum(valid, axis=1, keepdims=True) - 1
        positions = jnp.minimum(jnp.arange(valid.shape[1])[None], last_Bx1)
        tokens = jnp.take_along_axis(jnp.asarray(tokens_BxT), positions, axis=1)
        return cls(tokens, positions, valid, positions)

    def mask(self, *, causal: bool, window: int | None = None) -> Array:
        """[B, 1, T, S] bool: may token t attend to key s?

        Args:
          causal: only to keys that stand before it, or to itself.
          window: only to keys less than this many positions away.
        """
        distance_BxTxS = self.positions[:, :, None] - self.key_positions[:, None, :]
        allowed = jnp.broadcast_to(self.key_valid[:, None, :], distance_BxTxS.shape)
        if causal:
            # Padding on the left shares position 0 with the first real token, but
            # is not valid as a key.
            allowed = allowed & (distance_BxTxS >= 0)
        if window is not None:
            allowed = allowed & (jnp.abs(distance_BxTxS) < window)
        return allowed[:, None]


def split_heads(z_BxTxD: Array, num_heads: int) -> Array:
    """[B, T, H * K] -> [B, T, H, K]."""
    return z_BxTxD.reshape(*z_BxTxD.shape[:2], num_heads, -1)


def split_fused_heads(z_BxTx3D: Array, num_heads: int) -> tuple[Array, Array, Array]:
    """[B, T, H * 3 * K] -> queries, keys and values, [B, T, H, K] each.

    Of Megatron's layout, in which a head's query, key and value are neighbours.
    """
    z_BxTxHx3K = split_heads(z_BxTx3D, num_heads)
    query, key, value = jnp.split(z_BxTxHx3K, 3, axis=-1)
    return query, key, value


def split_groups(
    z_BxTxN: Array, num_heads: int, num_kv_heads: int
) -> tuple[Array, Array, Array]:
    """[B, T, (H + 2 G) * K] -> queries [B, T, H * K], keys and values [B, T, G * K].

    Of a layout in which the queries that share a key, that key and its value are
    neighbours.
    """
    groups = split_heads(z_BxTxN, num_kv_heads)
    per_head = groups.shape[-1] // (num_heads // num_kv_heads + 2)
    ends = (groups.shape[-1] - 2 * per_head, groups.shape[-1] - per_head)
    q, k, v = (z.reshape(*z.shape[:2], -1) for z in jnp.split(groups, ends, axis=-1))
    return q, k, v


def attend(
    tap: Tap,
    q_BxTxHxK: Array,
    k_BxSxGxK: Array,
    v_BxSxGxK: Array,
    mask_Bx1xTxS: Array,
    *,
    scale: float | Array,
    bias: Array | None = None,
    softcap: float | None = None,
    sinks_H: Array | None = None,
) -> Array:
    """Multi-head attention; G key-value heads serve H query heads.

    Args:
      tap: of this layer; holds the key-value cache where there is one.
      q_BxTxHxK: queries, positions already applied.
      k_BxSxGxK: keys, likewise.
      v_BxSxGxK: values; their heads may have another width.
      mask_Bx1xTxS: may they see each other?
      scale: of the scores; may differ by layer.
      bias: added to the scores, broadcast to [B, H, T, S].
      softcap: scores become `softcap * tanh(scores / softcap)`, before the mask.
      sinks_H: scores of one more key, whose value is 0 and which all see.

    Returns:
      [B, T, H * K]: the heads' outputs, side by side.
    """
    k_BxSxGxK, v_BxSxGxK = tap.remember(k_BxSxGxK, v_BxSxGxK)
    same_width = k_BxSxGxK.shape[-1] == v_BxSxGxK.shape[-1]
    if softcap is None and sinks_H is None and same_width:
        q_BxTxHxK = q_BxTxHxK * jnp.asarray(scale, q_BxTxHxK.dtype)
        out = jax.nn.dot_product_attention(
            q_BxTxHxK, k_BxSxGxK, v_BxSxGxK, bias=bias, mask=mask_Bx1xTxS, scale=1.0
        )
        return out.reshape(*out.shape[:2], -1)
    repeats = q_BxTxHxK.shape[2] // k_BxSxGxK.shape[2]
    k, v = (jnp.repeat(z, repeats, axis=2) for z in (k_BxSxGxK, v_BxSxGxK))
    scores = jnp.einsum("bthk,bshk->bhts", q_BxTxHxK, k).astype(jnp.float32) * scale
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    scores = jnp.where(mask_Bx1xTxS, scores, jnp.finfo(jnp.float32).min)
    if sinks_H is not None:
        one = (*scores.shape[:-1], 1)
        sinks = jnp.broadcast_to(sinks_H.astype(jnp.float32)[:, None, None], one)
        scores = jnp.concatenate([scores, sinks], axis=-1)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    weights = weights if sinks_H is None else weights[..., :-1]
    out = jnp.einsum("bhts,bshk->bthk", weights, v)
    return out.reshape(*out.shape[:2], -1)


class Rotary(NamedTuple):
    """Cosines and sines of each token's rotation (Su et al. 2021).

    Attributes:
      cos: [B, T, R] with R the width that is rotated.
      sin: likewise.
      interleaved: are pairs neighbours (GPT-J), or R / 2 apart (GPT-NeoX)?
    """

    cos: Array
    sin: Array
    interleaved: bool = False

    @classmethod
    def of(
        cls,
        positions_BxT: Array,
        frequencies: np.ndarray,
        *,
        scale: float = 1.0,
        interleaved: bool = False,
    ) -> "Rotary":
        """Rotations at some positions.

        Args:
          positions_BxT: from `Inputs`.
          frequencies: [R / 2] radians per position.
          scale: of cosine and sine (YaRN's attention factor).
          interleaved: see the class.
        """
        angles = positions_BxT[..., None].astype(jnp.float32) * jnp.asarray(
            frequencies, jnp.float32
        )
        twice: Callable[[Array], Array] = (
            (lambda a: jnp.repeat(a, 2, axis=-1))
            if interleaved
            else (lambda a: jnp.concatenate([a, a], axis=-1))
        )
        angles = twice(angles)
        return cls(jnp.cos(angles) * scale, jnp.sin(angles) * scale, interleaved)

    def __call__(self, z_BxTxHxK: Array) -> Array:
        """Rotates the first R of each head's K coordinates."""
        width = self.cos.shape[-1]
        turned, kept = z_BxTxHxK[..., :width], z_BxTxHxK[..., width:]
        cos, sin = (t[:, :, None, :].astype(jnp.float32) for t in (self.cos, self.sin))
        x = turned.astype(jnp.float32)
        if self.interleaved:
            half = jnp.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
        else:
            first, second = jnp.split(x, 2, axis=-1)
            half = jnp.concatenate([-second, first], axis=-1)
        rotated = (x * cos + half * sin).astype(z_BxTxHxK.dtype)
        return jnp.concatenate([rotated, kept], axis=-1)


def rotary_frequencies(width: int, theta: float) -> np.ndarray:
    """[width / 2] radians per position: `theta ** (-2 i / width)`."""
    return 1.0 / theta ** (np.arange(0, width, 2, dtype=np.float64) / width)


def alibi_slopes(num_heads: int) -> np.ndarray:
    """[H] slopes of the distance penalty (Press et al. 2022, section 3)."""
    power = 2 ** int(np.floor(np.log2(num_heads)))
    slopes = 2.0 ** (-8.0 / power * np.arange(1, power + 1))
    if power < num_heads:
        # The slopes of twice as many heads, every other one.
        more = 2.0 ** (-4.0 / power * np.arange(1, 2 * power + 1, 2))
        slopes = np.concatenate([slopes, more[: num_heads - power]])
    return slopes


def alibi_bias(key_positions_BxS: Array, num_heads: int) -> Array:
    """[B, H, 1, S]: slope times position, each rounded to bfloat16 as Falcon does.

    A position alone is as good as the distance to it, which differs by a constant of
    the query.
    """

    def rounded(x: Array) -> Array:
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)

    slopes_H = rounded(jnp.asarray(alibi_slopes(num_heads), jnp.float32))
    positions_BxS = rounded(key_positions_BxS.astype(jnp.float32))
    return rounded(slopes_H[:, None, None] * positions_BxS[:, None, None, :])


def relative_buckets(
    distance: Array,
    num_buckets: int,
    max_distance: int = 128,
    *,
    causal: bool = False,
) -> Array:
    """The buckets of keys by their distance (Raffel et al. 2020, section 2.1).

    Half of them are for keys behind the query, unless none is seen. The first half of
    either are for one distance each, the others for ranges that grow in proportion to
    it.

    Args:
      distance: int, the key's position less the query's.
      num_buckets: a multiple of 4.
      max_distance: from here on all are in the last bucket.
      causal: all buckets are for keys before the query.

    Returns:
      int of the same shape.
    """
    per_side = num_buckets if causal else num_buckets // 2
    exact = per_side // 2
    # A table made once in float32, so that it rounds as torch does.
    n = np.arange(max_distance + 1, dtype=np.float32)
    ranges = np.log(np.maximum(n, exact) / exact) / np.float32(
        np.log(max_distance / exact)
    )
    far = np.minimum(exact + (ranges * (per_side - exact)).astype(int), per_side - 1)
    table = np.where(n < exact, n.astype(int), far)
    bucket = jnp.asarray(table)[jnp.minimum(jnp.abs(distance), max_distance)]
    return bucket if causal else bucket + per_side * (distance > 0)
