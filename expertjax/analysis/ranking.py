"""Do expert counts rank models as a benchmark does (our definition)?

For every measure X_gamma of `presence`: r^2 and Spearman against one score per model.
gamma* is where r^2 is highest. It is chosen on the same data, which is paid for
three times: the bootstrap chooses gamma* anew in each resample, the permutation test
compares the highest r^2 over all gammas, and the prediction of each model's score
uses the gamma* and the line of the other models. What none of them pays for is
choosing among measures: with five, a p of 0.01 is worth 0.05.

"Finding Experts in Transformer Models" (arXiv 2005.07647) reports r^2 of such counts;
definitions here are ours.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from expertjax.analysis.presence import MEASURES, Presence
from expertjax.errors import InputError

MIN_MODELS = 8  # below, nothing is concluded
_LEAST_MODELS = 3  # two always lie on a line
_FLAT = 1e-9  # share of its mean square under which a count's variance is rounding


@dataclasses.dataclass(frozen=True)
class Ranking:
    """What expert counts say about one benchmark's scores.

    Attributes:
      scores: [M] score of each model, in order of the presence's models.
      table: a row per measure and gamma: measure, gamma, r2, r, spearman. NaN where
        all models have the same count.
      best: a row per measure: gamma (gamma*: highest r2, the lowest of equals), r2, r,
        spearman; r2_low, r2_high (95% bootstrap over models, gamma* re-chosen; NaN for
        fewer than 8); p (of
        the highest r2 over gammas, models permuted); gamma_low, gamma_high (range of
        gamma* with one model left out); r2_out (of predicting each model from the
        others, against predicting their mean; below 0 is worse than the mean).
      predictions: a row per measure and model: measure, model, score, gamma (gamma*
        of the others), predicted.
      warnings: what a reader has to know.
    """

    scores: pd.Series
    table: pd.DataFrame
    best: pd.DataFrame
    predictions: pd.DataFrame
    warnings: tuple[str, ...]


def rank(
    presence: Presence,
    scores: Mapping[str, float],
    measures: Sequence[str] | None = None,
    num_resamples: int = 2000,
    num_permutations: int = 9999,
    seed: int = 0,
) -> Ranking:
    """Ranks models by their experts, and says how far that ranks their scores.

    Args:
      presence: counts of the models.
      scores: model -> benchmark score. Models without a score, and scores without a
        model, are left out and named in the warnings.
      measures: see `Presence.counts`; default `MEASURES`, shares only where models
        differ in size and shares therefore say something else than counts.
      num_resamples: of models, for the intervals.
      num_permutations: of scores, for p.
      seed: of both.

    Raises:
      InputError: fewer than three models have a score, or all scores are equal.
    """
    names, warnings = _matched(presence.names, scores)
    y_M = np.array([scores[name] for name in names], float)
    if np.ptp(y_M) == 0:
        raise InputError(f"all {len(y_M)} models have the same score, {y_M[0]:g}")
    rows = [presence.names.index(name) for name in names]
    if measures is None:
        sizes = {presence.models[row].num_units for row in rows}
        measures = [m for m in MEASURES if len(sizes) > 1 or "_" not in m]
    tables, best, predictions = [], [], []
    partly_flat: dict[int, list[str]] = {}
    for measure in measures:
        x_MxG = presence.counts(measure)[rows].astype(float)
        table = _over_gamma(x_MxG, y_M, presence.gammas)
        table.insert(0, "measure", measure)
        tables.append(table)
        flat = int(table["r2"].isna().sum())
        if flat == len(table):
            warnings.append(f"{measure}: all models have the same counts at every γ")
            continue
        if flat:
            partly_flat.setdefault(flat, []).append(measure)
        held_out = _leave_one_out(x_MxG, y_M, presence.gammas)
        held_out.insert(0, "measure", measure)
        predictions.append(held_out.assign(model=names, score=y_M))
        chances = _chances(x_MxG, y_M, num_resamples, num_permutations, seed)
        best.append(_best_row(table, held_out, y_M) | chances)
    warnings += [
        f"{', '.join(flat_ones)}: all models have the same counts at {flat} of "
        f"{len(presence.gammas)} γ; no r² there"
        for flat, flat_ones in partly_flat.items()
    ]
    return Ranking(
        pd.Series(y_M, index=names, name="score"),
        pd.concat(tables, ignore_index=True),
        pd.DataFrame(best, columns=_BEST),
        pd.concat(predictions or [pd.DataFrame(columns=_PREDICTED)])[_PREDICTED],
        tuple(warnings),
    )


_BEST = [
    "measure", "gamma", "r2", "r", "spearman", "r2_low", "r2_high", "p", "gamma_low",
    "gamma_high", "r2_out",
]  # fmt: skip
_PREDICTED = ["measure", "model", "score", "gamma", "predicted"]


def _best_row(
    table: pd.DataFrame, held_out: pd.DataFrame, y_M: np.ndarray
) -> dict[str, Any]:
    """The row at gamma*, and what it is worth with a model left out."""
    row = table.iloc[_best_gamma(table["r"].to_numpy()[None])[0]].to_dict()
    error = np.square(y_M - held_out["predicted"]).sum()
    by_mean = np.square(y_M - _others_mean(y_M)).sum()
    return row | {
        "gamma_low": held_out["gamma"].min(),
        "gamma_high": held_out["gamma"].max(),
        "r2_out": 1 - error / by_mean,
    }


def _chances(
    x_MxG: np.ndarray, y_M: np.ndarray, num_resamples: int, num: int, seed: int
) -> dict[str, float]:
    rng = np.random.default_rng(seed)  # all measures see the same resamples
    low, high = np.nan, np.nan
    if len(y_M) >= MIN_MODELS:
        low, high = _interval(x_MxG, y_M, num_resamples, rng)
    p = _permutation_p(x_MxG, y_M, num, rng)
    return {"r2_low": low, "r2_high": high, "p": p}


def _matched(
    models: Sequence[str], scores: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """The models that have a score, and what is to be said about them."""
    names = [name for name in models if name in scores]
    lacking = [name for name in models if name not in scores]
    unknown = [name for name in scores if name not in set(models)]
    warnings = []
    if lacking:
        warnings.append(f"no score for the model {', '.join(lacking)}; left out")
    if unknown:
        warnings.append(f"no result for the score of {', '.join(unknown)}; left out")
    if len(names) < _LEAST_MODELS:
        raise InputError(
            f"{len(names)} models have a result and a score; a ranking needs "
            f"{_LEAST_MODELS}, and says something from {MIN_MODELS} on. "
            + " ".join(warnings)
        )
    if len(names) < MIN_MODELS:
        by_luck = r2_by_luck(len(names))
        warnings.append(
            f"only {len(names)} models: nothing can be concluded. Unrelated numbers "
            f"reach r² = {by_luck:.2f} in one of twenty cases at a single γ, and more "
            f"at the best of many; no interval is given. {MIN_MODELS} models are the "
            "least, 20 are few"
        )
    return names, warnings


def r2_by_luck(n: int) -> float:
    """r^2 that unrelated normal numbers reach with probability 0.05."""
    t = stats.t.ppf(0.975, n - 2)
    return float(t**2 / (t**2 + n - 2))


def _weighted_fit(
    weights_BxM: np.ndarray, x_MxG: np.ndarray, y_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Line y = slope x + offset and r (NaN for constant x or y), each [B, G]."""
    weights_BxM = weights_BxM / weights_BxM.sum(1, keepdims=True)
    x0_G, y0 = x_MxG.mean(0), y_M.mean()  # centred first, so that little cancels
    x_MxG, y_M = x_MxG - x0_G, y_M - y0
    x_BxG = weights_BxM @ x_MxG
    y_Bx1 = (weights_BxM @ y_M)[:, None]
    xx = weights_BxM @ x_MxG**2
    yy = (weights_BxM @ y_M**2)[:, None]
    var_x, var_y = xx - x_BxG**2, yy - y_Bx1**2
    cov = weights_BxM @ (x_MxG * y_M[:, None]) - x_BxG * y_Bx1
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(var_x > _FLAT * xx, cov / var_x, np.nan)
        r = np.where(var_y > _FLAT * yy, slope * np.sqrt(var_x / var_y), np.nan)
    offset = y_Bx1 + y0 - slope * (x_BxG + x0_G)
    return slope, offset, r.clip(-1, 1)


