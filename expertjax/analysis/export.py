"""Exporting expertise: the reference's files, Parquet, CSV."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from expertjax.analysis.expertise import Expertise
from expertjax.concepts.files import check_name
from expertjax.errors import InputError
from expertjax.stores import paths

Format = Literal["selfcond", "parquet", "csv"]
# 501 thresholds from 0.5 to 1, as the reference counts.
_THRESHOLDS = np.linspace(0.5, 1.0, 501)


def export_expertise(expertise: Expertise, out: Path | str, form: Format) -> Path:
    """Writes a result in another form.

    "selfcond": `<group>/<concept>/expertise/expertise.csv` and
    `expertise_info.json`, in the names, columns and order of apple/ml-selfcond.
    "parquet", "csv": one long table `expertise.<form>` of all concepts, units and
    metrics.

    Args:
      expertise: a finished result.
      out: files go to `out/<model name>`.
      form: see above.

    Returns:
      `out/<model name>`.

    Raises:
      InputError: the folder exists and is not empty.
    """
    writers: dict[str, Callable[[Expertise, Path], None]] = {
        "selfcond": _write_selfcond,
        "parquet": _write_parquet,
        "csv": _write_csv,
    }
    target = paths.as_path(out) / expertise.folder.name
    if target.exists() and any(target.iterdir()):
        raise InputError(f"--out: {target} exists and is not empty; choose another")
    with paths.aside(target) as folder:
        folder.mkdir(parents=True)
        writers[form](expertise, folder)
        if target.exists():
            target.rmdir()
    return target


def _write_selfcond(expertise: Expertise, folder: Path) -> None:
    units = expertise.units
    layer = units["module"] + ":0"
    # The reference sorts layers as strings and keeps units in order within.
    order = np.lexsort((units["index"], layer))
    for key in expertise.concepts["concept"]:
        group, _, name = key.partition("/")
        check_name(group, "group")
        check_name(name, "concept")
        scores = {
            metric: expertise.metric(metric, key)[order]
            for metric in ("ap", "off_mean", "on_p50", "on_p90")
        }
        table = pd.DataFrame(
            {
                **scores,
                "layer": layer.to_numpy()[order],
                "unit": units["index"].to_numpy()[order].astype(np.uint32),
                "uuid": np.arange(len(units)),
                "concept": name,
                "group": group,
            }
        )
        target = folder / group / name / "expertise"
        target.mkdir(parents=True)
        table.to_csv(target / "expertise.csv", index=False)
        ap = scores["ap"]
        info = {
            "concept": name,
            "group": group,
            "max_ap": float(ap.max()),
            "layer_names": sorted(set(layer)),
            "total_neurons": len(units),
            "neurons_at_ap": {f"{t:0.5f}": int((ap > t).sum()) for t in _THRESHOLDS},
        }
        (target / "expertise_info.json").write_text(json.dumps(info, indent=4))


def _tables(expertise: Expertise) -> Iterator[pd.DataFrame]:
    """One table of all units for each concept."""
    for key in expertise.concepts["concept"]:
        table = expertise.units.assign(
            **{metric: expertise.metric(metric, key) for metric in expertise.metrics}
        )
        table.insert(0, "concept", key)
        yield table


def _write_parquet(expertise: Expertise, folder: Path) -> None:
    writer = None
    for table in _tables(expertise):
        batch = pa.Table.from_pandas(table, preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / "expertise.parquet", batch.schema)
        writer.write_table(batch)
    if writer:
        writer.close()


def _write_csv(expertise: Expertise, folder: Path) -> None:
    with (folder / "expertise.csv").open("w", encoding="utf-8", newline="") as file:
        for i, table in enumerate(_tables(expertise)):
            table.to_csv(file, index=False, header=i == 0)
