"""The loss curve of a run, as a figure."""

import csv
import math
from pathlib import Path


def draw_loss_curve(log: Path, picture: Path, baselines: dict[str, float]) -> None:
    """Draws training and held-out loss over tokens, beside the baselines.

    Args:
      log: `train_log.csv`.
      picture: PNG to be written.
      baselines: name -> perplexity on the held-out lines.
    """
    from matplotlib.figure import Figure  # a second of imports, used once

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    millions = [int(row["tokens"]) / 1e6 for row in rows]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for column, style in (("train_loss", "C0-"), ("heldout_loss", "C1o-")):
        losses = [float(row[column]) for row in rows]
        name = column.replace("_loss", "").replace("heldout", "held-out")
        axes.plot(millions, losses, style, label=name, ms=3)
    for (name, perplexity), dashes in zip(baselines.items(), ("--", ":"), strict=False):
        loss = math.log(perplexity)
        axes.axhline(loss, color="0.4", ls=dashes, label=f"{name} ({perplexity:.0f})")
    axes.set_xlabel("million tokens")
    axes.set_ylabel("cross-entropy per token (nats)")
    axes.legend(title="perplexity in brackets", frameon=False)
    figure.savefig(picture, dpi=150)
