"""The pass over a store: blocks of units in, blocks of expertise out."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorstore as ts
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.concepts.pool import ConceptSet
from expertjax.jax_settings import jax_settings
from expertjax.runtime import processes, stopping
from expertjax.scoring import labels
from expertjax.scoring.blocks import fitting_block_bytes
from expertjax.scoring.run import Bounds, Scoring, unit_blocks
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder


@jax_settings()
def score(
    responses: ResultFolder,
    concepts: ConceptSet | None = None,
    out: Path | str | None = None,
    settings: ScoreSettings | None = None,
    mesh: Mesh | None = None,
) -> ResultFolder:
    """Scores every unit of a store against every concept.

    Can be interrupted at any moment and called again. Where there are several
    processes, all call it and share the blocks of units.

    Args:
      responses: a folder whose capture is complete.
      concepts: other concepts over the same sentences; by default those of the
        capture.
      out: folder for the results, by default the same one.
      settings: see `ScoreSettings`.
      mesh: for the JAX kernel; defaults to all devices of this process.

    Returns:
      the folder with `expertise.zarr`, `concepts.parquet`, `null.parquet` and
      `experts.parquet`.

    Raises:
      InputError: the capture is incomplete, a chunk is missing or damaged, a
        concept has a sentence that was not captured or too few to hold some out,
        or `out` holds another run.
    """
    array = responses.open_responses()
    capture = responses.read_run()["capture"]
    settings = settings or ScoreSettings()
    settings = settings.resolve(capture, fitting_block_bytes(settings.kernel))
    folder = ResultFolder(out) if out else responses
    keys, members = labels.memberships_over(responses, concepts)
    bounds = unit_blocks(
        array.shape,
        arrays.chunk_columns(array),
        settings.block_bytes,
        len(keys) * len(settings.metric_names),
    )
    scoring = Scoring(folder, keys, members, settings, bounds, mesh)
    scoring.begin(responses, {})
    if not folder.expertise_ledger.is_closed:
        every = scoring.part(slice(0, len(keys)), np.arange(array.shape[0]))
        scoring.compile_for(every, array.shape[0])
        todo = scoring.resume(processes.share(list(enumerate(bounds))))
        targets = scoring.create(len(keys))
        num_units = array.shape[1]
        bar = tqdm(total=num_units, unit="unit", desc=f"score {folder.name}")
        with bar, scoring.adding(targets) as add:
            bar.update(num_units - sum(stop - start for _, (start, stop) in todo))
            blocks = _read_ahead(array, todo)
            for item in processes.rounds(blocks, len(todo)):
                if item is not None:
                    add(every, *item)
                    bar.update(item[2] - item[1])
                stopping.check()
        scoring.close(targets, len(bounds))
    scoring.clean()
    return folder


def _read_ahead(
    responses: ts.TensorStore, todo: Sequence[tuple[int, Bounds]]
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Each block of columns, while the next one is being read."""
    read = functools.partial(arrays.start_read, responses, slice(0, responses.shape[0]))
    coming = read(slice(*todo[0][1])) if todo else None
    for i, (block, (start, stop)) in enumerate(todo):
        reading = coming
        following = todo[i + 1 : i + 2]
        coming = read(slice(*following[0][1])) if following else None
        assert reading is not None
        yield block, start, stop, reading.finish()
