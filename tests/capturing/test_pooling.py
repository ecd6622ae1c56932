import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expertjax.absent import ABSENT
from expertjax.capturing.pooling import pool_tokens
from expertjax.capturing.pools import Maximum, pool_fn
from expertjax.models.routing import Routing
from tests import bounds

B, T, F = 5, 9, 4
# Right padding, left padding, holes, one token, all tokens.
MASK = np.array(
    [
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 1, 1],
        [0, 1, 1, 0, 1, 0, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
    ],
    bool,
)
ORACLE = {
    "max": lambda z: z.max(axis=0),
    "mean": lambda z: z.mean(axis=0),
    "last": lambda z: z[-1],
}


def activations(sign: float = 1.0) -> np.ndarray:
    z = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
    z = sign * np.abs(z)
    z[~MASK] = 1e9  # padding would win
    return z


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_only_counted_tokens_are_pooled(pooling: Any, sign: float):
    z = activations(sign)
    pooled = np.asarray(pool_tokens(pooling, jnp.asarray(MASK), jnp.asarray(z)))
    wanted = np.stack([ORACLE[pooling](z[b][MASK[b]]) for b in range(B)])
    assert pooled.dtype == np.float32
    if pooling == "mean":
        np.testing.assert_allclose(pooled, wanted, rtol=bounds.roundings(T))
    else:
        assert (pooled == wanted).all()


@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_the_pool_function_compiles_and_says_the_same(pooling: Any):
    z, mask = jnp.asarray(activations()), jnp.asarray(MASK)
    compiled = jax.jit(lambda mask, z: pool_fn(pooling, mask)(z))(mask, z)
    wanted = pool_tokens(pooling, mask, z)
    np.testing.assert_allclose(compiled, wanted, rtol=bounds.roundings(T))


def test_the_mean_of_narrow_activations_is_taken_in_float32():
    z = jnp.ones((1, 1000, 1), jnp.bfloat16).at[0, 0, 0].set(129)
    mean = pool_tokens("mean", jnp.ones((1, 1000), bool), z)
    assert mean.dtype == jnp.float32
    assert float(mean[0, 0]) == pytest.approx(1.128, rel=bounds.roundings(1000))


@pytest.mark.parametrize("token", [0, 1, 2])
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_an_activation_that_is_no_number_is_not_hidden(pooling: Any, token: int):
    z, mask = jnp.asarray(activations()), jnp.asarray(MASK)
    z = z.at[0, token, 2].set(jnp.nan)
    pooled = jax.jit(lambda z: pool_tokens(pooling, mask, z))(z)
    assert np.isnan(pooled).nonzero()[0].tolist() == [0]
    assert np.isnan(pooled[0, 2])


def test_padding_that_is_no_number_does_not_count():
    z = jnp.asarray(np.where(MASK[:, :, None], activations(), np.nan))
    pooled = jax.jit(lambda z: pool_tokens("max", jnp.asarray(MASK), z))(z)
    assert np.isfinite(pooled).all()


def test_an_unknown_pooling_is_an_error():
    with pytest.raises(ValueError, match="median"):
        pool_tokens("median", jnp.asarray(MASK), jnp.asarray(activations()))


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("rows", [1, 2, 8, 32])
def test_a_nan_shows_however_many_rows_a_device_has(pooling: Any, rows: int):
    """XLA's vectorised maximum on CPUs would pass over it."""
    random = np.random.default_rng(0)
    z = random.normal(size=(rows, 16, 96)).astype(np.float32)
    mask = np.arange(16) < random.integers(8, 17, (rows, 1))
    z[0, 3, 7] = np.nan
    z[-1, :, 11] = np.nan
    z[-1, 15, 20], mask[-1, 15] = np.nan, False  # padding does not count
    pooled = jax.jit(functools.partial(pool_tokens, pooling))(mask, z)
    wrong = {(int(row), int(unit)) for row, unit in np.argwhere(np.isnan(pooled))}
    assert wrong == {(0, 7), (rows - 1, 11)}


@pytest.mark.parametrize("with_first", [False, True])
@pytest.mark.parametrize("every_token", [False, True])
def test_experts_pooled_at_once_are_pooled_one_by_one(
    every_token: bool, with_first: bool
):
    draw, experts = np.random.default_rng(1), [0, 2, 5]
    logits = jnp.asarray(draw.normal(size=(B, T, 9)), jnp.float32)
    z_RxF = draw.normal(size=(B * T, 17)).astype(np.float32)
    z_RxF[draw.random(z_RxF.shape) < 0.1] = np.nan
    pool = Maximum(jnp.asarray(MASK), every_token, with_first)

    @jax.jit
    def both_ways(logits: Any, z_RxF: Any) -> Any:
        routing = Routing.of(logits, 1, True)
        rows = routing.rows()[np.array(experts)]
        one_by_one = [
            pool(z_RxF.at[row].get(mode="fill", fill_value=0), row < len(z_RxF))
            for row in rows
        ]
        return pool.of_experts(z_RxF, routing, experts), jnp.stack(one_by_one)

    ours, wanted = map(np.asarray, both_ways(logits, jnp.asarray(z_RxF)))
    assert 0 < (wanted == ABSENT).mean() < 1 and np.isnan(wanted).any()
    if every_token:  # of which some platforms pass over NaN
        wanted = np.where(np.isnan(ours), np.nan, wanted)
    np.testing.assert_array_equal(ours, wanted)