def _over_gamma(x_MxG: np.ndarray, y_M: np.ndarray, gammas: np.ndarray) -> pd.DataFrame:
    once = np.ones((1, len(y_M)))
    r_G = _weighted_fit(once, x_MxG, y_M)[2][0]
    ranks = stats.rankdata(x_MxG, axis=0), stats.rankdata(y_M)
    spearman_G = _weighted_fit(once, *ranks)[2][0]
    return pd.DataFrame(
        {"gamma": gammas, "r2": r_G**2, "r": r_G, "spearman": spearman_G}
    )


def _best_gamma(r_BxG: np.ndarray) -> np.ndarray:
    """Where r^2 is highest, [B]; the lowest gamma of equals."""
    return np.where(np.isnan(r_BxG), -1, (r_BxG**2).round(12)).argmax(1)


def _interval(
    x_MxG: np.ndarray, y_M: np.ndarray, num: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95% of the highest r^2 over resamples of three distinct models or more."""
    n = len(y_M)
    weights_BxM = rng.multinomial(n, np.full(n, 1 / n), size=num)
    weights_BxM = weights_BxM[(weights_BxM > 0).sum(1) >= _LEAST_MODELS]
    r_BxG = _weighted_fit(weights_BxM, x_MxG, y_M)[2]
    r_B = np.take_along_axis(r_BxG, _best_gamma(r_BxG)[:, None], 1)
    low, high = np.nanquantile(r_B**2, [0.025, 0.975])
    return float(low), float(high)


def _permutation_p(
    x_MxG: np.ndarray, y_M: np.ndarray, num: int, rng: np.random.Generator
) -> float:
    """How often permuted scores have as high an r^2 at their best gamma."""
    x_MxG = x_MxG[:, np.ptp(x_MxG, axis=0) > 0]
    x_MxG = x_MxG - x_MxG.mean(0)
    x_MxG /= np.linalg.norm(x_MxG, axis=0)
    y_M = (y_M - y_M.mean()) / np.linalg.norm(y_M - y_M.mean())
    observed = np.abs(y_M @ x_MxG).max()
    shuffled_PxM = rng.permuted(np.tile(y_M, (num, 1)), axis=1)
    highest_P = np.abs(shuffled_PxM @ x_MxG).max(1)
    return float((1 + (highest_P >= observed - 1e-12).sum()) / (1 + num))


def _leave_one_out(
    x_MxG: np.ndarray, y_M: np.ndarray, gammas: np.ndarray
) -> pd.DataFrame:
    """Each model's score predicted by the others: gamma (theirs), predicted.

    Where the others have equal counts at every gamma, their mean is predicted.
    """
    rows = np.arange(len(y_M))
    slope, offset, r = _weighted_fit(1.0 - np.eye(len(y_M)), x_MxG, y_M)
    at = _best_gamma(r)
    predicted = slope[rows, at] * x_MxG[rows, at] + offset[rows, at]
    predicted = np.where(np.isnan(predicted), _others_mean(y_M), predicted)
    return pd.DataFrame({"gamma": gammas[at], "predicted": predicted})


def _others_mean(y_M: np.ndarray) -> np.ndarray:
    return (y_M.sum() - y_M) / (len(y_M) - 1)
