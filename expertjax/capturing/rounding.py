"""From computed responses to those that are stored: checked, then rounded."""

import numpy as np

from expertjax.concepts.tokens import TokenizedPool
from expertjax.errors import InputError
from expertjax.models.sites import UnitTable


def round_responses(
    responses_BxU: np.ndarray,
    target_BxU: np.ndarray,
    first: int,
    pool: TokenizedPool,
    table: UnitTable,
) -> None:
    """Rounds responses to the dtype of the store, refusing what is not finite.

    Args:
      responses_BxU: float32, of consecutive sentences.
      target_BxU: gets them, in the dtype of the store.
      first: the pool's row of the first one.
      pool: for messages.
      table: for messages.

    Raises:
      InputError: names the first response that is not finite or does not fit.
    """

    def describe(wrong_BxU: np.ndarray) -> str:
        row, unit = np.argwhere(wrong_BxU)[0]
        return (
            f"the response of unit {unit} ({table.module[unit]}, {table.index[unit]}) "
            f"to sentence {pool.concepts.sentences[first + row]!r} is "
            f"{responses_BxU[row, unit]}"
        )

    finite = np.isfinite(responses_BxU)
    if not finite.all():
        raise InputError(
            f"{describe(~finite)}; the weights are damaged or --compute_dtype is too "
            "narrow"
        )
    with np.errstate(over="ignore"):
        target_BxU[...] = responses_BxU
    fits = np.isfinite(target_BxU)
    if not fits.all():
        raise InputError(
            f"--store_dtype={target_BxU.dtype}: {describe(~fits)}, which does not fit; "
            "use float32"
        )
