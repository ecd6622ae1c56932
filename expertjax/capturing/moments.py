"""What units do at every token of a concept's sentences: means and variances."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.capturing.again import captured_units, check_weights, prepare_again
from expertjax.capturing.pooling import token_moments
from expertjax.capturing.prepare import Prepared
from expertjax.capturing.steps import Steps, jit_forward
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.family import Output
from expertjax.models.sites import ChosenUnits, UnitTable
from expertjax.models.unit_moments import UnitMoments
from expertjax.runtime import mesh as meshes
from expertjax.runtime import stopping
from expertjax.stores.folder import ResultFolder
from expertjax.typing import Array


@jax_settings()
def unit_moments(
    folder: ResultFolder,
    model: Model,
    rows: np.ndarray,
    label: np.ndarray,
    units: np.ndarray,
    mesh: Mesh | None = None,
) -> UnitMoments:
    """Runs sentences of a result once more, for what its responses do not tell.

    Only means and variances leave the device. The tokens are those that the capture
    counted; with `--compat=selfcond`, those of the sentence without its padding.

    Args:
      folder: a result with its table of sentences.
      model: that of the result.
      rows: [N] of `sentences.parquet`.
      label: [N] 1 for positives, 0 for negatives.
      units: [K] unit numbers.
      mesh: defaults to all devices on the data axis.

    Raises:
      InputError: see `require_sentences`; or the model or its tokenizer is not that
        of the result; or a unit is an expert's, and not there at every token.
      Stopped: SIGTERM has arrived.
    """
    require_sentences(folder)
    check_weights(folder, model)
    _check_every_token(folder, captured_units(folder, model), units)
    mesh = mesh or meshes.make_mesh()
    order = np.argsort(rows, kind="stable")  # as they stand in the pool, by length
    prepared, columns = prepare_again(
        folder, model, rows[order], units, mesh, compat=""
    )
    mean = np.empty((len(rows), len(units)), np.float32)
    variance = np.empty_like(mean)
    num_tokens = np.empty(len(rows), np.int64)
    steps = Steps(prepared, _moments_step(prepared, columns))
    everything = 0, len(rows)
    steps.prepare(prepared.plan.shapes([everything]))
    with tqdm(total=len(rows), unit="sentence", desc="activations at tokens") as bar:
        for batch in prepared.plan.batches(prepared.pool, *everything):
            there, count = slice(*batch.rows), batch.rows[1] - batch.rows[0]
            mean[there], variance[there] = meshes.local(steps(batch))[:, :count]
            num_tokens[there] = batch.pooled[:count].sum(1)
            bar.update(count)
            stopping.check_alone()
    return UnitMoments(label[order], num_tokens, mean, variance)


def require_sentences(folder: ResultFolder) -> None:
    """Raises InputError where the sentences of a result cannot be run again."""
    if "import" in folder.read_run():
        raise InputError(
            f"{folder.path}: gaussian and transport need what units do at every token "
            "of the concept's sentences, but it was imported: its files hold pooled "
            "responses only and do not say how sentences were run; make a result with "
            "find_experts"
        )


def _check_every_token(
    folder: ResultFolder, table: UnitTable, units: np.ndarray
) -> None:
    routed = {site.name for site in table.recorded if site.is_routed}
    for unit, site in zip(units.tolist(), table.site[units].tolist(), strict=True):
        if site in routed:
            raise InputError(
                f"{folder.path}: gaussian and transport need what units do at every "
                f"token, but unit {unit} ({site}) is there only at tokens that are "
                "routed to its expert; choose another edit, or other sites in "
                "find_experts"
            )


def _moments_step(prepared: Prepared, columns: np.ndarray) -> Any:
    """[2, B, K] float32: means, and behind them variances."""

    chosen = ChosenUnits.of(prepared.table, columns)

    def finish(output: Output, _: Array) -> Array:
        parts = [
            chosen.gather(
                {site: z_Lx2xBxK[:, i] for site, z_Lx2xBxK in output.pooled.items()}
            )
            for i in range(2)
        ]
        return jnp.stack(parts)

    return jit_forward(
        prepared,
        lambda mask_BxT: lambda z_BxTxF: token_moments(mask_BxT, z_BxTxF),
        finish,
        meshes.replicated(prepared.mesh),
        chosen=chosen,
    )
