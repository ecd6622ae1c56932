"""What the families share: scanning blocks, attention, activations, positions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.edits import Edit, Tap
from expertjax.typing import Array, PoolFn

# Hugging Face's `hidden_act` names.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


def activation(name: str) -> Callable[[Array], Array]:
    """The activation function that a Hugging Face config names.

    Raises:
      InputError: we do not have it.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise InputError(f"activation {name!r} is not known here; known: {known}")
    return ACTIVATIONS[name]


def layer_norm(features: int, epsilon: float, rngs: nnx.Rngs, dtype: Any) -> nnx.Module:
    """LayerNorm as torch computes it.

    `use_fast_variance` would save a pass but cancels digits when the mean is
    large beside the spread, which residual streams are known for.
    """
    return nnx.LayerNorm(
        features, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs
    )


def stack_blocks(
    make: Callable[[nnx.Rngs], nnx.Module], num_layers: int, rngs: nnx.Rngs
) -> nnx.Module:
    """L blocks as one module whose parameters are [L, ...]."""

    @nnx.split_rngs(splits=num_layers)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def stacked(rngs: nnx.Rngs) -> nnx.Module:
        return make(rngs)

    return stacked(rngs)


def scan_blocks(
    blocks: nnx.Module,
    x_BxTxD: Array,
    *args: Any,
    edit: Edit | None = None,
    pool: PoolFn | None = None,
    record: frozenset[str] = frozenset(),
) -> tuple[Array, dict[str, Array]]:
    """Runs stacked blocks one after the other in a single compiled loop.

    Compile time does not grow with depth. Pooling happens inside the loop, so
    that no site's [B, T, F] activation outlives its layer.

    Args:
      blocks: made by `stack_blocks`; called as `block(x, tap, layer, *args)`.
      x_BxTxD: the residual stream.
      *args: the same for all blocks (masks and the like).
      edit: [L, ...] affine changes, or None.
      pool: reduces [B, T, F] to [B, F]; None records nothing.
      record: names of the sites to pool.

    Returns:
      the residual stream after the last block, and site name -> [L, B, F].
    """
    graphdef, state = nnx.split(blocks)
    num_layers = jax.tree.leaves(state)[0].shape[0]

    def body(x: Array, scanned: tuple) -> tuple[Array, dict[str, Array]]:
        layer, state_of_layer, edit_of_layer = scanned
        block = nnx.merge(graphdef, state_of_layer)
        tap = Tap(edit_of_layer, pool, record)
        x = block(x, tap, layer, *args)
        return x, tap.recorded

    return jax.lax.scan(body, x_BxTxD, (jnp.arange(num_layers), state, edit))


def positions_from_mask(mask_BxT: Array) -> Array:
    """[B, T] int32 positions that start at 0 at the first valid token.

    The same sentence gets the same positions whether it is padded on the left
    or on the right. Right padding goes on counting, as torch's default does;
    left padding stays at 0.
    """
    start_Bx1 = jnp.argmax(mask_BxT.astype(jnp.int32), axis=1)[:, None]
    return jnp.maximum(jnp.arange(mask_BxT.shape[1])[None, :] - start_Bx1, 0)


def attention_mask(mask_BxT: Array, causal: bool) -> Array:
    """[B, 1, T, T] bool: may query t attend to key s?"""
    allowed = mask_BxT.astype(bool)[:, None, None, :]
    length = mask_BxT.shape[1]
    if causal:
        lower = jnp.tril(jnp.ones((length, length), bool))[None, None]
        return jnp.logical_and(allowed, lower)
    return jnp.broadcast_to(allowed, (mask_BxT.shape[0], 1, length, length))


def attend(
    q_BxTxD: Array,
    k_BxTxD: Array,
    v_BxTxD: Array,
    mask_Bx1xTxT: Array,
    num_heads: int,
    scale: float | Array,
) -> Array:
    """Multi-head attention of already projected queries, keys and values.

    Args:
      scale: multiplies the queries, so that it may differ by layer.

    Returns:
      [B, T, D]: the heads' outputs, side by side.
    """

    def heads(z_BxTxD: Array) -> Array:
        return z_BxTxD.reshape(*z_BxTxD.shape[:2], num_heads, -1)

    q_BxTxHxK = heads(q_BxTxD) * jnp.asarray(scale, q_BxTxD.dtype)
    out_BxTxHxK = jax.nn.dot_product_attention(
        q_BxTxHxK, heads(k_BxTxD), heads(v_BxTxD), mask=mask_Bx1xTxT, scale=1.0
    )
    return out_BxTxHxK.reshape(q_BxTxD.shape)
