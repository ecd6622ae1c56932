"""Activations of a few units at every token of a few texts, for a close look."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh

from expertjax.capturing.prepare import Prepared, arrange, check_length
from expertjax.capturing.settings import CaptureSettings
from expertjax.capturing.steps import Steps, jit_forward
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.concepts.spans import Span, token_spans
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.sites import UnitTable
from expertjax.runtime import mesh as meshes
from expertjax.typing import Array

BATCH_TOKENS = 256  # their activations are there for all layers at a time


@jax_settings()
def token_activations(
    model: Model,
    texts: str | Sequence[str],
    units: Sequence[int],
    *,
    sites: str = "",
    mesh: Mesh | None = None,
) -> pd.DataFrame:
    """The activations of some units at every token of some texts.

    Args:
      model: from `load_model`.
      texts: one or several, of any length that the model takes.
      units: numbers in `units.parquet` of a capture with the same `sites`.
      sites: as in `CaptureSettings`.
      mesh: defaults to all devices on the data axis.

    Returns:
      a row for each text, unit and token: text (its number), unit, position, token,
      start and end (see `concepts.spans.Span`), activation (NaN where the token does
      not reach the unit's expert).

    Raises:
      InputError: there is no such unit, or a text is empty or too long.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    table, columns = _choose(model, texts, units, sites)
    spans = list(token_spans(model.tokenizer, texts))
    lengths = np.array([len(tokens) for tokens in spans])
    order = np.argsort(lengths, kind="stable")
    settings = CaptureSettings(
        seq_len=max(1, int(lengths.max())), sites=sites, batch_tokens=BATCH_TOKENS
    )
    check_length(model, settings.seq_len)
    pool = ConceptSet((), tuple(texts[i] for i in order), ())
    prepared = arrange(model, pool, table, settings, mesh or meshes.make_mesh())
    found = dict(zip(order, activations(prepared, columns), strict=True))
    return pd.concat(
        [
            _table(number, tokens, units, found[number])
            for number, tokens in enumerate(spans)
        ],
        ignore_index=True,
    )


def _choose(
    model: Model, texts: Sequence[str], units: Sequence[int], sites: str
) -> tuple[UnitTable, np.ndarray]:
    """A table with the units, and where they stand in it."""
    table = UnitTable.build(model.sites, model.num_layers, sites)
    numbers = np.asarray(units, np.int64)
    table.check(numbers)
    if not len(numbers) or not len(texts):
        raise InputError("activations: give at least one text and one unit")
    return table.keep(numbers)


def activations(prepared: Prepared, columns: np.ndarray) -> Iterator[np.ndarray]:
    """[T, U] float32 of each sentence, in their order, at the tokens that count.

    NaN where a token does not reach the unit's expert.

    Args:
      prepared: sentences and a table of units, in small batches.
      columns: [U] the units' numbers in that table.
    """
    steps = Steps(prepared, every_token_step(prepared, columns))
    everything = 0, len(prepared.pool.lengths)
    for batch in prepared.plan.batches(prepared.pool, *everything):
        z_BTxU = meshes.local(steps(batch)).astype(np.float32)
        z_BxTxU = z_BTxU.reshape(*batch.tokens.shape, -1)
        for row in range(batch.rows[1] - batch.rows[0]):
            yield z_BxTxU[row, batch.pooled[row]]


def every_token_step(prepared: Prepared, columns: np.ndarray | slice) -> Any:
    """A step for `Steps`; [B * T, U]: every token as if it were a sentence."""
    return jit_forward(
        prepared,
        lambda _: _every_token,
        lambda output, _: prepared.table.gather(output.pooled)[:, columns],
        meshes.replicated(prepared.mesh),
    )


def _every_token(z_BxTxF: Array, routed_BxT: Array | None = None) -> Array:
    if routed_BxT is not None:
        z_BxTxF = jnp.where(routed_BxT[:, :, None], z_BxTxF, jnp.nan)
    return z_BxTxF.reshape(-1, z_BxTxF.shape[-1])


def _table(
    number: int, tokens: list[Span], units: Sequence[int], z_TxU: np.ndarray
) -> pd.DataFrame:
    """The rows of one text, unit by unit."""
    start, end, token = zip(*tokens, strict=True)
    length, count = z_TxU.shape
    return pd.DataFrame(
        {
            "text": number,
            "unit": np.repeat(units, length),
            "position": np.tile(np.arange(length), count),
            "token": token * count,
            "start": start * count,
            "end": end * count,
            "activation": z_TxU.T.ravel(),
        }
    )
