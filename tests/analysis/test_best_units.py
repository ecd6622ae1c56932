"""What a program prints of many concepts."""

import numpy as np
import pytest

from binaries.best_units import MOST_ROWS, best_units


@pytest.mark.parametrize("num_concepts", [MOST_ROWS, MOST_ROWS + 3])
def test_the_best_are_shown_and_the_rest_counted(make_result, num_concepts) -> None:
    ap_CxU = np.random.default_rng(0).random((num_concepts, 7))
    keys = [f"sense/c{i}" for i in range(num_concepts)]
    result = make_result("tiny", ap_CxU, keys)
    name, header, *rows = best_units(result, 0.9).splitlines()
    assert name == "tiny" and "AP >= 0.9" in header
    order = np.argsort(-ap_CxU.max(1))
    for row, i in zip(rows[:MOST_ROWS], order, strict=False):
        assert row.split()[1] == f"c{i}" and row.split()[-1] == keys[i]
    more = f"and 3 concepts more: {result.folder.path / 'concepts.parquet'}"
    assert rows[MOST_ROWS:] == ([more] if num_concepts > MOST_ROWS else [])
