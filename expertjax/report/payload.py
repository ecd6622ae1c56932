"""A model's results as the page reads them: columns of numbers, each text once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from expertjax.analysis import colearning, counts
from expertjax.analysis.warnings import warnings
from expertjax.concepts.form import MAY_LACK, kind, of_form, spoken
from expertjax.report.data import ReportData
from expertjax.report.limits import Limits
from expertjax.report.null import expected_counts
from expertjax.report.spread import Spread, best_concepts
from expertjax.stores.folder import AT_FIRST

_EDGES = np.linspace(0, 1, 101)
_GAMMAS = np.linspace(0.5, 1, 51)


def model_payload(data: ReportData, limits: Limits, top_k: int) -> dict[str, Any]:
    """Everything that the page shows of one model; plain lists, None for no number.

    Args:
      data: the results.
      limits: what is kept of them.
      top_k: units of each concept that the co-learning map compares.
    """
    places = {int(s): i for i, s in enumerate(data.sentences.texts.index)}
    shown = sorted({int(u) for t in data.experts.values() for u in t["unit"]})
    return {
        "name": data.model_name,
        "facts": data.facts,
        "gamma": data.gamma,
        "warnings": warnings(data.concepts),
        "held_out": data.has_held_out,
        "runs": runs(data.units),
        "concepts": _concepts(data),
        "laws": _laws(data),
        "top": [_top(data, key, places) for key in data.concepts["concept"]],
        "members": _members(data, places),
        "units": _units(data, np.array(shown, int), limits, places),
        "pool": data.num_sentences,
        "writes": _writes(data, shown),
        "sentence_numbers": list(places),
        "sentences": [_clip(text, limits.text) for text in data.sentences.texts],
        "over": _over(data),
        "layers": _layers(data),
        "map": _map(data, top_k),
    }


def numbers(values: ArrayLike, digits: int) -> list[float | int | None]:
    """Rounded; what is not finite is None, whole numbers are written as such."""
    values = np.asarray(values)
    if values.dtype.kind in "iub":
        return values.astype(int).tolist()
    rounded = np.round(values.astype(float), digits).tolist()
    return [one_number(value) for value in rounded]


def one_number(value: float) -> float | int | None:
    """None where it is not finite."""
    if not np.isfinite(value):
        return None
    return int(value) if value == int(value) else float(value)


def significant(values: ArrayLike) -> list[float | int | None]:
    """Five significant digits."""
    return [
        one_number(float(f"{value:.5g}"))
        for value in np.asarray(values, float).tolist()
    ]


def runs(units: pd.DataFrame) -> dict[str, list[Any]]:
    """Units that follow each other in one module: first unit, first index, how many."""
    step = (
        (units["module"] != units["module"].shift())
        | (units["unit"].diff() != 1)
        | (units["index"].diff() != 1)
    )
    firsts = np.flatnonzero(step)
    table = units.iloc[firsts]
    return {
        "unit": table["unit"].tolist(),
        "index": table["index"].tolist(),
        "count": np.diff([*firsts, len(units)]).tolist(),
        "module": table["module"].tolist(),
        "layer": table["layer"].tolist(),
        "site": table["site"].tolist(),
    }


def _concepts(data: ReportData) -> dict[str, Any]:
    """[C] columns, and a row of numbers for each concept's charts."""
    table = data.concepts
    best_C = data.ap_CxU.argmax(1)
    columns = {
        "key": table["concept"].tolist(),
        "name": data.names,
        "group": table["group"].tolist(),
        "n_pos": numbers(table["n_pos"], 0),
        "n_neg": numbers(table["n_neg"], 0),
        "chance": numbers(table["chance"], 5),
        "best": numbers(table["max_ap"], 5),
        "threshold": numbers(table["null_threshold"], 5),
        "above": numbers(table["n_above"], 0),
        "experts": numbers(
            counts.experts_per_concept(data.ap_CxU, data.gamma, data.floor_C), 0
        ),
        "best_unit": data.units["unit"].to_numpy()[best_C].tolist(),
        "observed": [np.histogram(ap_U, _EDGES)[0].tolist() for ap_U in data.ap_CxU],
        "over": [
            counts.count_at_least(ap_U, _GAMMAS.astype(ap_U.dtype)).tolist()
            for ap_U in counts.with_floor(data.ap_CxU, data.floor_C)
        ],
    }
    if "surface_ap" in table:
        columns["surface"] = _surface(data)
    if data.has_held_out:
        columns["held_out"] = numbers(data.held_out, 5)
    return columns


