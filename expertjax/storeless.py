"""Capture and scoring together, for responses that would not fit the disk."""

from pathlib import Path

from jax.sharding import Mesh

from expertjax.capturing.capture import MemoryCapture
from expertjax.capturing.first_token import write_share
from expertjax.capturing.prepare import prepare, write_tables
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.jax_settings import jax_settings
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes
from expertjax.scoring.blocks import scores_on_devices
from expertjax.scoring.in_memory import score_in_memory
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder

_HOST_BYTES = 4 * 2**30


@jax_settings()
def capture_and_score(
    model: Model,
    concepts: ConceptSet,
    out: Path | str,
    capture_settings: CaptureSettings,
    score_settings: ScoreSettings,
    memory_bytes: int,
    mesh: Mesh | None = None,
) -> ResultFolder:
    """The results of `capture` and `score`, without `responses.zarr`.

    Concepts are taken in groups whose responses fit into memory: that of the host, or
    that of accelerators, which they then do not leave. A sentence that several groups
    need is run in each, at the length at which it would be run for a store, so that
    results are those of the way through the store.

    Args:
      model: from `load_model`.
      concepts: the pool and its memberships.
      out: the model's result folder.
      capture_settings: see `CaptureSettings`.
      score_settings: see `ScoreSettings`.
      memory_bytes: the most that a group's responses take, in the dtype of a store; 0
        for 4 GiB, or where they stay on accelerators a third of what is free there.
      mesh: of this process's group; defaults to all devices on the data axis.

    Raises:
      InputError: see `capture` and `score_in_memory`.
    """
    mesh = mesh or meshes.make_mesh()
    prepared = prepare(model, concepts, capture_settings, mesh)
    folder = ResultFolder(out)
    processes.in_order(lambda: folder.claim("capture", prepared.identity))
    if processes.is_first() and not folder.expertise_ledger.is_closed:
        folder.unsucceed()
        write_tables(folder, prepared)
    processes.barrier("storeless: claimed")
    if not folder.expertise_ledger.is_closed:
        on_devices = scores_on_devices(score_settings.kernel)
        capture = MemoryCapture(prepared, folder, on_devices)
        score_in_memory(
            folder,
            prepared.pool.concepts.keys,
            prepared.pool.concepts.members,
            prepared.table.num_units,
            score_settings,
            memory_bytes or _fitting_bytes(mesh, on_devices),
            lambda *part: capture(*part).columns,
            item_size=prepared.dtype.itemsize,
        )
    write_share(folder, prepared)
    return folder


def _fitting_bytes(mesh: Mesh, on_devices: bool) -> int:
    # Beside them stand a block of units as float32, its scores, a batch.
    free = meshes.free_bytes(mesh) if on_devices else None
    return _HOST_BYTES if free is None else free // 3
