"""Choosing the next token from its logits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expertjax.typing import Array


class Sampling(NamedTuple):
    """How a token is chosen; numbers, so that others need no compiling.

    Attributes:
      temperature: divides the logits; 0 takes the likeliest token.
      top_k: only of so many likeliest tokens; 0 for all.
      top_p: only of the fewest tokens that have this probability together (Holtzman et
        al. 2020, section 3.1).
      penalty: divides positive and multiplies negative logits of tokens that are there
        already (Keskar et al. 2019, section 4.1).
    """

    temperature: Array | float
    top_k: Array | int
    top_p: Array | float
    penalty: Array | float


def choose(
    logits_BxV: Array, seen_BxV: Array, keys_B: Array, sampling: Sampling
) -> Array:
    """Chooses a token for each sentence.

    A sentence's choice depends on its own logits and key only, not on the batch.

    Args:
      logits_BxV: of the next token.
      seen_BxV: bool, tokens that are in the sentence already.
      keys_B: random keys.
      sampling: see there.

    Returns:
      [B] int32.
    """
    logits_BxV = logits_BxV.astype(jnp.float32)
    penalised = jnp.where(logits_BxV > 0, 1 / sampling.penalty, sampling.penalty)
    logits_BxV = jnp.where(seen_BxV, logits_BxV * penalised, logits_BxV)
    return jax.lax.cond(
        jnp.asarray(sampling.temperature) == 0,
        lambda: jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32),
        lambda: _draw(keep_likeliest(logits_BxV, sampling), keys_B),
    )


def keep_likeliest(logits_BxV: Array, sampling: Sampling) -> Array:
    """Logits at the temperature, -inf where top-k or top-p leave a token out."""
    logits_BxV = logits_BxV / sampling.temperature

    def top_k(logits_BxV: Array) -> Array:
        enough = _largest(
            logits_BxV, lambda kept_BxV: kept_BxV.sum(-1) >= sampling.top_k
        )
        return jnp.where(logits_BxV >= enough, logits_BxV, -jnp.inf)

    def top_p(logits_BxV: Array) -> Array:
        probability_BxV = jax.nn.softmax(logits_BxV)
        enough = _largest(
            logits_BxV,
            lambda kept_BxV: (
                jnp.where(kept_BxV, probability_BxV, 0).sum(-1) >= sampling.top_p
            ),
        )
        return jnp.where(logits_BxV >= enough, logits_BxV, -jnp.inf)

    vocabulary = logits_BxV.shape[-1]
    k = jnp.asarray(sampling.top_k)
    logits_BxV = jax.lax.cond(
        (k > 0) & (k < vocabulary), top_k, lambda x: x, logits_BxV
    )
    return jax.lax.cond(jnp.asarray(sampling.top_p) < 1, top_p, lambda x: x, logits_BxV)


def _largest(logits_BxV: Array, is_enough: Callable[[Array], Array]) -> Array:
    """[B, 1] the largest threshold that keeps enough, found bit by bit.

    No sorting, which XLA does slowly on CPUs: floats are put in the order of integers,
    of which 32 halvings leave one.
    """
    bits = jax.lax.bitcast_convert_type(logits_BxV, jnp.int32)
    order_BxV = jnp.where(bits < 0, jnp.int32(-(2**31)) - bits - 1, bits)
    low = jnp.full(logits_BxV.shape[0], -(2**31), jnp.int32)
    high = jnp.full(logits_BxV.shape[0], 2**31 - 1, jnp.int32)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        # The mean, rounded up, without overflow.
        middle = (low >> 1) + (high >> 1) + ((low | high) & 1)
        good = is_enough(order_BxV >= middle[:, None])
        return jnp.where(good, middle, low), jnp.where(good, high, middle - 1)

    low, _ = jax.lax.fori_loop(0, 32, halve, (low, high))
    kept_BxV = order_BxV >= low[:, None]
    return jnp.min(logits_BxV, -1, where=kept_BxV, initial=jnp.inf)[:, None]


def _draw(logits_BxV: Array, keys_B: Array) -> Array:
    """A token by its probability: the largest of logits and Gumbel noise."""
    vocabulary = logits_BxV.shape[-1]
    noise_BxV = jax.vmap(lambda key: jax.random.gumbel(key, (vocabulary,)))(keys_B)
    return jnp.argmax(logits_BxV + noise_BxV, axis=-1).astype(jnp.int32)
