"""Texts as the CSV file of the reference, apple/ml-selfcond."""

from collections.abc import Sequence

import pandas as pd

from expertjax.models.unit_edits import UnitEdit

COLUMNS = (
    "forcing_value",
    "num_units",
    "top_n",
    "seed",
    "sentence",
    "mean_metric",
    "forced_layer",
    "perplexity",
    "context",
    "concept",
)


def selfcond_table(
    texts: pd.DataFrame, edits: Sequence[UnitEdit | None]
) -> pd.DataFrame:
    """The reference's columns.

    Args:
      texts: from `generate`, with a column perplexity.
      edits: that it was given.

    Returns:
      a row for each text. `forcing_value` is the value forced to, or the name of
      another edit; `top_n` is 1 for the best k units, 2 for the next; `mean_metric` the
      mean AP of the edited units; `forced_layer` is empty, for all layers.
    """
    rows = []
    for text in texts.itertuples():
        edit = edits[int(text.edit)]
        about = {} if edit is None else edit.about
        kind = about.get("edit", "")
        rows.append(
            {
                "forcing_value": about.get("value") if kind == "force" else kind,
                "num_units": 0 if edit is None else len(edit),
                "top_n": about.get("band", 0) + 1,
                "seed": text.seed,
                "sentence": text.sentence,
                "mean_metric": about.get("mean_ap"),
                "forced_layer": "",
                "perplexity": text.perplexity,
                "context": text.context,
                "concept": about.get("concept", ""),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))
