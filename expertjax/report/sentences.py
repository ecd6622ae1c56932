"""The sentences of a report: what excites its units, and which positives do not.

Responses are read once for both, and counted by class on the way (`spread.py`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from expertjax.analysis.expertise import Expertise
from expertjax.report.data import Sentences
from expertjax.report.limits import Limits
from expertjax.report.spread import (
    best_concepts,
    own_sentences,
    read_labelled,
    spread_of,
)

_BYTES = 64 * 2**20  # of responses in memory at once


def gather_sentences(
    expertise: Expertise,
    experts: dict[str, pd.DataFrame],
    ap_CxU: np.ndarray,
    limits: Limits,
) -> Sentences:
    """Finds the sentences that excite the top units, and the positives that do not.

    Args:
      expertise: a finished result.
      experts: concept -> its top units.
      ap_CxU: the metric "ap".
      limits: how many units and sentences.

    Returns:
      none at all where the responses were not kept.
    """
    if not expertise.folder.keeps_responses:
        return Sentences.none()
    best = {key: int(table["unit"].iloc[0]) for key, table in experts.items()}
    members = expertise.folder.read_table("memberships")
    positives = {
        str(key): rows["sentence"].to_numpy()
        for key, rows in members[members["label"] == 1].groupby("concept")
    }
    excited = _marked(expertise, experts, limits)
    wanted = {
        int(unit)
        for table in experts.values()
        for unit in table["unit"].iloc[: limits.excited]
    }
    labelled = read_labelled(members)
    keys = expertise.concepts["concept"].tolist()
    missed, own, spreads = {}, {}, {}
    for unit, x_N in _columns(expertise, sorted(wanted | {*best.values()})):
        if unit in wanted:
            rows = best_concepts(ap_CxU[:, [unit]], limits.spreads)[:, 0]
            concepts = [labelled[keys[row]] for row in rows]
            spreads[unit] = spread_of(x_N, concepts)
            own[unit] = own_sentences(
                x_N, concepts[0], limits.sentences, limits.negatives
            )
            excited.setdefault(unit, _highest(x_N, limits.sentences))
        for key in (key for key, first in best.items() if first == unit):
            missed[key] = _lowest(x_N, positives[key], limits.missed)
    tables = [*excited.values(), *missed.values(), *own.values()]
    shown = np.unique(np.concatenate([table["sentence"] for table in tables]))
    texts = expertise.folder.read_table("sentences")["text"].iloc[shown]
    members = members[members["sentence"].isin(shown)].reset_index(drop=True)
    return Sentences(texts.set_axis(shown), excited, missed, members, own, spreads)


def _marked(
    expertise: Expertise, experts: dict[str, pd.DataFrame], limits: Limits
) -> dict[int, pd.DataFrame]:
    """What was captured together with the tokens, of units that have a page."""
    shown = {int(unit) for table in experts.values() for unit in table["unit"]}
    table = expertise.excited
    table = table[(table["rank"] <= limits.sentences) & table["unit"].isin(shown)]
    columns = ["sentence", "response", "start", "end"]
    return {
        int(str(unit)): rows.sort_values("rank")[columns]
        for unit, rows in table.groupby("unit")
    }


def _columns(
    expertise: Expertise, units: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Each unit's responses to the whole pool, [N]; a few columns are read at once."""
    n_sentences = expertise.folder.read_run()["capture"]["num_sentences"]
    step = max(1, _BYTES // (4 * n_sentences))
    for start in range(0, len(units), step):
        some = np.array(units[start : start + step], np.int64)
        x_NxK = expertise.responses(some)
        yield from zip(some.tolist(), x_NxK.T, strict=True)


def _highest(x_N: np.ndarray, n: int) -> pd.DataFrame:
    rows = np.argsort(-x_N, kind="stable")[:n]
    return pd.DataFrame(
        {"sentence": rows, "response": x_N[rows], "start": -1, "end": -1}
    )


def _lowest(x_N: np.ndarray, positives: np.ndarray, n: int) -> pd.DataFrame:
    rows = positives[np.argsort(x_N[positives], kind="stable")[:n]]
    return pd.DataFrame({"sentence": rows, "response": x_N[rows]})
