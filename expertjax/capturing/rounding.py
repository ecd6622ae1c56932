"""Refusing responses that are not finite, or not in the dtype of the store."""

import jax.numpy as jnp
import numpy as np

from expertjax.absent import narrowed
from expertjax.concepts.tokens import TokenizedPool
from expertjax.errors import InputError
from expertjax.models.sites import UnitTable


def check_finite(
    responses_BxU: np.ndarray,
    first: int,
    dtype: np.dtype,
    pool: TokenizedPool,
    table: UnitTable,
    first_unit: int = 0,
) -> None:
    """Names the first response that is not finite, or too large for the store.

    Args:
      responses_BxU: float32, of consecutive sentences.
      first: the pool's row of the first one.
      dtype: of the store.
      pool: for messages.
      table: for messages.
      first_unit: number of the first column.

    Raises:
      InputError: there is one.
    """

    def describe(wrong_BxU: np.ndarray) -> str:
        row, column = np.argwhere(wrong_BxU)[0]
        unit = first_unit + column
        return (
            f"the response of unit {unit} ({table.module[unit]}, {table.index[unit]}) "
            f"to sentence {pool.concepts.sentences[first + row]!r} is "
            f"{responses_BxU[row, column]}"
        )

    finite = np.isfinite(responses_BxU)
    if not finite.all():
        raise InputError(
            f"{describe(~finite)}; the weights are damaged or --compute_dtype is too "
            "narrow"
        )
    with np.errstate(over="ignore"):
        fits = np.isfinite(np.asarray(narrowed(jnp.asarray(responses_BxU), dtype)))
    if not fits.all():
        raise InputError(
            f"--store_dtype={dtype}: {describe(~fits)}, which does not fit; use float32"
        )
