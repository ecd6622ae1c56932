"""From a finished result to its report."""

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
    tables = expertise.most_exciting(every, SENTENCES)
    members = expertise.folder.read_table("memberships")
    excited = {}
    for key, rows in members.groupby("concept", sort=False):
        label_of = dict(zip(rows["sentence"], rows["label"], strict=True))
        excited[str(key)] = {
            unit: [
                ExcitedSentence(text, float(response), int(label_of.get(sentence, -1)))
                for sentence, text, response in tables[unit].itertuples(index=False)
            ]
            for unit in shown[str(key)]
        }
    return excited


def _facts(expertise: Expertise) -> dict[str, str]:
    steps = expertise.folder.read_run()
    run, held_out = steps["capture"], steps["score"]["holdout"]
    imported = steps.get("import")
    labelled = int(np.sum(expertise.concepts[["n_pos", "n_neg"]].to_numpy()))

    def known(name: str, form: str = "{}") -> str:
        """What the run says; an imported one does not know all of it."""
        return "n/a" if run[name] is None else form.format(run[name])

    facts = {
        "Family": known("family"),
        "Layers": known("num_layers"),
        "Units": known("num_units", "{:,}"),
        "Concepts": f"{len(expertise.concepts):,}",
        "Sentences in the pool": known("num_sentences", "{:,}"),
        "Labelled sentences": f"{labelled:,}",
        "Longest sentence": known("seq_len", "{} tokens"),
        "Dropped as longer": known("num_dropped", "{:,}"),
        "Truncated": known("num_truncated", "{:,}"),
        "Response": known("pooling", "{} over tokens"),
        "Special tokens": known("special_tokens", "{}d"),
        "Computed in": known("compute_dtype"),
        "Stored in": known("store_dtype"),
    }
    if imported:
        facts["Stored in"] = "not imported, therefore no sentences are shown"
        facts["Imported from"] = (
            f"{imported['num_files']:,} files of the form {imported['format']}"
        )
    elif not expertise.folder.keeps_responses:
        facts["Stored in"] = "not kept, therefore no sentences are shown"
    if held_out > 0:
        facts["Held out"] = f"{100 * held_out:g}% of each concept's sentences"
    if run["sites"]:
        facts["Sites"] = run["sites"]
    if run["compat"]:
        facts["Compatible with"] = run["compat"]
    return facts
