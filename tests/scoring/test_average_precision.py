from typing import Any

import numpy as np
import pytest

from expertjax import average_precision
from expertjax.errors import InputError
from tests import bounds

metrics = pytest.importorskip("sklearn.metrics")

RESPONSES = np.random.default_rng(0).integers(0, 9, (40, 5)).astype(np.float32)


@pytest.mark.parametrize("kernel", ["auto", "jax"])
def test_sentences_outside_a_concept_do_not_count(kernel: Any):
    random = np.random.default_rng(1)
    labels = random.integers(-1, 2, (40, 3))
    ap = average_precision(RESPONSES, labels, kernel)
    assert ap.shape == (3, 5) and ap.dtype == np.float32
    for c in range(3):
        inside = labels[:, c] >= 0
        for u in range(5):
            wanted = metrics.average_precision_score(
                labels[inside, c], RESPONSES[inside, u]
            )
            assert abs(ap[c, u] - wanted) <= bounds.score(40)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8, bool])
def test_other_dtypes_give_the_same(dtype: Any):
    labels = np.random.default_rng(2).integers(0, 2, (40, 1))
    x = (RESPONSES > 4) if dtype is bool else RESPONSES
    same = average_precision(x.astype(np.float32), labels)
    assert (average_precision(x.astype(dtype), labels.astype(float)) == same).all()


def test_arguments_are_left_as_they_are():
    x, labels = np.array([[-0.0], [0.0], [1.0]]), np.array([[1], [0], [0]])
    average_precision(x, labels)
    assert np.signbit(x[0, 0])
    assert labels.tolist() == [[1], [0], [0]]


@pytest.mark.parametrize(
    ("responses", "labels"),
    [
        (np.zeros(4), np.zeros((4, 1))),
        (np.zeros((4, 1)), np.zeros(4)),
        (np.zeros((4, 1)), np.zeros((3, 1))),
        (np.zeros((4, 1)), np.zeros((4, 0))),
        (np.zeros((4, 0)), np.zeros((4, 1))),
        (np.zeros((0, 1)), np.zeros((0, 1))),
    ],
)
def test_shapes_that_do_not_fit_are_refused(responses: np.ndarray, labels: np.ndarray):
    with pytest.raises(InputError, match=r"\[N, U\].*\[N, C\]"):
        average_precision(responses, labels)


@pytest.mark.parametrize("label", [2, -2, 0.5, np.nan])
def test_other_labels_are_refused(label: float):
    labels = np.array([[1], [0], [label], [0]])
    with pytest.raises(InputError, match="labels: expected 1, 0 and -1"):
        average_precision(np.zeros((4, 1)), labels)


@pytest.mark.parametrize("sides", [(0, 0), (1, 1), (-1, -1), (1, -1), (0, -1)])
def test_a_concept_with_one_side_only_is_named(sides: tuple[int, int]):
    labels = np.array([[1, sides[0]], [0, sides[1]]])
    with pytest.raises(InputError, match="concept 1 needs"):
        average_precision(np.zeros((2, 1)), labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_response_that_is_no_float32_is_named(value: float):
    x = np.zeros((4, 3))
    x[2, 1] = value
    with pytest.raises(InputError, match="unit 1 to sentence 2"):
        average_precision(x, np.array([[1], [0], [1], [0]]))
