"""Choosing the next token from its logits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expertjax.typing import Array

_CANDIDATES = 256  # likeliest tokens that are looked at first
_WINDOW = 256  # tokens


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
    uniform_B = jax.vmap(jax.random.uniform)(keys_B)
    return jax.lax.cond(
        jnp.asarray(sampling.temperature) == 0,
        # XLA is slow at the argmax on CPUs, but not at this.
        lambda: jax.lax.top_k(logits_BxV, 1)[1][:, 0],
        lambda: _draw(logits_BxV, uniform_B, sampling),
    )


def _draw(logits_BxV: Array, uniform_B: Array, sampling: Sampling) -> Array:
    """A token for each sentence by its probability, from some of the likeliest.

    Where these hold all that may be drawn, in all sentences, they are enough; else the
    whole vocabulary is gone through. Both draw in the order of token numbers, so that a
    sentence gets the same token either way.
    """
    logits_BxV = logits_BxV / sampling.temperature
    few = min(_CANDIDATES, logits_BxV.shape[-1])
    top_BxC, token_BxC = jax.lax.top_k(logits_BxV, few)
    k = jnp.asarray(sampling.top_k)
    in_k_C = (jnp.arange(few) < k) | (k == 0)
    total_Bx1 = jnp.where(
        (k > 0) & (k <= few),
        jax.nn.logsumexp(top_BxC, -1, where=in_k_C, keepdims=True),
        jax.nn.logsumexp(logits_BxV, -1, keepdims=True),
    )
    p_BxC = jnp.where(in_k_C, jnp.exp(top_BxC - total_Bx1), 0)
    before_BxC = jnp.cumsum(p_BxC, axis=-1) - p_BxC
    kept_BxC = jnp.where(before_BxC < sampling.top_p, p_BxC, 0)
    reaches_p = (before_BxC[:, -1] >= sampling.top_p).all()
    is_enough = ((k > 0) & (k <= few)) | ((k == 0) & reaches_p)
    is_enough |= few == logits_BxV.shape[-1]

    def from_few() -> Array:
        token_by_number, p_by_number = jax.lax.sort((token_BxC, kept_BxC), num_keys=1)
        place_B = _inverse(p_by_number, uniform_B)
        return jnp.take_along_axis(token_by_number, place_B[:, None], axis=1)[:, 0]

    def from_all() -> Array:
        kept = keep_likeliest(logits_BxV, sampling._replace(temperature=1.0))
        return _inverse_of_many(jnp.exp(kept - kept.max(-1, keepdims=True)), uniform_B)

    return jax.lax.cond(is_enough, from_few, from_all)


def _inverse(p_BxN: Array, uniform_B: Array) -> Array:
    """[B] where the running sum of weights passes a share of their total."""
    sum_BxN = jnp.cumsum(p_BxN, axis=-1)
    wanted_Bx1 = uniform_B[:, None] * sum_BxN[:, -1:]
    passed_BxN = (sum_BxN > wanted_Bx1) & (p_BxN > 0)
    last_B = p_BxN.shape[-1] - 1 - jnp.argmax(p_BxN[:, ::-1] > 0, axis=-1)
    # Rounding may leave none that passes: then it is the last that may be drawn.
    place_B = jnp.where(passed_BxN.any(-1), jnp.argmax(passed_BxN, axis=-1), last_B)
    return place_B.astype(jnp.int32)


def _inverse_of_many(p_BxV: Array, uniform_B: Array) -> Array:
    """`_inverse` in two steps: long running sums are slow, and round more."""
    batch, size = p_BxV.shape
    p_BxMxW = jnp.pad(p_BxV, ((0, 0), (0, -size % _WINDOW))).reshape(batch, -1, _WINDOW)
    window_BxM = p_BxMxW.sum(-1)
    window_B = _inverse(window_BxM, uniform_B)
    rows = jnp.arange(batch)
    before_B = (jnp.cumsum(window_BxM, axis=-1) - window_BxM)[rows, window_B]
    inside_B = uniform_B * window_BxM.sum(-1) - before_B
    share_B = jnp.clip(inside_B / window_BxM[rows, window_B], 0, 1)
    return window_B * _WINDOW + _inverse(p_BxMxW[rows, window_B], share_B)


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
