"""Which sign a factor of a product writes with: that of the product, where it responds.

A gated MLP multiplies gate and up, and the product writes a row of the output layer.
How a unit that is one of them writes that row is therefore not in the weights: the
product may be negative where the unit is at its highest.
"""

import dataclasses

import numpy as np
import pandas as pd
from jax.sharding import Mesh

from expertjax.capturing.activations import BATCH_TOKENS, activations
from expertjax.capturing.again import captured_settings
from expertjax.capturing.prepare import arrange
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.models.readout import Readout
from expertjax.models.sites import EVERY_POINT, UnitTable
from expertjax.runtime import stopping
from expertjax.stores.folder import ResultFolder

SENTENCES = 3  # of each unit, those that excite it most


def product_signs(
    folder: ResultFolder,
    model: Model,
    readout: Readout,
    table: UnitTable,
    units: np.ndarray,
    mesh: Mesh,
) -> dict[int, int]:
    """The sign of the product at the tokens that excite some units most.

    Args:
      folder: a result; without `excited.parquet` nothing is known.
      model: that of the capture.
      readout: of its family.
      table: of the captured units.
      units: numbers of factors.
      mesh: of this process's group.

    Returns:
      unit -> 1 or -1, the sign in all of its most exciting sentences; 0 where these
      disagree, or are not known.

    Raises:
      Stopped: SIGTERM has arrived.
    """
    signs = dict.fromkeys(units.tolist(), 0)
    if not len(units) or not folder.has_table("excited"):
        return signs
    pairs = folder.read_table("excited")
    pairs = pairs[pairs["unit"].isin(units) & (pairs["rank"] <= SENTENCES)]
    if pairs.empty:
        return signs
    own, product = _numbers(model, readout, table, units)
    values = _products(folder, model, pairs, units, own, product, mesh)
    for unit, of in values.groupby(pairs["unit"].to_numpy()):
        found = set(np.sign(of).astype(int))
        signs[int(str(unit))] = found.pop() if len(found) == 1 else 0
    return signs


def _numbers(
    model: Model, readout: Readout, table: UnitTable, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[K] and [K]: the units and their products, in the table of every point."""
    starts, start = {}, 0
    for layer, site in UnitTable.build(
        model.sites, model.num_layers, EVERY_POINT
    ).segments:
        starts[layer, site.name] = start, site.features
        start += site.features
    own, product = [], []
    for unit in units.tolist():
        site, layer, index = table.site[unit], table.layer[unit], table.index[unit]
        branch = readout.branch_of(site)
        assert branch is not None, site
        own.append(starts[layer, site][0] + index)
        first, width = starts[layer, f"{branch.output}:input"]
        product.append(first + branch.row_of(site, index, width))
    return np.array(own), np.array(product)


def _products(
    folder: ResultFolder,
    model: Model,
    pairs: pd.DataFrame,
    units: np.ndarray,
    own: np.ndarray,
    product: np.ndarray,
    mesh: Mesh,
) -> pd.Series:
    """The product of each pair of unit and sentence, where the unit responds."""
    settings = captured_settings(folder)
    settings = dataclasses.replace(settings, batch_tokens=BATCH_TOKENS)
    rows = np.unique(pairs["sentence"])
    texts = folder.read_table("sentences")["text"].iloc[rows]
    every = UnitTable.build(model.sites, model.num_layers, EVERY_POINT)
    few, columns = every.keep(np.concatenate([own, product]))
    prepared = arrange(model, ConceptSet((), tuple(texts), ()), few, settings, mesh)
    column_of = {unit: column for column, unit in enumerate(units.tolist())}
    of_sentence = {
        int(str(row)): group for row, group in pairs.groupby("sentence", sort=False)
    }
    values = pd.Series(np.nan, index=pairs.index)
    for row, z_TxK in zip(rows, activations(prepared, columns), strict=True):
        stopping.check()
        group = of_sentence[int(row)]
        for at, unit in zip(group.index, group["unit"], strict=True):
            column = column_of[unit]
            own_T, product_T = z_TxK[:, column], z_TxK[:, column + len(units)]
            values[at] = _where_it_responds(settings.pooling, own_T, product_T)
    return values


def _where_it_responds(pooling: str, own_T: np.ndarray, product_T: np.ndarray) -> float:
    is_there_T = ~np.isnan(own_T)  # the token reaches the unit's expert
    if not (is_there_T[-1] if pooling == "last" else is_there_T.any()):
        return 0.0
    own_T, product_T = own_T[is_there_T], product_T[is_there_T]
    if pooling == "max":
        return float(product_T[np.argmax(own_T)])
    return float(product_T[-1] if pooling == "last" else np.mean(product_T))
