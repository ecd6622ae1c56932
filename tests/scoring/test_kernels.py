"""Both kernels against scikit-learn and numpy, one unit and concept at a time."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from expertjax.concepts.pool import Membership
from expertjax.errors import InputError
from expertjax.runtime import mesh as meshes
from expertjax.scoring import blocks, compiled, network, summary
from expertjax.scoring import kernel as reference
from expertjax.scoring.blocks import make_scorer
from expertjax.scoring.lanes import LANES
from expertjax.scoring.metrics import METRICS
from tests import bounds

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
            out["ap_neg"][c, u] = metrics.average_precision_score(label, -x)
            out["on_mean"][c, u], out["on_std"][c, u] = on.mean(), on.std()
            out["off_std"][c, u] = off.std()
            above = x > np.float32(x.mean())
            out["accuracy"][c, u] = (above == (label == 1)).mean()
    return out


def check(kernel: str, x_NxU: np.ndarray, members: list[Membership]) -> None:
    scores = make_scorer(members, kernel=kernel)(x_NxU)
    wanted = expected(x_NxU, members)
    assert set(scores) == set(METRICS)
    size_U = np.abs(x_NxU).max(axis=0) + NORMAL
    for name in METRICS:
        assert scores[name].shape == (len(members), x_NxU.shape[1])
        assert scores[name].dtype == np.float32
        error = np.abs(scores[name] - wanted[name])
        if name not in ("ap", "ap_neg", "auroc", "accuracy"):
            # Values on the unit's own scale; XLA may round subnormal ones to zero.
            error = np.maximum(error - NORMAL, 0) / size_U
        if name == "accuracy":
            error[at_the_mean(x_NxU, members)] = 0
        worst = np.unravel_index(error.argmax(), error.shape)
        assert error[worst] <= bounds.score(len(x_NxU)), (name, worst)


def at_the_mean(x_NxU: np.ndarray, members: list[Membership]) -> np.ndarray:
    """[C, U] where rounding of the mean decides about a sentence."""
    near = np.zeros((len(members), x_NxU.shape[1]), bool)
    for c, member in enumerate(members):
        x = x_NxU[member.sentence].astype(np.float64)
        distance = np.abs(x - x.mean(0))
        close = distance <= bounds.score(len(x)) * np.abs(x).max(0) + NORMAL
        near[c] = close.any(0) & (x != x[0]).any(0)
    return near


def test_one_key_sorts_as_response_and_label_do() -> None:
    n, width = 160, 128
    x = np.pad(units(n), ((0, 0), (0, -units(n).shape[1] % width)))
    rows = np.tile(np.arange(n, dtype=np.int32), (4, 1))
    label = np.stack([member.label for member in labellings(n)])
    label[1, 100:] = -1  # filler
    label[1, :2] = 1, 0
    least, is_enough = reference.least_magnitudes(x)
    assert is_enough
    score = jax.jit(reference.score_concepts, static_argnums=(4, 5, 6))
    one, two = (
        score(x, which, rows, label, tuple(METRICS), 3e-5, width)
        for which in (least, None)
    )
    for name in METRICS:
        ours, wanted = np.asarray(one[name]), np.asarray(two[name])
        np.testing.assert_array_equal(ours.view(np.uint32), wanted.view(np.uint32))


def test_units_that_one_key_does_not_hold_are_noticed() -> None:
    x = np.array([[0, 2.0**-100, 2.0**100], [0, 2.0**-100, 0], [0, 2.0**100, 0]])
    for column, is_enough in ((0, True), (1, False), (2, True)):
        found = reference.least_magnitudes(x[:, [column]].astype(np.float32))[1]
        assert bool(found) is is_enough


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
    scores = make_scorer([sorted_rows, mixed], kernel=kernel)(x_NxU)
    for name in ("ap", "ap_neg", "auroc", "on_p50", "on_p90", "off_p50", "accuracy"):
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
    ours, loop = (make_scorer(members, kernel=kernel)(x_NxU) for kernel in KERNELS)
    ours["accuracy"][at_the_mean(x_NxU, members)] = 0
    loop["accuracy"][at_the_mean(x_NxU, members)] = 0
    for name in METRICS:
        assert np.abs(ours[name] - loop[name]).max() <= bounds.score(400), name


@pytest.mark.parametrize("kernel", KERNELS)
def test_products_of_counts_may_exceed_an_int32(kernel: str):
    label = np.array([0, 1] * 40_000, np.int8)
    member = Membership(np.arange(80_000, dtype=np.int32), label)
    x_NxU = np.stack([np.zeros(80_000), label, -label], 1).astype(np.float32)
    # Each device of a mesh would sort a tile of its own, of which one is enough.
    scores = make_scorer([member], kernel=kernel, mesh=mesh_of(1, 1))(x_NxU)
    allowed = bounds.score(80_000)
    assert np.abs(scores["auroc"][0] - [0.5, 1, 0]).max() <= allowed
    assert np.abs(scores["ap"][0] - [0.5, 1, 0.5]).max() <= allowed


@functools.cache
def mesh_of(data: int, model: int) -> Mesh:
    devices = jax.devices()[: data * model]
    assert len(devices) == data * model
    kinds = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, model), ("data", "model"), kinds, devices=devices)


@pytest.mark.parametrize("shape", [(2, 1), (4, 1), (4, 2)])
def test_scores_are_the_same_on_every_mesh(shape: tuple[int, int]):
    x_NxU, members = units(160), labellings(160)
    alone = make_scorer(members, kernel="jax", mesh=mesh_of(1, 1))(x_NxU)
    shared = make_scorer(members, kernel="jax", mesh=mesh_of(*shape))(x_NxU)
    for name in METRICS:
        assert (alone[name] == shared[name]).all(), name


def test_fewer_units_than_devices_are_scored_too():
    x_NxU, members = units(160)[:, :3], labellings(160)
    few = make_scorer(members, kernel="jax")(x_NxU)
    wanted = expected(x_NxU, members)
    assert few["ap"].shape == (4, 3)
    assert np.abs(few["ap"] - wanted["ap"]).max() <= bounds.score(160)


def test_auto_is_the_loop_on_cpus():
    members = labellings(16)
    kinds = {
        name: type(make_scorer(members, kernel=name)) for name in ("auto", *KERNELS)
    }
    assert kinds["auto"] is kinds["compiled"] is not kinds["jax"]


def test_an_unknown_kernel_or_metric_is_refused():
    with pytest.raises(InputError, match="--kernel=fast"):
        make_scorer(labellings(16), kernel="fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--metrics=f1: expected some of ap"):
        make_scorer(labellings(16), ["ap", "f1"])


def test_only_the_metrics_asked_for_are_given():
    scores = make_scorer(labellings(16), ["auroc", "ap"])(units(16))
    assert list(scores) == ["auroc", "ap"]


@pytest.mark.parametrize("num_units", [1, 15, 16, 17, 40])
def test_a_unit_scores_the_same_whatever_its_neighbours(num_units: int):
    random = np.random.default_rng(0)
    x_NxU = np.round(random.normal(size=(160, 40)), 1).astype(np.float32)
    members = labellings(160)
    whole = make_scorer(members)(x_NxU)
    part = make_scorer(members)(x_NxU[:, 40 - num_units :])
    for name in METRICS:
        assert (whole[name][:, 40 - num_units :] == part[name]).all(), name


def test_a_scorer_can_be_used_for_block_after_block():
    members = labellings(160)
    scorer = make_scorer(members)
    x_NxU = units(160)
    first = scorer(x_NxU)["ap"].copy()
    scorer(-x_NxU[:, :5])
    assert (scorer(x_NxU)["ap"] == first).all()


def test_scores_are_the_same_by_way_of_pinned_memory(monkeypatch: pytest.MonkeyPatch):
    x, members = units(40), labellings(40)
    wanted = make_scorer(members, kernel="jax")(x)
    monkeypatch.setattr(meshes, "_PINNED_PLATFORMS", ("cpu",))
    for name, values in make_scorer(members, kernel="jax")(x).items():
        np.testing.assert_array_equal(values, wanted[name])


def test_blocks_of_a_shape_are_scored_by_what_was_compiled_for_it(
    monkeypatch: pytest.MonkeyPatch,
):
    n = 40
    x, members = units(n), labellings(n)
    wanted = make_scorer(members, kernel="jax")(x)
    ready = make_scorer(members, kernel="jax")
    ready.prepare(*x.shape)
    other = make_scorer(members, kernel="jax")  # of the next group of concepts
    other.prepare(*x.shape)
    assert ready._compiled == other._compiled  # type: ignore[attr-defined]

    def refuse(*_: object) -> None:
        raise AssertionError("compiled anew")

    with monkeypatch.context() as patch:
        for score in ready._compiled.values():  # type: ignore[attr-defined]
            score.result()
        patch.setattr(blocks, "score_on_mesh", lambda *_: refuse)
        for name, values in ready(x).items():
            np.testing.assert_array_equal(values, wanted[name])
        with pytest.raises(AssertionError, match="compiled anew"):
            ready(x[:-1])
    # What one key does not hold is compiled when it comes.
    wide = x.copy()
    wide[:, 0] = np.where(np.arange(n) % 2, 1e-30, 1e30)
    for name, values in make_scorer(members, kernel="jax")(wide).items():
        np.testing.assert_array_equal(ready(wide)[name], values)


def test_units_of_enormous_range_are_left_to_the_reference():
    random = np.random.default_rng(0)
    wide = np.exp2(random.uniform(-140, 120, 160)).astype(np.float32)
    x_NxU = np.stack([wide, np.roll(wide, 7), random.normal(size=160)], 1)
    members = labellings(160)
    loop = compiled.CompiledScorer(members)
    assert loop(x_NxU)[1].tolist() == [True, True, False]
    check("compiled", x_NxU.astype(np.float32), members)


def test_a_new_metric_is_one_function(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(METRICS, "lift", lambda r: METRICS["ap"](r) / r.num_pos)
    members = labellings(160)
    scores = make_scorer(members, ["ap", "lift"])(units(160))
    counts = [[member.num_positives] for member in members]
    assert np.allclose(scores["lift"], scores["ap"] / counts, atol=bounds.score(160))
    assert "lift" not in summary.METRICS


@pytest.mark.parametrize("n", [*range(1, 70), 113, 500, 1025, 3000])
def test_the_network_sorts(n: int):
    rows, first = network.tile_rows(n)
    assert n <= rows <= max(1.25 * n + 1, 4)
    filler = np.iinfo(np.int32).max
    random = np.random.default_rng(n)
    for high in (2, 2**31 - 1):
        tile = random.integers(-high, high, (rows, LANES)).astype(np.int32)
        tile[n:] = filler
        wanted = np.sort(tile, axis=0)
        network.sort_tile(tile, rows, first)
        assert (tile == wanted).all()
