"""Logistic regression and its scores, against scikit-learn."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from expertjax.probing import logistic, probes, scores
from expertjax.probing.settings import ProbeSettings
from expertjax.probing.tasks import TEST, TRAIN, VALIDATION, Task, TaskSet

sklearn = pytest.importorskip("sklearn")
from sklearn import metrics  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402


def blobs(n: int, classes: int, width: int, seed: int = 0) -> tuple:
    """[n, D] features around a centre for each class, and [n] labels."""
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, n)
    centres = random.normal(0, 1.5, (classes, width)) / np.sqrt(width)
    x = (centres[label] + random.normal(0, 1, (n, width))) * random.uniform(1, 9, width)
    return x.astype(np.float32), label


def by_sklearn(x: np.ndarray, task: Task, l2: float) -> LogisticRegression:
    """The same problem, solved to more digits than ours."""
    train = task.rows(TRAIN)
    model = LogisticRegression(C=1 / (l2 * len(train)), tol=1e-8, max_iter=5000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may stop at what its line search can see
        return model.fit(x[train], task.label[train])


def best_by_sklearn(x_NxD: np.ndarray, task: Task, l2s: tuple[float, ...]) -> tuple:
    """(l2, probabilities) of the regularisation that does best on validation."""
    x = x_NxD[task.sentence].astype(np.float64)
    x = StandardScaler().fit(x[task.rows(TRAIN)]).transform(x)
    found = []
    for l2 in sorted(l2s, reverse=True):
        p_nxK = by_sklearn(x, task, l2).predict_proba(x)
        at = task.rows(VALIDATION)
        labels = range(len(task.classes))
        loss = metrics.log_loss(task.label[at], p_nxK[at], labels=labels)
        found.append((loss, l2, p_nxK))
    _, l2, p_nxK = min(found, key=lambda one: one[0])
    return l2, p_nxK


def task_of(name: str, label: np.ndarray, split: np.ndarray) -> Task:
    classes = tuple(f"class {k}" for k in range(label.max() + 1))
    return Task(name, classes, np.arange(len(label)), label, split)


@pytest.mark.parametrize("classes", [2, 3])
def test_coefficients_and_loss_are_sklearns(classes: int) -> None:
    x, label = blobs(300, classes, 40)
    x = np.asarray(logistic.standardise(jnp.array(x), jnp.ones(300)))
    task = task_of("x", label, np.full(300, TRAIN))
    # Rows of no weight change nothing, whatever they hold.
    more = jnp.concatenate([x, 100 + x[:20]])
    labels = jnp.array([*label, *[0] * 20])
    weight = jnp.concatenate([jnp.ones(300), jnp.zeros(20)])
    l2s = [1e-3, 1e-2, 1.0]
    fit = functools.partial(logistic.fit_probe, more, labels, weight, classes)
    ours = jax.jit(jax.vmap(fit))(jnp.array(l2s))
    assert ours.kernel.shape == (3, 40, 1 if classes == 2 else classes)
    for l2, kernel, bias, loss in zip(l2s, *map(np.asarray, ours), strict=True):
        theirs = by_sklearn(x, task, l2)
        scale = np.abs(theirs.coef_).max()
        np.testing.assert_allclose(kernel.T, theirs.coef_, atol=2e-3 * scale)
        wanted = theirs.intercept_
        if classes > 2:  # only differences of the biases are determined
            bias, wanted = bias - bias.mean(), wanted - wanted.mean()
        np.testing.assert_allclose(bias, wanted, atol=2e-3 * scale)
        p_nxK = theirs.predict_proba(x.astype(np.float64))
        penalty = l2 / 2 * np.sum(theirs.coef_**2)
        assert loss == pytest.approx(metrics.log_loss(label, p_nxK) + penalty, rel=1e-5)


def test_standardise_is_sklearns_and_constants_vanish() -> None:
    x, _ = blobs(60, 2, 5)
    x[:, 1] *= 1e-33  # MiniLM-L6 has such, and they do tell something
    x[:, 2] += 300
    x[:, 3] = 0.1  # not exact in float32
    weight = np.array([1] * 40 + [0] * 20, np.float32)
    got = np.asarray(logistic.standardise(jnp.array(x), jnp.array(weight)))
    wanted = StandardScaler().fit(x[:40].astype(np.float64)).transform(x)
    kept = [0, 1, 2, 4]
    np.testing.assert_allclose(got[:, kept], wanted[:, kept], atol=1e-3)
    assert (got[:, 3] == 0).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_sklearns(classes: int) -> None:
    random = np.random.default_rng(1)
    label = np.concatenate([np.arange(classes), random.integers(0, classes, 80)])
    p = random.dirichlet(np.ones(classes), len(label)).round(1) + 1e-3  # with ties
    p /= p.sum(1, keepdims=True)
    predicted = p.argmax(1)
    assert scores.accuracy(label, predicted) == metrics.accuracy_score(label, predicted)
    assert scores.balanced_accuracy(label, predicted) == pytest.approx(
        metrics.balanced_accuracy_score(label, predicted)
    )
    wanted = metrics.roc_auc_score(
        label, p[:, 1] if classes == 2 else p, multi_class="ovr"
    )
    assert scores.auroc(label, p) == pytest.approx(wanted)


def test_tasks_of_any_size_are_probed_as_if_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two and three classes, in as few groups as there can be, and in as many."""
    settings = ProbeSettings(l2=(1e-3, 1e-1))
    x, _ = blobs(150, 2, 12)
    tasks = []
    for number, n in enumerate([60, 90, 150]):
        random = np.random.default_rng(number)
        noisy = x[:n] + random.normal(0, 2, x[:n].shape)
        label = (noisy[:, number] > 0).astype(int)
        label += (number == 1) * (noisy[:, 5] > 0)
        tasks.append(task_of(f"t{number}", label, random.integers(0, 3, n)))
    together = TaskSet(("",) * 150, tuple(tasks))
    got = probes.probe_vectors(x, together, settings)
    assert got["task"].tolist() == ["t0", "t1", "t2"]
    for i, task in enumerate(tasks):
        l2, p_nxK = best_by_sklearn(x, task, settings.l2)
        test = task.rows(TEST)
        predicted, label = p_nxK[test].argmax(1), task.label[test]
        row = got.iloc[i]
        assert row["l2"] == l2
        assert row["n_test"] == len(test)
        assert row["accuracy"] == pytest.approx(np.mean(predicted == label))
        usual = np.bincount(task.label[task.rows(TRAIN)]).argmax()
        assert row["majority"] == pytest.approx(np.mean(label == usual))
        assert row["auroc"] == pytest.approx(scores.auroc(label, p_nxK[test]), abs=5e-3)
    monkeypatch.setattr(probes, "_GROUP_BYTES", 1)
    monkeypatch.setattr(probes, "_COMPILING", 0)
    of_two = TaskSet(together.sentences, (tasks[0], tasks[2]))
    again = probes.probe_vectors(x, of_two, settings)
    wanted = got.iloc[[0, 2]].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, wanted, atol=5e-3)
