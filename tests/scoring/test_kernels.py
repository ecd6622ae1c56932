"""Both kernels against scikit-learn and numpy, one unit and concept at a time."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from expertjax.concepts.pool import Membership
from expertjax.errors import InputError
from expertjax.runtime.mesh import make_mesh
from expertjax.scoring.blocks import score_block_on_mesh, score_fn
from expertjax.scoring.kernel import METRICS

metrics = pytest.importorskip("sklearn.metrics")

KERNELS = ("jax", "compiled")
NORMAL = np.finfo(np.float32).tiny
TINY = np.finfo(np.float32).smallest_subnormal
LARGE = float(np.finfo(np.float16).max)


def units(n: int) -> np.ndarray:
    """[n, U] responses, each unit being hard in a way of its own."""
    random = np.random.default_rng(n)
    halves = random.normal(0, 3, n).astype(np.float16)
    neighbours = np.nextafter(np.float32(1), np.float32(2))
    columns = [
        random.normal(size=n),
        random.normal(-1000, 1e-3, n),
        random.lognormal(0, 8, n),
        random.integers(0, 2, n),  # heavy ties
        random.integers(-2, 3, n),
        halves,
        np.maximum(random.normal(size=n), 0),  # half of all are zero
        np.minimum(random.normal(size=n), 0),
        np.zeros(n),  # constant
        np.ones(n),
        np.full(n, -1.5),
        np.full(n, -LARGE),
        random.choice([0.0, -0.0], n),
        random.choice([0.0, -0.0, TINY, -TINY], n),
        random.integers(-9, 9, n) * np.float64(TINY),
        random.choice([LARGE, -LARGE, 0.0, 1.0], n),
        random.choice([1.0, neighbours], n),
        np.arange(n),
        -np.arange(n),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def labellings(n: int) -> list[Membership]:
    random = np.random.default_rng(n + 1)
    rows = np.arange(n, dtype=np.int32)
    balanced = np.zeros(n, np.int8)
    balanced[random.permutation(n)[: n // 2]] = 1
    one = np.zeros(n, np.int8)
    one[random.integers(n)] = 1
    first = np.zeros(n, np.int8)
    first[: max(1, n // 3)] = 1
    return [Membership(rows, label) for label in (balanced, one, 1 - one, first)]


def expected(x_NxU: np.ndarray, members: list[Membership]) -> dict[str, np.ndarray]:
    """Every metric [C, U] by an oracle in float64."""
    x_NxU = x_NxU.astype(np.float64)
    out = {name: np.empty((len(members), x_NxU.shape[1])) for name in METRICS}
    for c, member in enumerate(members):
        label = member.label
        for u in range(x_NxU.shape[1]):
            x = x_NxU[member.sentence, u]
            on, off = x[label == 1], x[label == 0]
            out["ap"][c, u] = metrics.average_precision_score(label, x)
            out["auroc"][c, u] = metrics.roc_auc_score(label, x)
            out["on_p50"][c, u] = np.percentile(on, 50)
            out["on_p90"][c, u] = np.percentile(on, 90)
            out["off_mean"][c, u] = off.mean()
            out["off_p50"][c, u] = np.percentile(off, 50)
    return out


def check(kernel: str, x_NxU: np.ndarray, members: list[Membership]) -> None:
    scores = score_fn(kernel)(x_NxU, members)
    wanted = expected(x_NxU, members)
    assert set(scores) == set(METRICS)
    size_U = np.abs(x_NxU).max(axis=0) + NORMAL
    for name in METRICS:
        assert scores[name].shape == (len(members), x_NxU.shape[1])
        assert scores[name].dtype == np.float32
        error = np.abs(scores[name] - wanted[name])
        if name not in ("ap", "auroc"):
            # Values on the unit's own scale; XLA may round subnormal ones to zero.
            error = np.maximum(error - NORMAL, 0) / size_U
        worst = np.unravel_index(error.argmax(), error.shape)
        assert error[worst] <= 1e-6, (name, worst)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [2, 16, 17, 160, 1700])
def test_every_metric_is_that_of_the_oracle(kernel: str, n: int):
    check(kernel, units(n), labellings(n))


@pytest.mark.parametrize("kernel", KERNELS)
def test_concepts_have_their_own_rows_of_a_pool(kernel: str):
    random = np.random.default_rng(5)
    members = []
    for n in (2, 300):
        rows = random.integers(0, 160, n).astype(np.int32)  # some more than once
        label = np.zeros(n, np.int8)
        label[: n // 2] = 1
        members.append(Membership(rows, random.permutation(label)))
    check(kernel, units(160), members)


@pytest.mark.parametrize("kernel", KERNELS)
def test_labels_are_not_told_apart_by_their_order(kernel: str):
    x_NxU = units(160)
    label = np.array([1] * 60 + [0] * 100, np.int8)
    order = np.random.default_rng(0).permutation(160).astype(np.int32)
    sorted_rows = Membership(np.arange(160, dtype=np.int32), label)
    mixed = Membership(order, label[order])
    scores = score_fn(kernel)(x_NxU, [sorted_rows, mixed])
    for name in ("ap", "auroc", "on_p50", "on_p90", "off_p50"):
        assert (scores[name][0] == scores[name][1]).all(), name


def test_kernels_agree_on_many_units():
    random = np.random.default_rng(1)
    x_NxU = random.normal(size=(700, 300)).astype(np.float16).astype(np.float32)
    members = [
        Membership(
            random.choice(700, 400, replace=False).astype(np.int32),
            random.permutation(np.arange(400) < 150).astype(np.int8),
        )
        for _ in range(3)
    ]
    ours, loop = (score_fn(kernel)(x_NxU, members) for kernel in KERNELS)
    for name in METRICS:
        assert np.abs(ours[name] - loop[name]).max() <= 1e-6, name


@pytest.mark.parametrize("kernel", KERNELS)
def test_products_of_counts_may_exceed_an_int32(kernel: str):
    label = np.array([0, 1] * 40_000, np.int8)
    member = Membership(np.arange(80_000, dtype=np.int32), label)
    x_NxU = np.stack([np.zeros(80_000), label, -label], 1).astype(np.float32)
    scores = score_fn(kernel)(x_NxU, [member])
    assert np.abs(scores["auroc"][0] - [0.5, 1, 0]).max() <= 1e-6
    assert np.abs(scores["ap"][0] - [0.5, 1, 0.5]).max() <= 1e-6


@functools.cache
def mesh_of(data: int, model: int) -> Mesh:
    devices = jax.devices()[: data * model]
    assert len(devices) == data * model
    kinds = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, model), ("data", "model"), kinds, devices=devices)


@pytest.mark.parametrize("shape", [(2, 1), (4, 2)])
def test_scores_are_the_same_on_every_mesh(shape: tuple[int, int]):
    x_NxU, members = units(160), labellings(160)
    alone = score_block_on_mesh(x_NxU, members, mesh_of(1, 1))
    shared = score_block_on_mesh(x_NxU, members, mesh_of(*shape))
    for name in METRICS:
        assert (alone[name] == shared[name]).all(), name


def test_fewer_units_than_devices_are_scored_too():
    x_NxU, members = units(160)[:, :3], labellings(160)
    few = score_block_on_mesh(x_NxU, members, make_mesh())
    wanted = expected(x_NxU, members)
    assert few["ap"].shape == (4, 3)
    assert np.abs(few["ap"] - wanted["ap"]).max() <= 1e-6


def test_auto_is_the_loop_on_cpus():
    assert score_fn("auto") is score_fn("compiled")


def test_an_unknown_kernel_is_refused():
    with pytest.raises(InputError, match="--kernel=fast"):
        score_fn("fast")
