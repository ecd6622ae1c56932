"""Activations at every token, all of them, by one plain forward pass."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from expertjax.models.sites import UnitTable
from tests.models.parity import forward_of


def every_token(
    model: Any, table: UnitTable, texts: Sequence[str], units: Sequence[int]
) -> list[np.ndarray]:
    """[T, U] of each text, which are padded on the right to one length."""
    ids = [model.tokenizer(text).input_ids for text in texts]
    shape = len(ids), max(map(len, ids))
    tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, of_text in enumerate(ids):
        tokens[row, : len(of_text)], mask[row, : len(of_text)] = of_text, 1
    sites = jax.jit(forward_of(model))(tokens, mask, None)["sites"]
    places = zip(table.site[units], table.layer[units], table.index[units], strict=True)
    z_UxNxT = [np.asarray(sites[site])[layer, :, :, i] for site, layer, i in places]
    z_NxTxU = np.moveaxis(np.stack(z_UxNxT), 0, 2)
    return [z_NxTxU[row, : len(of_text)] for row, of_text in enumerate(ids)]
