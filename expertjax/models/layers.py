"""What the families share: activations, norms, stacking and scanning blocks."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.edits import Cache, Probe, Tap
from expertjax.typing import Array

# Hugging Face's `hidden_act` names.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "gelu_fast": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_python": lambda x: jax.nn.gelu(x, approximate=False),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "sigmoid": jax.nn.sigmoid,
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


def clip(x: Array, low: float, high: float) -> Array:
    """Cut off at both ends; NaN stays, over which a minimum may pass."""
    return jnp.where(x > high, high, jnp.where(x < low, low, x))


def layer_norm(
    features: int,
    epsilon: float,
    rngs: nnx.Rngs,
    dtype: Any,
    *,
    use_bias: bool = True,
) -> nnx.Module:
    """LayerNorm as torch computes it.

    `use_fast_variance` would save a pass but cancels digits when the mean is
    large beside the spread, which residual streams are known for.
    """
    return nnx.LayerNorm(
        features,
        epsilon=epsilon,
        use_bias=use_bias,
        use_fast_variance=False,
        dtype=dtype,
        rngs=rngs,
    )


class RMSNorm(nnx.Module):
    """Root mean square norm (Zhang and Sennrich 2019), in float32 inside.

    The weight multiplies before the result is cast back, unless `cast_first`
    (Llama); `plus_one` stores the weight as its distance from 1 (Gemma).
    """

    def __init__(
        self,
        features: int | tuple[int, ...],
        epsilon: float,
        *,
        plus_one: bool = False,
        cast_first: bool = False,
    ) -> None:
        self.scale = nnx.Param(jnp.zeros(features) if plus_one else jnp.ones(features))
        self.epsilon, self.plus_one, self.cast_first = epsilon, plus_one, cast_first

    def __call__(self, x: Array) -> Array:
        """Normalises the last axis."""
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + self.epsilon)
        scale = self.scale[...].astype(jnp.float32) + float(self.plus_one)
        if self.cast_first:
            return y.astype(x.dtype) * scale.astype(x.dtype)
        return (y * scale).astype(x.dtype)


class LayerNorm(nnx.Module):
    """LayerNorm (Ba et al. 2016), in float32 inside.

    `plus_one` stores the weight as its distance from 1 (Nemotron). The last axis is
    normalised; the weight may be of more axes, and be another for each head.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        epsilon: float,
        *,
        use_scale: bool = True,
        use_bias: bool = False,
        plus_one: bool = False,
    ) -> None:
        start = jnp.zeros(shape) if plus_one else jnp.ones(shape)
        self.scale = nnx.Param(start) if use_scale else None
        self.bias = nnx.Param(jnp.zeros(shape)) if use_bias else None
        self.epsilon, self.plus_one = epsilon, plus_one

    def __call__(self, x: Array) -> Array:
        """Normalises the last axis."""
        y = x.astype(jnp.float32)
        y = y - jnp.mean(y, -1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + self.epsilon)
        if self.scale is not None:
            y = y * (self.scale[...].astype(jnp.float32) + float(self.plus_one))
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


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
    probe: Probe,
    *args: Any,
    share: np.ndarray | None = None,
) -> tuple[Array, dict[str, Array], Cache | None]:
    """Runs stacked blocks one after the other in a single compiled loop.

    Compile time does not grow with depth. Pooling happens inside the loop, so
    that no site's [B, T, F] activation outlives its layer.

    Args:
      blocks: made by `stack_blocks`; called as `block(x, tap, layer, *args)`.
      x_BxTxD: the residual stream.
      probe: what to do at the sites.
      *args: the same for all blocks (masks and the like).
      share: [L] which of the stacked blocks each layer uses, where layers share
        their weights; by default each its own.

    Returns:
      the residual stream after the last block, site name -> [L, B, F], and the
      cache of all layers; L is `probe.depth` where the probe has one.
    """
    graphdef, state = nnx.split(blocks)
    depth = jax.tree.leaves(state)[0].shape[0]
    layers = np.arange(depth if share is None else len(share))
    cache = probe.cache
    cached = None if cache is None else (cache.keys, cache.values)

    def body(x: Array, scanned: tuple) -> tuple[Array, tuple]:
        layer, state_of_layer, edit, chosen, kept = scanned
        if share is not None:
            which = jnp.asarray(share)[layer]
            state_of_layer = jax.tree.map(lambda leaf: leaf[which], state)
        block = nnx.merge(graphdef, state_of_layer)
        here = None if cache is None else Cache(kept[0], kept[1], cache.length)
        tap = Tap(probe._replace(edit=edit, chosen=chosen, cache=here))
        x = block(x, tap, layer, *args)
        kept = None if tap.cache is None else (tap.cache.keys, tap.cache.values)
        return x, (tap.recorded, kept)

    own = state if share is None else None
    scanned = (jnp.asarray(layers), own, probe.edit, probe.chosen, cached)
    if probe.depth is not None:
        scanned = jax.tree.map(lambda leaf: leaf[: probe.depth], scanned)
    x_BxTxD, (recorded, kept) = jax.lax.scan(body, x_BxTxD, scanned)
    if kept is not None:
        length = jnp.int32(0) if cache is None else cache.length
        cache = Cache(kept[0], kept[1], length + x_BxTxD.shape[1])
    return x_BxTxD, recorded, cache


def at_layer(values: Sequence[Any], layer: Array) -> Array:
    """The value of one layer, where a config says something for each."""
    return jnp.asarray(np.array(values))[layer]
