"""A law of AP under permuted labels, as the scoring would write it."""

from statistics import NormalDist

import pandas as pd

TAILS = (0.99, 0.9, 0.5, 0.1, *(10.0**-n for n in range(2, 10)))


def make_null(n_pos: int = 175, n_neg: int = 325) -> pd.DataFrame:
    """That of most units of `conftest.make_ap`: normal."""
    ap = [NormalDist(0.35, 0.04).inv_cdf(1 - tail) for tail in TAILS]
    return pd.DataFrame({"n_pos": n_pos, "n_neg": n_neg, "tail": TAILS, "ap": ap})
