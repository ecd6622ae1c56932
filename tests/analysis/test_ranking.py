"""r^2, Spearman, gamma* and its three payments against plain loops."""

import time

import numpy as np
import pytest
from scipy import stats

from expertjax.analysis.presence import ModelPresence, Presence
from expertjax.analysis.ranking import rank
from expertjax.errors import InputError

GAMMAS = np.linspace(0.5, 1, 51)


def make_presence(experts_MxG: np.ndarray, num_units: int = 1000) -> Presence:
    """Models of one layer with these counts."""
    models = [
        ModelPresence(
            f"m{i}",
            np.arange(1),
            np.array([num_units]),
            row.clip(max=40),
            row[None].clip(max=40),
            row[None],
            row[None] // 2,
        )
        for i, row in enumerate(experts_MxG)
    ]
    gammas = GAMMAS[: experts_MxG.shape[1]]
    return Presence(tuple("abc"), gammas, tuple(models), False, {})


def planted(num_models: int, seed: int, noise: float = 0.3, at: int = 30):
    """Counts that tell the scores best at GAMMAS[at]; scores of the models."""
    rng = np.random.default_rng(seed)
    quality_M = rng.normal(size=num_models)
    spread_G = noise + np.abs(np.arange(51) - at) / 5
    x_MxG = quality_M[:, None] + spread_G * rng.normal(size=(num_models, 51))
    experts_MxG = (200 + 30 * x_MxG).clip(0).astype(int)
    scores = 70 + 5 * quality_M + rng.normal(size=num_models)
    return experts_MxG, {f"m{i}": float(s) for i, s in enumerate(scores)}


def best_of(x_MxG: np.ndarray, y_M: np.ndarray) -> tuple[int, float]:
    """The slow way: gamma* and its r^2."""
    if not np.ptp(y_M):
        return 0, -1.0
    r2 = [np.corrcoef(x, y_M)[0, 1] ** 2 if np.ptp(x) else -1.0 for x in x_MxG.T]
    return int(np.argmax(r2)), max(r2)


def test_planted_relation_against_scipy() -> None:
    experts_MxG, scores = planted(20, 0)
    y_M = np.array(list(scores.values()))
    found = rank(make_presence(experts_MxG), scores, ["experts"])
    for g in (0, 30, 50):
        row = found.table.iloc[g]
        fit = stats.linregress(experts_MxG[:, g], y_M)
        assert row["r2"] == pytest.approx(fit.rvalue**2)
        assert row["r"] == pytest.approx(fit.rvalue)
        spearman = stats.spearmanr(experts_MxG[:, g], y_M)[0]
        assert row["spearman"] == pytest.approx(spearman)
    (best,) = found.best.to_dict("records")
    at, r2 = best_of(experts_MxG, y_M)
    assert best["gamma"] == GAMMAS[at] and best["r2"] == pytest.approx(r2)
    assert abs(at - 30) <= 2  # where it was planted
    assert best["p"] == pytest.approx(1 / 10_000) and not found.warnings


def test_one_model_left_out_against_a_loop() -> None:
    experts_MxG, scores = planted(12, 1, noise=1.0)
    y_M = np.array(list(scores.values()))
    found = rank(make_presence(experts_MxG), scores, ["experts"])
    predicted, gammas, means = [], [], []
    for i in range(12):
        x, y = np.delete(experts_MxG, i, 0), np.delete(y_M, i)
        at, _ = best_of(x, y)
        fit = stats.linregress(x[:, at], y)
        predicted.append(fit.intercept + fit.slope * experts_MxG[i, at])
        gammas.append(GAMMAS[at])
        means.append(y.mean())
    np.testing.assert_allclose(found.predictions["predicted"], predicted)
    np.testing.assert_array_equal(found.predictions["gamma"], gammas)
    error, by_mean = (np.sum((y_M - np.array(p)) ** 2) for p in (predicted, means))
    best = found.best.iloc[0]
    assert best["r2_out"] == pytest.approx(1 - error / by_mean)
    assert (best["gamma_low"], best["gamma_high"]) == (min(gammas), max(gammas))


