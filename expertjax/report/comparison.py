"""Writes a comparison of results: tables, figures, and a summary to read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure

from expertjax.analysis.agreement import ALL_GROUPS
from expertjax.analysis.colearning import Overlap, strongest_pairs
from expertjax.analysis.compare import CoLearning, Comparison
from expertjax.analysis.ranking import Ranking
from expertjax.concepts.names import short_names
from expertjax.report import colearning_figures, drawing, ranking_figures
from expertjax.stores import paths

_MAX_CSV = 300  # concepts; larger matrices are written as Parquet
_PAIRS = 100  # of concepts, in pairs.csv
_FEW_MODELS = 4  # of more, the summary does not show each alone


def write_comparison(folder: Path | str, comparison: Comparison) -> list[Path]:
    """Writes all tables and figures; everything is made before the first is written.

    In `folder`: presence.csv, layers.csv, presence.png, depth.png; with benchmarks
    ranking.csv, ranking.json, and `r2_BENCHMARK.png`, `scores_BENCHMARK.png`; with
    several models colearning_models.csv. In `folder/<model name>`: overlap.csv (Parquet
    from 300 concepts on), nearest.csv, pairs.csv, overlap.png and, with groups,
    groups.csv and groups.png. Every figure is an SVG file as well.

    Returns:
      the files.

    Raises:
      OSError: they cannot be written.
    """
    folder = paths.as_path(folder)
    content = {
        **dict(_presence_files(comparison)),
        **dict(_ranking_files(comparison)),
        **dict(_agreement_files(comparison)),
    }
    for model in comparison.colearning:
        files = _colearning_files(model, comparison.groups)
        content |= {f"{model.model}/{name}": data for name, data in files}
    for name, data in content.items():
        path = folder / name
        paths.make_folder(path.parent)
        paths.write_atomically(path, data)
    return [folder / name for name in content]


def _csv(table: pd.DataFrame, index: bool = False) -> bytes:
    text: str = table.to_csv(index=index, float_format="%.6g", lineterminator="\n")
    return text.encode()


def _figure(name: str, figure: Figure) -> Iterator[tuple[str, bytes]]:
    """For pages and for papers."""
    yield f"{name}.png", drawing.png(figure)
    yield f"{name}.svg", drawing.svg(figure)


def _presence_files(comparison: Comparison) -> Iterator[tuple[str, bytes]]:
    counted, gamma = comparison.presence, comparison.settings.gamma
    layers = counted.layers(gamma)
    yield "presence.csv", _csv(counted.table())
    yield "layers.csv", _csv(layers)
    yield from _figure("presence", ranking_figures.presence_curves(counted, gamma))
    yield from _figure("depth", ranking_figures.experts_by_depth(layers, gamma))


def _ranking_files(comparison: Comparison) -> Iterator[tuple[str, bytes]]:
    rankings = comparison.rankings
    if not rankings:
        return
    tables = [
        ranking.table.assign(benchmark=name)[["benchmark", *ranking.table.columns]]
        for name, ranking in rankings.items()
    ]
    yield "ranking.csv", _csv(pd.concat(tables, ignore_index=True))
    about = {name: _about(ranking) for name, ranking in rankings.items()}
    yield "ranking.json", json.dumps(about, indent=2, ensure_ascii=False).encode()
    for name, ranking in rankings.items():
        if ranking.best.empty:
            continue
        measure = ranking.best["measure"].iloc[ranking.best["r2"].argmax()]
        curves = ranking_figures.r2_over_gamma(ranking, name)
        points = ranking_figures.scores_scatter(
            comparison.presence, ranking, measure, name
        )
        yield from _figure(f"r2_{name}", curves)
        yield from _figure(f"scores_{name}", points)


def _about(ranking: Ranking) -> dict[str, Any]:
    """Everything but the table over gamma, as JSON has it (no NaN)."""
    return {
        "models": len(ranking.scores),
        "best": json.loads(ranking.best.to_json(orient="records")),
        "predictions": json.loads(ranking.predictions.to_json(orient="records")),
        "warnings": list(ranking.warnings),
    }


def _agreement_files(comparison: Comparison) -> Iterator[tuple[str, bytes]]:
    if comparison.agreement is not None:
        yield "colearning_models.csv", _csv(comparison.agreement)
    if comparison.groups is not None and len(comparison.colearning) > 1:
        table = _groups_of_models(comparison)
        yield "groups.csv", _csv(table)
        figure = colearning_figures.within_and_across(table, "model")
        yield from _figure("groups", figure)


def _groups_of_models(comparison: Comparison) -> pd.DataFrame:
    """The test over all groups: a row per model."""
    rows = [
        model.groups[model.groups["group"] == ALL_GROUPS].assign(model=model.model)
        for model in comparison.colearning
        if model.groups is not None
    ]
    table = pd.concat(rows, ignore_index=True)
    columns = ["concepts", "pairs", "within", "across", "ratio", "p"]
    return table[["model", *columns]]


def _colearning_files(
    model: CoLearning, groups: pd.DataFrame | None
) -> Iterator[tuple[str, bytes]]:
    found = model.found
    matrix = pd.DataFrame(found.overlap, index=found.keys, columns=found.keys)
    matrix.index.name = "concept"
    if len(matrix) <= _MAX_CSV:
        yield "overlap.csv", _csv(matrix, index=True)
    else:
        sink = pa.BufferOutputStream()
        matrix.astype("float32").reset_index().to_parquet(sink, index=False)
        yield "overlap.parquet", sink.getvalue().to_pybytes()
    yield "nearest.csv", _csv(model.nearest)
    yield "pairs.csv", _csv(strongest_pairs(found, _PAIRS))
    yield from _figure("overlap", colearning_figures.overlap_map(found, groups))
    if model.groups is not None:
        yield "groups.csv", _csv(model.groups)
        figure = colearning_figures.within_and_across(model.groups)
        yield from _figure("groups", figure)


def summary(comparison: Comparison, num_pairs: int = 5) -> str:
    """The comparison in words and small tables."""
    counted, settings = comparison.presence, comparison.settings
    parts = [
        f"{len(counted.models)} models, {len(counted.concepts)} concepts in common; "
        f"experts have AP >= {settings.gamma:g}"
        + (" and are above the surface" if counted.above_surface else ""),
        _models_at(comparison, settings.gamma),
    ]
    for name, ranking in comparison.rankings.items():
        parts += [f"benchmark {name}, {len(ranking.scores)} models:"]
        parts += [_text(ranking.best)]
        parts += [f"warning: {warning}" for warning in ranking.warnings]
        if not ranking.best.empty:
            at = ranking.best.iloc[ranking.best["r2"].argmax()]["gamma"]
            parts += [f"at γ* = {at:g}:", _models_at(comparison, at, ranking.scores)]
    if comparison.agreement is not None:
        parts += _agreement_text(comparison.agreement)
    few = len(comparison.colearning) <= _FEW_MODELS
    if comparison.groups is not None and not few:
        parts += ["mean overlap of concepts in one group and across groups:"]
        parts += [_text(_groups_of_models(comparison))]
    for model in comparison.colearning if few else ():
        expected = settings.top_k / model.found.num_units
        parts += [
            f"{model.model}: concepts that share most of their top {settings.top_k} "
            f"units (random sets: overlap {expected:.4f})",
            _pairs_text(model.found, num_pairs),
        ]
        if model.groups is not None:
            parts += [_text(model.groups)]
    parts += [f"warning: {warning}" for warning in comparison.warnings]
    return "\n\n".join(parts)


def _agreement_text(agreement: pd.DataFrame) -> list[str]:
    """All pairs of models, or how far they spread where there are many."""
    about = "do models agree on which concepts share experts?"
    if len(agreement) <= _FEW_MODELS**2:
        return [about, _text(agreement)]
    spread = agreement[["spearman", "p", "neighbours", "expected"]]
    spread = spread.describe().loc[["min", "50%", "max"]]
    return [f"{about} {len(agreement)} pairs:", spread.to_string(float_format="%.4g")]


def _pairs_text(found: Overlap, num_pairs: int) -> str:
    """The pairs that share most, by the names of their concepts."""
    pairs = strongest_pairs(found, num_pairs)
    if pairs.empty:
        return "no two concepts share any"
    names = dict(zip(found.keys, short_names(found.keys), strict=True))
    columns = ["concept", "other"]
    return _text(pairs.assign(**{name: pairs[name].map(names) for name in columns}))


def _models_at(
    comparison: Comparison, gamma: float, scores: pd.Series | None = None
) -> str:
    """Models by acquired concepts, then experts."""
    table = comparison.presence.table(gamma).drop(columns=["gamma", "concepts"])
    if scores is not None:
        table = table.assign(score=table["model"].map(scores))
    by = ["acquired", "experts_share"]
    return _text(table.sort_values(by, ascending=False, ignore_index=True))


def _text(table: pd.DataFrame) -> str:
    text: str = table.to_string(index=False, float_format=lambda x: f"{x:.4g}")
    return text
