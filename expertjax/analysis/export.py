"""Exporting expertise: the reference's files, Parquet, CSV, dashboards."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from expertjax.analysis.dashboards import DashboardSettings, write_saedashboard
from expertjax.analysis.expertise import Expertise
from expertjax.analysis.neuronpedia import write_neuronpedia
from expertjax.concepts.files import check_name
from expertjax.errors import InputError
from expertjax.stores import paths, selfcond_files

Format = Literal["selfcond", "parquet", "csv", "saedashboard", "neuronpedia"]
_DASHBOARDS = {"saedashboard": write_saedashboard, "neuronpedia": write_neuronpedia}


def export_expertise(
    expertise: Expertise,
    out: Path | str,
    form: Format,
    measure: Callable[[], pd.DataFrame] | None = None,
    settings: DashboardSettings | None = None,
) -> Path:
    """Writes a result in another form.

    "selfcond": `<group>/<concept>/expertise/expertise.csv` and
    `expertise_info.json`, in the names, columns and order of apple/ml-selfcond.
    "parquet", "csv": one long table `expertise.<form>` of all concepts, units and
    metrics.
    "saedashboard", "neuronpedia": the units of `experts.parquet` as features, with the
    sentences that excite them, token by token; see docs/dashboards.md.

    Args:
      expertise: a finished result.
      out: files go to `out/<model name>`.
      form: see above.
      measure: gives what `capturing.excited_tokens` does, for the last two; called
        when everything else has been checked.
      settings: for these two.

    Returns:
      `out/<model name>`.

    Raises:
      InputError: the folder exists and is not empty; sentences that excite units are
        not known, or `measure` is missing.
    """
    writers: dict[str, Callable[[Expertise, Path], None]] = {
        "selfcond": _write_selfcond,
        "parquet": _write_parquet,
        "csv": _write_csv,
    }
    target = paths.as_path(out) / expertise.folder.name
    if target.exists() and any(target.iterdir()):
        raise InputError(f"--out: {target} exists and is not empty; choose another")
    if form in _DASHBOARDS:
        tokens = _measured(expertise, form, measure)
        write = functools.partial(
            _DASHBOARDS[form], tokens=tokens, how=settings or DashboardSettings()
        )
        writers[form] = write
    with paths.aside(target) as folder:
        folder.mkdir(parents=True)
        writers[form](expertise, folder)
        if target.exists():
            target.rmdir()
    return target


def _measured(
    expertise: Expertise, form: str, measure: Callable[[], pd.DataFrame] | None
) -> pd.DataFrame:
    """What units do at every token of the sentences that excite them."""
    path = expertise.folder.path
    if not expertise.folder.keeps_responses:
        raise InputError(
            f"--format={form}: the responses of {path} were not kept, so that it is "
            "not known which sentences excite its units; make a result with "
            "find_experts and --keep_responses"
        )
    if expertise.excited.empty:
        raise InputError(
            f"--format={form}: {path} does not say which sentences excite its units "
            "(excited.parquet); the command find_experts that made it adds that"
        )
    if measure is None:
        raise InputError(
            f"--format={form}: what units do at every token of the sentences that "
            f"excite them is not stored; give the --model of {path}, which runs them "
            "once more"
        )
    return measure()


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
