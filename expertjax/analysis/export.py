"""Exporting expertise: the reference's files, Parquet, CSV."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from expertjax.analysis.expertise import Expertise
from expertjax.concepts.files import check_name
from expertjax.errors import InputError
from expertjax.stores import paths, selfcond_files

Format = Literal["selfcond", "parquet", "csv"]


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
    order = selfcond_files.row_order(expertise.units)
    units = expertise.units.iloc[order]
    for key in expertise.concepts["concept"]:
        group, _, name = key.partition("/")
        check_name(group, "group")
        check_name(name, "concept")
        scores = {
            metric: expertise.metric(metric, key)[order]
            for metric in selfcond_files.METRICS
        }
        selfcond_files.write_concept(folder, group, name, units, scores)


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
