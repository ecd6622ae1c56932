"""Responses that there are none of: kept in any dtype, scored below all others."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from expertjax.absent import ABSENT, floored, narrowed, widened
from expertjax.concepts.pool import Membership
from expertjax.scoring.blocks import make_scorer
from expertjax.scoring.settings import TOLERANCE

N, POSITIVES, U = 60, 20, 30


def responses(scale: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """[N, U] of which more are absent unit by unit, from none to all; and which."""
    random = np.random.default_rng(0)
    x = (offset + scale * random.normal(size=(N, U))).astype(np.float32)
    x = np.asarray(x, np.float16).astype(np.float32)
    order = random.permuted(np.tile(np.arange(N)[:, None], U), axis=0)
    absent = order < np.linspace(0, N, U).astype(int)
    x[absent] = ABSENT
    return x, absent


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_dtype_of_a_store_keeps_them_finite(dtype: str) -> None:
    x, absent = responses(3.0, 1.0)
    stored = np.asarray(narrowed(jnp.asarray(x), np.dtype(dtype)))
    assert stored.dtype == np.dtype(dtype) and np.isfinite(stored).all()
    again = widened(stored)
    assert again.dtype == np.float32
    assert ((again == ABSENT) == absent).all()
    lowest = max(ABSENT, float(ml_dtypes.finfo(dtype).min))
    assert (stored[absent].astype(np.float32) == lowest).all()
    np.testing.assert_allclose(again[~absent], x[~absent], rtol=2.0**-8)


@pytest.mark.parametrize(
    ("scale", "offset"), [(1.0, 0.0), (1e-4, 500.0), (20.0, -900.0), (0.0, 3.0)]
)
@pytest.mark.parametrize("kernel", ["jax", "compiled"])
def test_they_are_one_tie_below_all_others(
    scale: float, offset: float, kernel: str
) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    x, absent = responses(scale, offset)
    before = x.copy()
    shown = floored(x)
    assert (x == before).all()
    assert (shown[~absent] == x[~absent]).all()
    for unit in range(U):
        gone = absent[:, unit]
        assert len(set(shown[gone, unit].tolist())) <= 1
        if gone.any() and not gone.all():
            assert shown[gone, unit].max() < x[~gone, unit].min()
    label = (np.arange(N) < POSITIVES).astype(np.int8)
    rows = np.arange(N, dtype=np.int32)
    score = make_scorer(
        [Membership(rows, label)], ["ap"], kernel=kernel, tolerance=TOLERANCE
    )
    found = score(shown)["ap"][0]
    for unit in range(U):
        # By scikit-learn, of ranks: what is there by its value, what is not as 0.
        there = np.unique(x[:, unit], return_inverse=True)[1]
        wanted = metrics.average_precision_score(label, there)
        assert abs(found[unit] - wanted) < 1e-6, unit


def test_a_far_number_would_tie_all_others() -> None:
    """Why they are not scored as they are kept."""
    x, absent = responses(1.0, 0.0)
    half = int(np.argmin(np.abs(absent.mean(0) - 0.5)))
    label = (np.arange(N) < POSITIVES).astype(np.int8)
    score = make_scorer(
        [Membership(np.arange(N, dtype=np.int32), label)], ["ap"], tolerance=TOLERANCE
    )
    far = score(np.where(absent, -65504, x)[:, [half]].astype(np.float32))["ap"]
    assert abs(far - score(floored(x)[:, [half]])["ap"])[0, 0] > 0.01


def test_where_nothing_is_absent_nothing_is_copied() -> None:
    x = np.ones((3, 4), np.float32)
    assert floored(x) is x
