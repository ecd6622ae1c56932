"""What chance gives: the law of one unit's AP under permuted labels."""

import numpy as np
import pandas as pd


def expected_counts(law: pd.DataFrame, edges: np.ndarray, n_units: int) -> np.ndarray:
    """How many of `n_units` units fall into each bin of AP under permuted labels.

    Args:
      law: rows of `ReportData.null` for one number of positives and negatives.
      edges: of the bins, ascending from 0 to 1, [B + 1]; the last bin is closed.
      n_units: units scored.

    Returns:
      Expected counts, [B], which sum to `n_units`.
    """
    reached = survival(law, edges)
    reached[-1] = 0  # the last bin keeps the units of AP 1
    return n_units * -np.diff(reached)


def survival(law: pd.DataFrame, ap: np.ndarray) -> np.ndarray:
    """Probability that one unit's AP is at least `ap`, any shape.

    Its logarithm is interpolated between the rows of `law`; it is 1 below the first
    and 0 beyond the last.
    """
    finite = law[np.isfinite(law["ap"])]
    if finite.empty:
        return np.where(ap <= 1, 1.0, 0.0)
    # Backwards, because at an AP of several rows `np.interp` takes the last of them:
    # thus that of the largest tail, which includes all who have just this AP.
    backwards = finite.iloc[::-1]
    log_tail = np.interp(
        -ap, -backwards["ap"], np.log(backwards["tail"]), left=-np.inf, right=0
    )
    return np.exp(log_tail)
