"""From a finished result to its report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from expertjax.analysis.expertise import Expertise
from expertjax.report.data import ExcitedSentence, ReportData
from expertjax.report.write import write_report

_SHOWN = ("on_p50", "on_p90", "off_mean")
TOP_UNITS = 10  # in a concept's table
EXCITED_UNITS = 3  # of these, with sentences
SENTENCES = 5


def build_report(
    expertise: Expertise, gamma: float, folder: Path | str | None = None
) -> Path:
    """Writes the report of one model.

    Args:
      expertise: a finished result.
      gamma: AP from which a unit is called an expert.
      folder: by default `report` in the result's folder.

    Returns:
      the path of `index.html`.

    Raises:
      InputError: the result is damaged, or the folder cannot be used.
    """
    folder = folder or expertise.folder.path / "report"
    return write_report(folder, report_data(expertise, gamma))


def report_data(expertise: Expertise, gamma: float) -> ReportData:
    """Gathers what the report of one model shows."""
    keys = list(expertise.concepts["concept"])
    experts = {key: _top(expertise, key) for key in keys}
    return ReportData(
        model_name=expertise.folder.name,
        facts=_facts(expertise),
        gamma=gamma,
        units=expertise.units,
        concepts=expertise.concepts,
        null=expertise.null,
        ap_CxU=expertise.metric("ap"),
        experts=experts,
        excited=_excited(expertise, experts),
    )


def _top(expertise: Expertise, key: str) -> pd.DataFrame:
    """The best units; NaN for metrics that were not stored."""
    table = expertise.top(key, TOP_UNITS)
    return table.assign(**{m: np.nan for m in _SHOWN if m not in table})


def _excited(
    expertise: Expertise, experts: dict[str, pd.DataFrame]
) -> dict[str, dict[int, list[ExcitedSentence]]]:
    if not expertise.folder.keeps_responses:
        return {key: {} for key in experts}
    shown = {key: list(top["unit"][:EXCITED_UNITS]) for key, top in experts.items()}
    every = [unit for units in shown.values() for unit in units]
    tables = _sentences(expertise, every)
    members = expertise.folder.read_table("memberships")
    excited = {}
    for key, rows in members.groupby("concept", sort=False):
        label_of = dict(zip(rows["sentence"], rows["label"], strict=True))
        excited[str(key)] = {
            unit: [
                ExcitedSentence(
                    row.text,
                    float(row.response),
                    int(label_of.get(row.sentence, -1)),
                    int(row.start),
                    int(row.end),
                )
                for row in tables[unit].itertuples(index=False)
            ]
            for unit in shown[str(key)]
        }
    return excited


def _sentences(expertise: Expertise, units: Sequence[int]) -> dict[int, pd.DataFrame]:
    """unit -> sentence, text, response, start and end of the marked token, or -1."""
    table = expertise.excited
    if set(units) <= set(table["unit"]):
        shown = table[table["rank"] <= SENTENCES]
        return {int(str(unit)): rows for unit, rows in shown.groupby("unit")}
    looked_up = expertise.most_exciting(units, SENTENCES)
    return {unit: rows.assign(start=-1, end=-1) for unit, rows in looked_up.items()}


def _facts(expertise: Expertise) -> dict[str, str]:
    steps = expertise.folder.read_run()
    run, held_out = steps["capture"], steps["score"]["holdout"]
    labelled = int(np.sum(expertise.concepts[["n_pos", "n_neg"]].to_numpy()))
    facts = {
        "Family": run["family"],
        "Layers": str(run["num_layers"]),
        "Units": f"{run['num_units']:,}",
        "Concepts": f"{len(expertise.concepts):,}",
        "Sentences in the pool": f"{run['num_sentences']:,}",
        "Labelled sentences": f"{labelled:,}",
        "Longest sentence": f"{run['seq_len']} tokens",
        "Dropped as longer": f"{run['num_dropped']:,}",
        "Truncated": f"{run['num_truncated']:,}",
        "Response": f"{run['pooling']} over tokens",
        "Special tokens": f"{run['special_tokens']}d",
        "Computed in": run["compute_dtype"],
        "Stored in": run["store_dtype"],
    }
    if not expertise.folder.keeps_responses:
        facts["Stored in"] = "not kept, therefore no sentences are shown"
    if held_out > 0:
        facts["Held out"] = f"{100 * held_out:g}% of each concept's sentences"
    if run["sites"]:
        facts["Sites"] = run["sites"]
    if run["compat"]:
        facts["Compatible with"] = run["compat"]
    return facts
