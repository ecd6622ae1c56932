"""The files of apple/ml-selfcond and its forks: names, columns, order.

    <model>/<group>/<concept>/expertise/expertise.csv        a row for each unit
    <model>/<group>/<concept>/expertise/expertise_info.json  counts

Both ways, export and import, go through here. kojima-takeshi188/lang_neuron has one
more column, off_p50, and files `expertise_limited_*.csv` of some units only.
"""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from expertjax.errors import InputError

METRICS = ("ap", "off_mean", "on_p50", "on_p90")
_FORKS_METRICS = ("off_p50",)
_TEXT = ("layer", "concept", "group")
_NEEDED = ("ap", "layer", "unit", "concept", "group")
_SUFFIX = ":0"  # of a torch module's first output
# 501 thresholds from 0.5 to 1, as the reference counts.
_THRESHOLDS = np.linspace(0.5, 1.0, 501)
# The reference takes max_ap before it rounds to float32.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class ConceptScores:
    """What the files say of one concept; rows R in the order of the file.

    Attributes:
      layout: torch module -> its number of units; ascending by name.
      module_R: numbers of modules in `layout`.
      index_R: output coordinates.
      scores: metric -> [R] float32.
      ignored: columns that are not known here.
      sha256: of `expertise.csv`.
    """

    layout: dict[str, int]
    module_R: np.ndarray
    index_R: np.ndarray
    scores: dict[str, np.ndarray]
    ignored: tuple[str, ...]
    sha256: str


def row_order(units: pd.DataFrame) -> np.ndarray:
    """[U] unit numbers as the reference orders rows: layers as strings, then units."""
    return np.lexsort((units["index"], units["module"] + _SUFFIX))


def write_concept(
    folder: Path,
    group: str,
    name: str,
    units: pd.DataFrame,
    scores: Mapping[str, np.ndarray],
) -> None:
    """Writes both files of a concept.

    Args:
      folder: the model's.
      group: of the concept.
      name: of the concept.
      units: [U] rows with module and index, in `row_order`.
      scores: [U] of each of `METRICS`, in the same order.
    """
    layer = units["module"].to_numpy() + _SUFFIX
    table = pd.DataFrame(
        {
            **{metric: scores[metric] for metric in METRICS},
            "layer": layer,
            "unit": units["index"].to_numpy().astype(np.uint32),
            "uuid": np.arange(len(units)),
            "concept": name,
            "group": group,
        }
    )
    ap = scores["ap"]
    info = {
        "concept": name,
        "group": group,
        "max_ap": float(ap.max()),
        "layer_names": sorted(set(layer)),
        "total_neurons": len(units),
        "neurons_at_ap": {f"{t:0.5f}": int((ap > t).sum()) for t in _THRESHOLDS},
    }
    path = table_path(folder, group, name)
    path.parent.mkdir(parents=True)
    table.to_csv(path, index=False)
    _info_path(path).write_text(json.dumps(info, indent=4))


def table_path(folder: Path, group: str, name: str) -> Path:
    """Of a concept's `expertise.csv`."""
    return folder / group / name / "expertise" / "expertise.csv"


def _info_path(table: Path) -> Path:
    return table.with_name("expertise_info.json")


def find_concepts(folder: Path) -> list[tuple[str, str]]:
    """[C] (group, name) of the concepts in a model's folder, sorted.

    Raises:
      InputError: there are none; says what is there in their place.
    """
    if not folder.is_dir():
        raise InputError(f"--results={folder}: no such folder")
    found = sorted(folder.glob("*/*/expertise/expertise.csv"))
    if found:
        return [(path.parts[-4], path.parts[-3]) for path in found]
    expected = "expected <group>/<concept>/expertise/expertise.csv in it"
    if any(folder.glob("*/*/expertise/expertise_limited_*.csv")):
        raise InputError(
            f"--results={folder}: holds only expertise_limited_*.csv, in which most "
            f"units are missing; {expected}, as compute_expertise writes it"
        )
    # In the root of several models, or of a hub id's organisation.
    deeper = [*folder.glob("*/*/*/expertise/expertise.csv")]
    deeper += folder.glob("*/*/*/*/expertise/expertise.csv")
    models = {path.parents[3] for path in deeper}
    advice = f"; give one of {', '.join(map(str, sorted(models)))}" if models else ""
    raise InputError(f"--results={folder}: no results; {expected}{advice}")


