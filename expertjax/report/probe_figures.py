"""Figures of how well models generalize."""

import numpy as np
import pandas as pd

from expertjax.report import drawing
from expertjax.report.drawing import BLUE


def accuracy_png(models: pd.DataFrame) -> bytes:
    """Mean accuracy of the probes, a row for each model, the best on top.

    Args:
      models: with the columns model and accuracy.
    """
    ordered = models.sort_values(["accuracy", "model"], ascending=[False, True])
    figure, ax = drawing.single(drawing.rows_height(len(ordered)))
    at = np.arange(len(ordered))
    ax.plot(ordered["accuracy"], at, "o", color=BLUE, ms=5)
    for y, value in zip(at, ordered["accuracy"], strict=True):
        ax.annotate(
            f"{value:.3f}", (value, y), (5, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
    drawing.concept_rows(ax, ordered["model"])
    ax.margins(x=0.18)
    ax.set_xlabel("mean accuracy of linear probes on test sentences")
    return drawing.png(figure)
