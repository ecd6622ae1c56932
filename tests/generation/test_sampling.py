"""Sampling against numpy and against Hugging Face's rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expertjax.generation.sampling import Sampling, choose, keep_likeliest
from tests import bounds


def logits(seed: int = 0, batch: int = 6, vocabulary: int = 200) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(0, 3, (batch, vocabulary)).astype(np.float32)


@pytest.mark.parametrize("k", [0, 1, 5, 199, 200, 500])
def test_top_k_keeps_the_k_likeliest(k: int) -> None:
    x = logits()
    kept = np.isfinite(keep_likeliest(jnp.asarray(x), Sampling(1.0, k, 1.0, 1.0)))
    assert (kept.sum(1) == (min(k, 200) or 200)).all()
    for row in range(len(x)):
        assert kept[row, np.argsort(-x[row])[: kept[row].sum()]].all()


@pytest.mark.parametrize("p", [1e-6, 0.3, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_fewest_of_that_probability(p: float) -> None:
    x = logits(1)
    kept = np.isfinite(keep_likeliest(jnp.asarray(x), Sampling(0.7, 0, p, 1.0)))
    exact = np.exp(x.astype(float) / 0.7)
    exact /= exact.sum(1, keepdims=True)
    for row in range(len(x)):
        order = np.argsort(-exact[row])
        count = min(int(np.searchsorted(np.cumsum(exact[row, order]), p)) + 1, 200)
        assert abs(int(kept[row].sum()) - count) <= (p > 0.99)
        assert kept[row, order[: kept[row].sum()]].all()


def test_top_k_and_top_p_are_those_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    x = logits(2)
    wanted = torch.from_numpy(x)
    for warp in (
        TemperatureLogitsWarper(0.8),
        TopKLogitsWarper(40),
        TopPLogitsWarper(0.9),
    ):
        wanted = warp(None, wanted)
    got = np.asarray(keep_likeliest(jnp.asarray(x), Sampling(0.8, 40, 0.9, 1.0)))
    np.testing.assert_allclose(got, wanted.numpy(), rtol=bounds.roundings(4))


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    from transformers import RepetitionPenaltyLogitsProcessor

    x = logits(3, batch=1)
    there = np.argsort(-x[0])[[0, 3, 150, 190]]
    penal = RepetitionPenaltyLogitsProcessor(1.7)
    wanted = penal(torch.from_numpy(there[None]), torch.from_numpy(x))
    seen = np.zeros(x.shape, bool)
    seen[0, there] = True
    keys = jax.random.split(jax.random.key(0), 1)
    got = choose(jnp.asarray(x), jnp.asarray(seen), keys, Sampling(0.0, 0, 1.0, 1.7))
    assert int(got[0]) == int(wanted.argmax())


def test_tokens_come_as_often_as_they_are_likely() -> None:
    x = np.tile(logits(4, batch=1, vocabulary=20), (20_000, 1))
    keys = jax.random.split(jax.random.key(1), len(x))
    sampling = Sampling(1.3, 0, 0.95, 1.0)
    drawn = np.asarray(choose(jnp.asarray(x), jnp.zeros(x.shape, bool), keys, sampling))
    kept = np.asarray(keep_likeliest(jnp.asarray(x[:1]), sampling))[0]
    wanted = np.exp(kept) / np.exp(kept).sum()
    share = np.bincount(drawn, minlength=20) / len(x)
    assert (share[wanted == 0] == 0).all()
    assert np.abs(share - wanted).max() < 4 * np.sqrt(0.25 / len(x))


def test_a_choice_depends_on_its_own_key_only() -> None:
    x = jnp.asarray(logits(5))
    keys = jax.random.split(jax.random.key(2), 6)
    none = jnp.zeros(x.shape, bool)
    sampling = Sampling(1.0, 0, 0.9, 1.0)
    together = np.asarray(choose(x, none, keys, sampling))
    alone = [
        int(choose(x[i : i + 1], none[:1], keys[i : i + 1], sampling)[0])
        for i in range(6)
    ]
    assert together.tolist() == alone


@pytest.mark.parametrize("p", [0.5, 0.99])
def test_few_candidates_draw_what_the_whole_vocabulary_would(p: float) -> None:
    """A batch with a flat sentence goes through all; its neighbours draw the same."""
    x = logits(7, batch=65, vocabulary=5000)
    x[:64] *= 2
    x[64] = 0.0
    keys = jax.random.split(jax.random.key(4), 65)
    none = jnp.zeros(x.shape, bool)
    sampling = Sampling(1.0, 0, p, 1.0)
    by_all = np.asarray(choose(jnp.asarray(x), none, keys, sampling))
    by_few = np.asarray(choose(jnp.asarray(x[:64]), none[:64], keys[:64], sampling))
    assert (by_all[:64] == by_few).mean() >= 63 / 64  # up to the rounding of sums
    assert len(set(by_few.tolist())) > 30


def test_a_large_vocabulary_is_drawn_by_its_probabilities() -> None:
    x = np.tile(logits(8, batch=1, vocabulary=1000), (20_000, 1))
    keys = jax.random.split(jax.random.key(5), len(x))
    drawn = choose(
        jnp.asarray(x), jnp.zeros(x.shape, bool), keys, Sampling(2.0, 0, 1.0, 1.0)
    )
    wanted = np.exp(x[0] / 2) / np.exp(x[0] / 2).sum()
    share = np.bincount(np.asarray(drawn), minlength=1000) / len(x)
    assert np.abs(share - wanted).max() < 5 * np.sqrt(wanted.max() / len(x))


def test_greedy_takes_the_likeliest() -> None:
    x = logits(6)
    keys = jax.random.split(jax.random.key(3), 6)
    got = choose(
        jnp.asarray(x), jnp.zeros(x.shape, bool), keys, Sampling(0.0, 3, 0.5, 1.0)
    )
    np.testing.assert_array_equal(got, x.argmax(1))