def _surface(data: ReportData) -> dict[str, Any]:
    """[C] columns: what tells each concept without a model, and units beside it."""
    table = data.concepts
    rows = dict(list(data.surface.groupby("concept", sort=False)))
    none = data.surface.iloc[:0]
    return {
        "feature": [spoken(feature) for feature in table["surface_feature"]],
        "ap": numbers(table["surface_ap"], 5),
        "high": numbers(table["surface_high"], 5),
        "above": numbers(table["above_surface"], 0),
        "n_above": numbers(table["n_above_surface"], 0),
        "words": numbers(table["words_ap"], 5),
        "form": table["form"].tolist(),
        "form_said": [of_form(form) for form in table["form"]],
        "is_lacking": numbers(table["form"].isin(MAY_LACK), 0),
        "n_pos_without": numbers(table["n_pos_without"], 0),
        "n_neg_without": numbers(table["n_neg_without"], 0),
        "ap_without": numbers(table["ap_without"], 5),
        "features": [
            [
                [
                    spoken(row.feature),
                    one_number(round(float(row.ap), 5)),
                    kind(row.feature),
                ]
                for row in rows.get(key, none).itertuples()
            ]
            for key in table["concept"]
        ],
    }


def _laws(data: ReportData) -> dict[str, list[float | int | None]]:
    """Units that chance puts into each bin of AP, by "positives,negatives"."""
    sizes = zip(data.concepts["n_pos"], data.concepts["n_neg"], strict=True)
    return {
        f"{n_pos},{n_neg}": significant(
            expected_counts(data.null_of(n_pos, n_neg), _EDGES, len(data.units))
        )
        for n_pos, n_neg in dict.fromkeys(sizes)
    }


def _top(data: ReportData, key: str, places: dict[int, int]) -> dict[str, Any]:
    """A concept's top units, and the positives that its best unit misses."""
    table = data.experts.get(key)
    if table is None:
        return {"unit": [], "missed": []}
    columns = {
        "unit": table["unit"].tolist(),
        "ap": numbers(table["ap"], 5),
        "above": numbers(table["above_chance"].to_numpy(bool), 0),
        "expert": numbers(
            counts.is_expert(table["ap"].to_numpy(data.ap_CxU.dtype), data.gamma)
            & table["above_chance"].to_numpy(bool),
            0,
        ),
        "low": numbers(table["ap_low"], 4),
        "high": numbers(table["ap_high"], 4),
        "on_p50": significant(table["on_p50"]),
        "on_p90": significant(table["on_p90"]),
        "off_mean": significant(table["off_mean"]),
    }
    if "above_surface" in table:
        columns["above_surface"] = numbers(table["above_surface"].to_numpy(bool), 0)
    if "ap_without" in table:
        columns["without"] = numbers(table["ap_without"], 4)
    if "ap_heldout" in table:
        columns["held_out"] = numbers(table["ap_heldout"], 5)
    missed = data.sentences.missed.get(key)
    columns["missed"] = [] if missed is None else _places(missed["sentence"], places)
    columns["missed_at"] = [] if missed is None else significant(missed["response"])
    return columns


def _members(data: ReportData, places: dict[int, int]) -> list[list[list[int]]]:
    """For each concept the shown positives and negatives, as steps from one to next."""
    table = data.sentences.members
    rows = dict(list(table.groupby("concept"))) if len(table) else {}
    members: list[list[list[int]]] = []
    for key in data.concepts["concept"]:
        own = rows.get(key)
        if own is None:
            members.append([[], []])
            continue
        members.append(
            [
                _steps(_places(own["sentence"][own["label"] == label], places))
                for label in (1, 0)
            ]
        )
    return members


def _units(
    data: ReportData, shown: np.ndarray, limits: Limits, places: dict[int, int]
) -> dict[str, Any]:
    """Each unit that has a page: its best concepts, its sentences."""
    column = pd.Series(np.arange(len(data.units)), index=data.units["unit"])
    ap_CxK = data.ap_CxU[:, column.loc[shown].to_numpy()]
    best_CxK = best_concepts(ap_CxK, limits.concepts)
    ap_CxK = np.take_along_axis(ap_CxK, best_CxK, 0)
    names = ("sentence", "response", "start", "end", "rank")
    none = pd.DataFrame({name: [] for name in names})
    own = [data.sentences.own.get(int(unit), none) for unit in shown]
    excited = [
        data.sentences.excited.get(int(unit), none).iloc[: limits.sentences]
        for unit in shown
    ]
    return {
        "unit": shown.tolist(),
        "concepts": best_CxK.T.tolist(),
        "ap": [numbers(ap_C, 4) for ap_C in ap_CxK.T],
        "atFirst": numbers(_at_first(data.units, column.loc[shown]), 4),
        "sentences": [_places(t["sentence"], places) for t in excited],
        "responses": [significant(t["response"]) for t in excited],
        "marks": [
            np.stack([t["start"], t["end"]], axis=1).ravel().tolist() for t in excited
        ],
        "own": [_places(t["sentence"], places) for t in own],
        "own_at": [significant(t["response"]) for t in own],
        "own_rank": [numbers(t["rank"], 0) for t in own],
        "spreads": [_spread(data.sentences.spreads.get(int(unit))) for unit in shown],
    }


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    """Counts of one unit's best concepts, in the order of its best concepts."""
    if spread is None:
        return None
    ends = significant([spread.low, spread.high])
    return {"range": ends, "counts": spread.counts.tolist()}


