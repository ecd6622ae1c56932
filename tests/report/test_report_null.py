"""The law of AP under permuted labels, as the figures use it."""

import numpy as np
import pandas as pd
import pytest

from expertjax.report.null import expected_counts, survival
from tests.report.null_law import TAILS, make_null

EDGES = np.linspace(0, 1, 101)


def law_of(*rows):
    return pd.DataFrame(rows, columns=["tail", "ap"])


def test_survival_is_the_table_and_log_linear_between():
    law = make_null()
    np.testing.assert_allclose(survival(law, law["ap"].to_numpy()), TAILS)
    middles = (law["ap"].to_numpy()[1:] + law["ap"].to_numpy()[:-1]) / 2
    geometric = np.sqrt(np.multiply(TAILS[1:], TAILS[:-1]))
    np.testing.assert_allclose(survival(law, middles), geometric)


def test_survival_outside_of_the_table():
    law = make_null()
    first, last = law["ap"].iloc[0], law["ap"].iloc[-1]
    beyond = np.array([0, np.nextafter(first, 0), np.nextafter(last, 1), 1])
    assert survival(law, beyond).tolist() == [1, 1, 0, 0]


def test_an_ap_of_several_rows_counts_whole():
    law = law_of((0.9, 0.2), (0.8, 0.5), (0.4, 0.5), (0.1, 0.5), (0.05, 0.9))
    just_above = np.nextafter(0.5, 1)
    np.testing.assert_allclose(survival(law, np.array([0.5, just_above])), [0.8, 0.1])
    expected = expected_counts(law, np.array([0, 0.5, 0.6, 1]), 100)
    assert expected[0] == pytest.approx(20)  # none of those at 0.5


@pytest.mark.parametrize(
    "law",
    [
        make_null(),
        law_of((0.9, 0.2), (0.1, 1.0), (0.01, 1.0)),
        law_of((0.9, 0.2), (0.1, 0.5), (0.01, np.inf)),
        law_of((0.9, np.inf), (0.1, np.inf)),
    ],
)
def test_expected_counts_sum_to_all_units(law):
    expected = expected_counts(law, EDGES, 10_368)
    assert expected.shape == (100,) and (expected >= 0).all()
    assert expected.sum() == pytest.approx(10_368)


def test_expected_counts_are_those_of_draws():
    tails = np.linspace(0.999, 0.001, 999)
    draws = np.random.default_rng(0).beta(35, 65, 200_000)
    law = pd.DataFrame({"tail": tails, "ap": np.quantile(draws, 1 - tails)})
    counts, _ = np.histogram(draws, EDGES)
    expected = expected_counts(law, EDGES, len(draws))
    np.testing.assert_allclose(expected, counts, atol=250)
