"""Near-ties are ties: the rule, in both kernels, and what becomes of odd units."""

import numpy as np
import pytest

from expertjax.concepts.pool import Membership
from expertjax.scoring import settings, ties
from expertjax.scoring.blocks import make_scorer
from expertjax.scoring.intervals import Intervals
from expertjax.scoring.metrics import METRICS
from tests import bounds

metrics = pytest.importorskip("sklearn.metrics")

KERNELS = ("jax", "compiled")
TOLERANCE = settings.TOLERANCE
RANKED = ("ap", "ap_neg", "auroc", "accuracy")


def thresholds(x_n: np.ndarray, tolerance: float) -> np.ndarray:
    """[n] which threshold each response belongs to, ascending; by the rule's words."""
    x_n = x_n.astype(np.float64)
    gap = tolerance * max(x_n.std(), abs(x_n.mean()) / 32)
    number, before, lowest, cells = -1, -np.inf, 0.0, 0
    out = np.empty(len(x_n), int)
    for i in np.argsort(x_n, kind="stable"):
        if x_n[i] - before > gap:
            number, lowest, cells = number + 1, x_n[i], 0
        elif gap and (x_n[i] - lowest) // (4 * gap) > cells:
            number, cells = number + 1, (x_n[i] - lowest) // (4 * gap)
        out[i], before = number, x_n[i]
    return out


def expected(
    x_n: np.ndarray, label_n: np.ndarray, tolerance: float
) -> dict[str, float]:
    """Scikit-learn, given the number of its threshold in place of each response."""
    which = thresholds(x_n, tolerance)
    lowest = np.array([x_n[which == w].min() for w in which])
    above = lowest > np.float32(x_n.astype(np.float64).mean())
    return {
        "ap": metrics.average_precision_score(label_n, which),
        "ap_neg": metrics.average_precision_score(label_n, -which),
        "auroc": metrics.roc_auc_score(label_n, which),
        "accuracy": (above == (label_n == 1)).mean(),
    }


def noisy(values_n: np.ndarray, seed: int, ulps: int = 16) -> np.ndarray:
    """As float32 computed in another order would be."""
    random = np.random.default_rng(seed)
    noise = random.integers(-ulps, ulps + 1, len(values_n)) * 2.0**-24
    return (values_n * (1 + noise)).astype(np.float32)


