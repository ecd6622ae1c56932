"""What experts do at every token of the sentences that excite them."""

import numpy as np
import pandas as pd
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.capturing.activations import BATCH_TOKENS, activations
from expertjax.capturing.again import check_weights, prepare_again
from expertjax.checkpoints.load import Model
from expertjax.concepts.spans import text_pieces, token_spans
from expertjax.jax_settings import jax_settings
from expertjax.runtime import mesh as meshes
from expertjax.runtime import stopping
from expertjax.stores.folder import ResultFolder


@jax_settings()
def excited_tokens(
    folder: ResultFolder, model: Model, mesh: Mesh | None = None
) -> pd.DataFrame:
    """Runs the sentences of `excited.parquet` once more, for all of their tokens.

    Args:
      folder: a result with that table.
      model: that of the result.
      mesh: defaults to all devices on the data axis.

    Returns:
      a row for each of `excited.parquet`, in its order: unit, rank, sentence, response;
      tokens, a list of texts which joined give the sentence, as far as it was run (see
      `concepts.spans.text_pieces`); values, a list of what the unit does there: 0 at
      tokens that do not count for the response, or do not reach the unit's expert.
      Padding is left out, with `--compat=selfcond` too.

    Raises:
      InputError: the model or its tokenizer is not that of the result.
      Stopped: SIGTERM has arrived.
    """
    check_weights(folder, model)
    table = folder.read_table("excited")
    rows, row_P = np.unique(table["sentence"], return_inverse=True)
    units, column_P = np.unique(table["unit"], return_inverse=True)
    prepared, columns = prepare_again(
        folder,
        model,
        rows,
        units.astype(np.int64),
        mesh or meshes.make_mesh(),
        compat="",
        batch_tokens=BATCH_TOKENS,
    )
    texts = prepared.pool.concepts.sentences
    tokens: list[list[str]] = [[]] * len(table)
    values: list[list[float]] = [[]] * len(table)
    order_P = np.argsort(row_P, kind="stable")
    starts = np.searchsorted(row_P[order_P], np.arange(len(rows) + 1))
    everything = zip(
        texts,
        token_spans(model.tokenizer, texts),
        prepared.pool.pooled,
        activations(prepared, columns),
        strict=True,
    )
    bar = tqdm(everything, "activations at tokens", len(rows), unit="sentence")
    for row, (text, spans, pooled_T, z_TxU) in enumerate(bar):
        x_TxU = np.zeros((len(pooled_T), len(units)), np.float32)
        x_TxU[pooled_T] = np.where(np.isnan(z_TxU), 0, z_TxU)
        pieces = text_pieces(text, spans)[: len(pooled_T)]  # where it was cut
        for pair in order_P[starts[row] : starts[row + 1]]:
            tokens[pair], values[pair] = pieces, x_TxU[:, column_P[pair]].tolist()
        stopping.check_alone()
    shown = table[["unit", "rank", "sentence", "response"]]
    return shown.assign(tokens=tokens, values=values)
