"""From finished results to a report."""

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd

from expertjax.analysis.compare import CompareSettings, Comparison, compare
from expertjax.analysis.expertise import Expertise
from expertjax.report.data import MOSTLY_FIRST, ReportData, Sentences
from expertjax.report.limits import Limits, limits_for
from expertjax.report.page import model_part
from expertjax.report.pictures import Picture, pictures
from expertjax.report.sentences import gather_sentences
from expertjax.report.side_by_side import side_by_side
from expertjax.report.write import TOP_K, write_pages, write_report
from expertjax.stores.folder import AT_FIRST

_SHOWN = ("on_p50", "on_p90", "off_mean")


def build_report(
    expertise: Expertise,
    gamma: float,
    folder: Path | str | None = None,
    top_k: int = TOP_K,
    drawn: "Future[list[Picture]] | None" = None,
) -> Path:
    """Writes the report of one model.

    Args:
      expertise: a finished result.
      gamma: AP from which a unit is called an expert.
      folder: by default `report` in the result's folder.
      top_k: the units of each concept that the co-learning map compares.
      drawn: its figures, if they are drawn already: see `draw_ahead`.

    Returns:
      the path of `index.html`.

    Raises:
      InputError: the result is damaged, or the folder cannot be used.
    """
    folder = folder or expertise.folder.path / "report"
    data = report_data(expertise, gamma)
    figures = None if drawn is None else drawn.result()
    return write_report(folder, data, top_k, figures)


def draw_ahead(expertise: Expertise, gamma: float) -> "Future[list[Picture]]":
    """Begins to draw the figures of `build_report`, which need nothing but scores.

    In a thread, beside what else the report waits for: which tokens excite the units
    is asked of the model, and computed without this language.

    Args:
      expertise: a finished result.
      gamma: as for `build_report`.
    """

    drawn: Future[list[Picture]] = Future()

    def draw() -> None:
        try:
            data = _scores(expertise, gamma)
            drawn.set_result(list(pictures(data, limits_for(len(data.concepts)))))
        except BaseException as error:
            drawn.set_exception(error)

    # As a daemon, for which no program that is stopped waits.
    threading.Thread(target=draw, daemon=True).start()
    return drawn


def build_comparison(
    results: Sequence[Expertise],
    folder: Path | str,
    comparison: Comparison | None = None,
) -> Path:
    """Writes one page of several models: each of them, and all side by side.

    Args:
      results: finished results.
      folder: where to write.
      comparison: of these results; made with the default settings if it is not given.

    Returns:
      the path of `index.html`.

    Raises:
      InputError: as for `build_report` and `compare`.
    """
    comparison = comparison or compare(results, CompareSettings())
    settings, parts, held_out = comparison.settings, [], {}
    for expertise in results:  # one in memory at a time
        limits = limits_for(len(expertise.concepts), len(results))
        data = report_data(expertise, settings.gamma, limits)
        parts.append(model_part(data, limits, settings.top_k))
        held_out[data.model_name] = data.held_out
    shown = side_by_side(results, comparison, held_out)
    return write_pages(folder, parts, [], shown)


def report_data(
    expertise: Expertise, gamma: float, limits: Limits | None = None
) -> ReportData:
    """Gathers what the report of one model shows."""
    limits = limits or limits_for(len(expertise.concepts))
    data = _scores(expertise, gamma)
    ap_CxU = data.ap_CxU
    experts = _experts(expertise, ap_CxU, min(limits.units, ap_CxU.shape[1]))
    return dataclasses.replace(
        data,
        facts=_facts(expertise),
        experts=experts,
        sentences=gather_sentences(expertise, experts, ap_CxU, limits),
        writes=expertise.writes if expertise.folder.has_table("writes") else None,
        writers=frozenset(expertise.intervals["unit"].tolist()),
        surface=expertise.surface,
        num_sentences=expertise.folder.read_run()["capture"]["num_sentences"],
    )


def _scores(expertise: Expertise, gamma: float) -> ReportData:
    """What figures are drawn from."""
    return ReportData(
        model_name=expertise.folder.name,
        facts={},
        gamma=gamma,
        units=expertise.units,
        concepts=expertise.concepts,
        null=expertise.null,
        ap_CxU=expertise.metric("ap"),
        experts={},
        sentences=Sentences.none(),
    )


def _ties(tolerance: float | None) -> str:
    """Which responses of a unit are one threshold; None is not known."""
    if tolerance is None:
        return "n/a"
    if tolerance == 0:
        return "responses equal to the bit"
    return f"responses closer than {tolerance:g} of a unit's standard deviation"


def _at_first(units: pd.DataFrame, skipped: int | None) -> str:
    """For how many units the first token that counts decides."""
    if AT_FIRST not in units or units[AT_FIRST].isna().any():
        return "n/a"
    share = float((units[AT_FIRST] > MOSTLY_FIRST).mean())
    advice = "" if skipped else " (--skip_first=1 leaves that token out)"
    return (
        f"in over {MOSTLY_FIRST:.0%} of the sentences for {share:.1%} of the units"
        f"{advice}"
    )


def _experts(
    expertise: Expertise, ap_CxU: np.ndarray, k: int
) -> dict[str, pd.DataFrame]:
    """The best units of each concept; NaN for what was not stored."""
    absent = [metric for metric in _SHOWN if metric not in expertise.metrics]
    tables = expertise.tops(ap_CxU, k, _SHOWN)
    return {
        key: table.assign(**dict.fromkeys(absent, np.nan))
        for key, table in tables.items()
    }


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
        "Maximum at the first token": _at_first(expertise.units, run.get("skip_first")),
        "Computed in": known("compute_dtype"),
        "Products of matrices in": known("precision"),
        "Stored in": known("store_dtype"),
    }
    if imported:
        facts["Stored in"] = "not imported, therefore no sentences are shown"
        facts["Imported from"] = (
            f"{imported['num_files']:,} files of the form {imported['format']}"
        )
    elif not expertise.folder.keeps_responses:
        facts["Stored in"] = "not kept, therefore no sentences are shown"
    facts["Ties"] = _ties(steps["score"]["tie_tolerance"])
    if held_out > 0:
        facts["Held out"] = f"{100 * held_out:g}% of each concept's sentences"
    if run.get("read_with"):
        facts["Units of"] = f"the {run['read_with']}"
    if run.get("skip_first"):
        facts["Left out of pooling"] = f"the first {run['skip_first']} tokens"
    if run["sites"]:
        facts["Sites"] = run["sites"]
    if run["compat"]:
        facts["Compatible with"] = run["compat"]
    return facts