def test_interval_and_p_against_loops() -> None:
    experts_MxG, scores = planted(10, 2, noise=1.5)
    y_M = np.array(list(scores.values()))
    best = rank(make_presence(experts_MxG), scores, ["experts"]).best.iloc[0]
    rng = np.random.default_rng(7)  # not the same resamples
    resampled = []
    for _ in range(300):
        rows = rng.integers(0, 10, 10)
        if len(set(rows)) >= 3:
            resampled.append(best_of(experts_MxG[rows], y_M[rows])[1])
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert best["r2_low"] == pytest.approx(low, abs=0.08)
    assert best["r2_high"] == pytest.approx(high, abs=0.03)
    shuffled = [best_of(experts_MxG, rng.permutation(y_M))[1] for _ in range(300)]
    share = np.mean(np.array(shuffled) >= best["r2"])
    assert best["p"] == pytest.approx(share, abs=0.05)


def test_p_is_uniform_without_relation() -> None:
    """Although gamma* is chosen; the best r^2 alone would look like a finding."""
    p, r2 = [], []
    for seed in range(100):
        experts_MxG, scores = planted(10, seed)
        shuffled = np.random.default_rng(seed).permutation(list(scores.values()))
        scores = dict(zip(scores, shuffled, strict=True))
        found = rank(
            make_presence(experts_MxG), scores, ["experts"], 10, num_permutations=199
        )
        p.append(found.best["p"][0])
        r2.append(found.best["r2"][0])
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    single = stats.t.ppf(0.975, 8) ** 2
    assert np.mean(np.array(r2) > single / (single + 8)) > 0.3


def test_lower_is_better_keeps_its_sign() -> None:
    experts_MxG, scores = planted(12, 3)
    losses = {name: -score for name, score in scores.items()}
    best = rank(make_presence(experts_MxG), losses, ["experts"]).best.iloc[0]
    assert best["r"] < -0.7 and best["spearman"] < -0.7


def test_models_and_scores_that_do_not_match_are_named() -> None:
    experts_MxG, scores = planted(9, 4)
    del scores["m3"]
    found = rank(make_presence(experts_MxG), scores | {"m99": 1.0}, ["experts"])
    assert found.warnings == (
        "no score for the model m3; left out",
        "no result for the score of m99; left out",
    )
    assert "m3" not in found.scores


def test_few_models_are_said_to_be_few() -> None:
    experts_MxG, scores = planted(5, 5)
    found = rank(make_presence(experts_MxG), scores, ["experts"])
    assert "only 5 models: nothing can be concluded" in found.warnings[0]
    # Two-sided 5% of r at n = 5 is 0.878, as tables of critical values have it.
    assert "r² = 0.77 in one of twenty" in found.warnings[0]
    assert found.best[["r2_low", "r2_high"]].isna().all(axis=None)
    with pytest.raises(InputError, match="2 models have a result and a score"):
        rank(make_presence(experts_MxG[:2]), scores)
    with pytest.raises(InputError, match="the same score, 1"):
        rank(make_presence(experts_MxG), dict.fromkeys(scores, 1.0))


def test_equal_counts_have_no_r2() -> None:
    experts_MxG, scores = planted(10, 6)
    experts_MxG[:, 40:] = 7
    found = rank(make_presence(experts_MxG), scores, ["experts"])
    assert found.table["r2"][40:].isna().all() and found.best["gamma"][0] < GAMMAS[40]
    assert found.warnings == (
        "experts: all models have the same counts at 11 of 51 γ; no r² there",
    )
    found = rank(make_presence(np.full((10, 51), 7)), scores, ["experts"])
    assert found.best.empty and found.predictions.empty
    assert found.warnings == ("experts: all models have the same counts at every γ",)


def test_shares_are_measures_where_sizes_differ() -> None:
    experts_MxG, scores = planted(10, 7)
    made = make_presence(experts_MxG)
    assert "experts_share" not in set(rank(made, scores).table["measure"])
    other = make_presence(experts_MxG[:1], num_units=50).models[0]
    mixed = Presence(made.concepts, GAMMAS, (other, *made.models[1:]), False, {})
    assert "experts_share" in set(rank(mixed, scores).table["measure"])


def test_many_models_take_seconds() -> None:
    rng = np.random.default_rng(0)
    experts_MxG = np.repeat(rng.integers(0, 999, (40, 51)), 10, axis=1)
    gammas = np.linspace(0.5, 1, 510)
    made = make_presence(experts_MxG)
    made = Presence(made.concepts, gammas, made.models, False, {})
    start = time.process_time()
    rank(made, {f"m{i}": float(rng.normal()) for i in range(40)})
    assert time.process_time() - start < 20