def _writes(data: ReportData, shown: list[int]) -> dict[str, Any] | None:
    """What units with a page promote and suppress; None if it was not computed.

    Each text stands once. A unit has as many promoted tokens as, after them, suppressed
    ones; none where it has no direct effect, and None where that was not computed.
    """
    if data.writes is None:
        return None
    table = data.writes[data.writes["unit"].isin(shown)]
    text_of = table.drop_duplicates("token_id").set_index("token_id")["token"]
    place = pd.Series(np.arange(len(text_of)), index=text_of.index)
    rows = dict(list(table.groupby("unit")))
    of = [rows.get(unit, table.iloc[:0]) for unit in shown]
    return {
        "texts": text_of.tolist(),
        "any": len(data.writes) > 0,
        "token": [
            place.loc[t["token_id"]].tolist() if unit in data.writers else None
            for unit, t in zip(shown, of, strict=True)
        ],
        "effect": [[float(f"{x:.3g}") for x in t["effect"]] for t in of],
        "deviations": [numbers(t["deviations"], 1) for t in of],
        "sign": [int(t["sign"].iloc[0]) if len(t) else 0 for t in of],
    }


def _at_first(units: pd.DataFrame, rows: pd.Series) -> np.ndarray:
    """The share of sentences whose maximum is at the first token; NaN: not known."""
    if AT_FIRST not in units:
        return np.full(len(rows), np.nan)
    return units[AT_FIRST].to_numpy()[rows]


def _over(data: ReportData) -> dict[str, Any]:
    over = counts.over_gamma(data.ap_CxU, _GAMMAS, data.floor_C)
    at = counts.over_gamma(data.ap_CxU, [data.gamma], data.floor_C)
    return {
        "gammas": numbers(_GAMMAS, 2),
        "acquired": over.acquired.tolist(),
        "experts": over.experts.tolist(),
        "units": over.units.tolist(),
        "at": [int(at.acquired[0]), int(at.experts[0]), int(at.units[0])],
    }


def _layers(data: ReportData) -> dict[str, Any]:
    """Experts of each concept by layer and site (only cells that have any)."""
    cells, best = [], counts.max_ap_by_layer(data.ap_CxU, data.units, data.concepts)
    for row in range(len(data.concepts)):
        ap_1xU = data.ap_CxU[row : row + 1]
        table = counts.experts_by_layer_and_site(
            ap_1xU, data.units, data.gamma, data.floor_C[row : row + 1]
        )
        flat = table.to_numpy().ravel()
        at = np.flatnonzero(flat)
        cells.append([at.tolist(), flat[at].tolist()])
    kinds = counts.kinds_of_sites(data.units["site"])
    per_cell = data.units.groupby(["layer", kinds]).size()
    return {
        "layers": [int(layer) for layer in table.index],
        "sites": [str(site) for site in table.columns],
        "units": per_cell.reindex(
            pd.MultiIndex.from_product([table.index, table.columns]), fill_value=0
        ).tolist(),
        "experts": cells,
        "best": [numbers(row, 4) for row in best.to_numpy()],
    }


def _map(data: ReportData, top_k: int) -> dict[str, Any]:
    """Which concepts share top units."""
    k = min(top_k, data.ap_CxU.shape[1])
    top_CxK = colearning.top_units(data.ap_CxU, k)
    keys = list(data.concepts["concept"])
    found = colearning.overlap(keys, list(top_CxK), data.ap_CxU.shape[1])
    number_U = data.units["unit"].to_numpy()
    return {
        "k": k,
        "num_units": data.ap_CxU.shape[1],
        "order": colearning.cluster_order(found.overlap).tolist(),
        "shared": [row[: c + 1].tolist() for c, row in enumerate(found.shared_CxC)],
        "top": [number_U[row].tolist() for row in top_CxK],
        "ap": [
            numbers(ap_U[row], 4)
            for ap_U, row in zip(data.ap_CxU, top_CxK, strict=True)
        ],
    }


def _places(sentences: Iterable[int], places: dict[int, int]) -> list[int]:
    return [places[int(sentence)] for sentence in sentences]


def _steps(places: list[int]) -> list[int]:
    """Ascending numbers as differences, which pack better."""
    return np.diff(sorted(places), prepend=0).tolist()


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