def units(n: int, seed: int) -> np.ndarray:
    """[n, U] float32: clusters of equal responses, with noise."""
    random = np.random.default_rng(seed)
    normal = random.normal(size=n)
    columns = [
        normal,
        random.choice(random.normal(size=9), n),  # nine tokens
        np.where(random.random(n) < 0.3, 0.25, normal),  # a third on one token
        random.normal(-3, 1, n).round(2),
        np.maximum(normal, 0),
        -np.maximum(normal, 0),
        np.full(n, 2.5),  # constant
        1000 + random.choice(normal[:5], n),
        np.where(np.arange(n) == n // 2, 1e4, random.choice(normal[:7], n)),
        random.normal(size=n) * 1e-30,
        random.normal(size=n) * 1e30,
        random.lognormal(0, 8, n),
    ]
    return np.stack([noisy(c, i + seed) for i, c in enumerate(columns)], axis=1)


def labelled(n: int, seed: int) -> Membership:
    random = np.random.default_rng(seed)
    label = np.zeros(n, np.int8)
    label[random.permutation(n)[: max(1, n // 3)]] = 1
    return Membership(np.arange(n, dtype=np.int32), label)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [2, 17, 160, 1700])
@pytest.mark.parametrize("tolerance", [TOLERANCE, 1e-2])
def test_ranks_are_those_of_the_rule(kernel: str, n: int, tolerance: float) -> None:
    x_NxU, member = units(n, n), labelled(n, n)
    scores = make_scorer([member], kernel=kernel, tolerance=tolerance)(x_NxU)
    exact = make_scorer([member], kernel=kernel)(x_NxU)
    assert set(scores) == set(METRICS)
    for u in range(x_NxU.shape[1]):
        wanted = expected(x_NxU[:, u], member.label, tolerance)
        for name in RANKED:
            error = abs(scores[name][0, u] - wanted[name])
            assert error <= bounds.score(n), (name, u)
    for name in METRICS:
        if name not in RANKED:  # values, not ranks
            np.testing.assert_array_equal(scores[name], exact[name])


@pytest.mark.parametrize("kernel", KERNELS)
def test_rounding_no_longer_decides(kernel: str) -> None:
    n, member = 1700, labelled(1700, 0)
    random = np.random.default_rng(5)
    clusters = random.choice(random.normal(size=40), (n, 64)).astype(np.float32)
    runs = [np.stack([noisy(c, seed) for c in clusters.T], axis=1) for seed in (1, 2)]

    def apart(tolerance: float) -> float:
        score = make_scorer([member], ["ap"], kernel, tolerance=tolerance)
        first, second = (score(run)["ap"] for run in runs)
        return float(np.abs(first - second).max())

    assert apart(0) > 5e-3  # several thresholds, in the order of the noise
    assert apart(TOLERANCE) <= bounds.score(n)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("value", [0.0, 2.5, -1e-30, 3e38])
def test_a_constant_unit_has_the_ap_of_chance(kernel: str, value: float) -> None:
    member = labelled(170, 0)
    x_Nx1 = noisy(np.full(170, value), 3, ulps=4)[:, None]
    x_Nx1 = np.minimum(x_Nx1, np.finfo(np.float32).max)
    score = make_scorer([member], list(RANKED), kernel, tolerance=TOLERANCE)
    share = member.num_positives / 170
    found = {name: float(value[0, 0]) for name, value in score(x_Nx1).items()}
    assert found["ap"] == found["ap_neg"] == pytest.approx(share, abs=1e-6)
    assert found["auroc"] == pytest.approx(0.5, abs=1e-6)
    assert found["accuracy"] == pytest.approx(1 - share, abs=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_outlier_of_a_thousand_deviations_hides_nothing(kernel: str) -> None:
    member = labelled(1700, 1)
    x_NxU = np.random.default_rng(2).normal(size=(1700, 32)).astype(np.float32)
    x_NxU[7] = 1e3
    near = make_scorer([member], ["ap"], kernel, tolerance=TOLERANCE)(x_NxU)["ap"]
    exact = make_scorer([member], ["ap"], kernel)(x_NxU)["ap"]
    assert np.abs(near - exact).max() < 1e-3


@pytest.mark.parametrize("n", [1_000, 10_000, 100_000, 1_000_000])
def test_ap_does_not_drift_where_sentences_are_many(n: int) -> None:
    """Distinct responses, in the end far closer together than the tolerance."""
    random = np.random.default_rng(n)
    label = (random.random(n) < 0.2).astype(np.int8)
    member = Membership(np.arange(n, dtype=np.int32), label)
    x_NxU = random.normal(size=(n, 4)) + np.array([0, 0.1, 1, 2]) * label[:, None]
    x_NxU = x_NxU.astype(np.float32)
    names = list(RANKED)
    near = make_scorer([member], names, tolerance=TOLERANCE)(x_NxU)
    exact = make_scorer([member], names)(x_NxU)
    for name in names:
        assert np.abs(near[name] - exact[name]).max() < 5e-5, name


def test_no_threshold_is_wider_than_four_gaps() -> None:
    x_n = np.sort(np.random.default_rng(0).normal(size=300_000).astype(np.float32))
    first = np.flatnonzero(ties.is_first_of_sorted(x_n, TOLERANCE))
    last = np.append(first[1:], len(x_n)) - 1
    gap = TOLERANCE * x_n.std(dtype=np.float64)
    assert len(first) < len(x_n) / 3  # they do chain
    assert (x_n[last] - x_n[first]).max() <= 4.001 * gap


def test_intervals_tie_as_scores_do() -> None:
    member = labelled(200, 4)
    values = np.random.default_rng(1).choice([0.1, 0.5, 0.9], 200)
    equal = values.astype(np.float32)[:, None]
    near = noisy(values, 2)[:, None]
    wanted = Intervals([member], 300)(0, equal)
    np.testing.assert_array_equal(
        Intervals([member], 300, tolerance=TOLERANCE)(0, near), wanted
    )
    assert np.abs(Intervals([member], 300)(0, near) - wanted).max() > 1e-3