def read_concept(folder: Path, group: str, name: str) -> ConceptScores:
    """Reads and checks the files of one concept.

    Args:
      folder: the model's.
      group: of the concept.
      name: of the concept.

    Raises:
      InputError: names the file and lists everything that is wrong with it: columns
        or units that are missing or there twice, numbers that are none, another
        concept's rows, or an `expertise_info.json` that says otherwise.
    """
    path = table_path(folder, group, name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    table, ignored = _parse(path, content)
    layers = _strings(table, "layer")
    layout, module_R = _layout(layers, table["unit"].to_numpy())
    metrics = [m for m in (*METRICS, *_FORKS_METRICS) if m in table.column_names]
    scores = {m: table[m].to_numpy().astype(np.float32, copy=False) for m in metrics}
    problems = [
        *_wrong_names(table, {"concept": name, "group": group}),
        *_wrong_layers(list(layout)),
        *_wrong_units(layout, module_R, table["unit"].to_numpy()),
        *_wrong_numbers(scores),
    ]
    problems += _wrong_info(path, group, name, layout, scores["ap"])
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}")
    return ConceptScores(
        layout={layer.removesuffix(_SUFFIX): width for layer, width in layout.items()},
        module_R=module_R,
        index_R=table["unit"].to_numpy(),
        scores=scores,
        ignored=ignored,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _parse(path: Path, content: bytes) -> tuple[pa.Table, tuple[str, ...]]:
    """The known columns, and the names of the others."""
    header = content[: content.find(b"\n") + 1].decode("utf-8-sig", "replace")
    columns = next(csv.reader(io.StringIO(header)), [])
    problems = [f"no column {c}" for c in _NEEDED if c not in columns]
    twice = sorted({c for c in columns if columns.count(c) > 1})
    problems += [f"column {c} is there twice" for c in twice]
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}; there are {columns}")
    known = (*METRICS, *_FORKS_METRICS, *_TEXT, "unit")
    types = dict.fromkeys((*METRICS, *_FORKS_METRICS), pa.float32())
    types |= dict.fromkeys(_TEXT, pa.dictionary(pa.int32(), pa.string()))
    options = pyarrow.csv.ConvertOptions(
        column_types=types | {"unit": pa.int64()},
        include_columns=[c for c in columns if c in known],
        null_values=["", "nan", "NaN", "NAN"],
    )
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(content), convert_options=options)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
    if not len(table) or table["unit"].null_count:
        what = "no rows" if not len(table) else "rows without a unit"
        raise InputError(f"{path}: {what}; expected one for each unit")
    ignored = tuple(c for c in columns if c not in known and c != "uuid")
    return table.unify_dictionaries().combine_chunks(), ignored


def _strings(table: pa.Table, column: str) -> pd.Categorical:
    """A column of few distinct strings."""
    return pd.Categorical(table[column].to_pandas())


def _layout(
    layers: pd.Categorical, index_R: np.ndarray
) -> tuple[dict[str, int], np.ndarray]:
    """Layers, ascending, with the units that they should have; [R] their numbers."""
    names, number = np.unique(layers.categories.to_numpy(str), return_inverse=True)
    module_R = number[layers.codes]
    widths = np.zeros(len(names), np.int64)
    np.maximum.at(widths, module_R, index_R + 1)
    return dict(zip(map(str, names), widths.tolist(), strict=True)), module_R


def _wrong_names(table: pa.Table, wanted: Mapping[str, str]) -> Iterator[str]:
    for column, name in wanted.items():
        others = sorted(set(_strings(table, column).categories) - {name})
        if others:
            yield f"lies in the folder of {name!r}, but its {column} is {others[0]!r}"


def _wrong_layers(layers: Sequence[str]) -> Iterator[str]:
    wrong = [layer for layer in layers if not layer.endswith(_SUFFIX)]
    if wrong:
        yield f"layer {wrong[0]!r} is no torch module's name with {_SUFFIX}"


def _wrong_units(
    layout: Mapping[str, int], module_R: np.ndarray, index_R: np.ndarray
) -> Iterator[str]:
    """Units that are missing or there twice."""
    if index_R.min() < 0 or index_R.max() >= 2**31:
        yield f"units from {index_R.min()} to {index_R.max()}"
        return
    for number, (layer, width) in enumerate(layout.items()):
        index = index_R[module_R == number]
        distinct = np.unique(index)
        if len(distinct) < width:
            missing = _first_gap(distinct)
            yield (
                f"{layer} has {len(distinct)} of {width} units ({missing} is missing); "
                "expected all units of every layer"
            )
        if len(distinct) < len(index):
            values, counts = np.unique(index, return_counts=True)
            yield f"{layer} has unit {values[counts > 1][0]} twice"


def _first_gap(distinct: np.ndarray) -> int:
    """The least number from 0 on that is not there."""
    there = np.append(distinct, -1) == np.arange(len(distinct) + 1)
    return int(np.argmin(there))


def _wrong_numbers(scores: Mapping[str, np.ndarray]) -> Iterator[str]:
    for metric, values in scores.items():
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            yield f"{metric} is {values[wrong[0]]} in row {wrong[0] + 1}"
    ap = scores["ap"]
    wrong = np.flatnonzero((ap < 0) | (ap > 1))
    if len(wrong):
        yield f"ap is {ap[wrong[0]]} in row {wrong[0] + 1}, expected 0 to 1"


def _wrong_info(
    path: Path, group: str, name: str, layout: Mapping[str, int], ap: np.ndarray
) -> Iterator[str]:
    """What `expertise_info.json` says otherwise."""
    file = _info_path(path).name
    try:
        info: Any = json.loads(_info_path(path).read_text("utf-8"))
        stated = {key: info[key] for key in ("concept", "group", "total_neurons")}
        layers, max_ap = list(info["layer_names"]), float(info["max_ap"])
    except FileNotFoundError:
        yield f"there is no {file} beside it, which says how many units there are"
        return
    except (OSError, ValueError, TypeError, KeyError) as error:
        yield f"{file} beside it is damaged ({error!r})"
        return
    wanted = {"concept": name, "group": group, "total_neurons": len(ap)}
    for key, value in wanted.items():
        if stated[key] != value:
            yield f"{file} says {key} {stated[key]!r}, here it is {value!r}"
    if sorted(map(str, layers)) != list(layout):
        yield f"{file} has other layer_names than the column layer"
    if not abs(max_ap - float(ap.max())) <= _ROUNDING:
        yield f"{file} says max_ap {max_ap}, here it is {ap.max()}"
