"""How likely a model finds texts."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from expertjax.checkpoints.load import Model
from expertjax.concepts.tokens import whole_texts
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.typing import Array

_LOGITS_BYTES = 256 * 2**20  # of a batch, as float32
_GRAIN = 16  # texts are padded to a multiple of this


def perplexity(model: Model, texts: Sequence[str]) -> np.ndarray:
    """The perplexity of each text: exp of the mean surprise of its tokens.

    The first token is given. Texts of less than two tokens have none.

    Args:
      model: of a causal family.
      texts: of any length that the model has positions for; longer ones are cut.

    Returns:
      [N] float64, NaN for texts of less than two tokens.

    Raises:
      InputError: the model is an encoder.
    """
    total, count = log_likelihood(model, texts)
    with np.errstate(invalid="ignore"):
        return np.exp(-total / np.where(count > 0, count, np.nan))


def log_likelihood(model: Model, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The log-probability of each text given its first token, and its tokens.

    Returns:
      [N] float64 sums of natural logarithms, and [N] numbers of tokens they are over.

    Raises:
      InputError: the model is an encoder.
    """
    if not model.family.causal:
        raise InputError(f"{model.name}: {model.family.name} is no causal model")
    most = getattr(model.config, "max_positions", None)
    encodings = whole_texts(model.tokenizer).encode_batch_fast(list(texts))
    encoded = [np.array(encoding.ids[:most]) for encoding in encodings]
    total, count = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
    order = np.argsort([len(ids) for ids in encoded], kind="stable")
    for rows, tokens, mask in _batches(encoded, order, model.config.vocab_size):
        sums = np.asarray(
            _score(model.graphdef, model.params, tokens, mask), np.float64
        )
        total[rows] = sums[: len(rows)]
        count[rows] = mask[: len(rows), 1:].sum(1)
    return total, count


def _batches(encoded: Sequence[np.ndarray], order: np.ndarray, vocab_size: int) -> Any:
    """(rows, tokens_BxT, mask_BxT), few shapes of them."""
    start = 0
    while start < len(order):
        # Ascending: the longest of a batch is its last.
        length, size = 0, 1
        while True:
            last = min(start + size, len(order)) - 1
            length = max(2, -(-len(encoded[order[last]]) // _GRAIN) * _GRAIN)
            twice = 2 * size * length * vocab_size * 4
            if last + 1 >= len(order) or twice > _LOGITS_BYTES:
                break
            size *= 2
        rows = order[start : start + size]
        tokens = np.zeros((size, length), np.int32)
        mask = np.zeros((size, length), bool)
        mask[:, 0] = True
        for i, row in enumerate(rows):
            tokens[i, : len(encoded[row])] = encoded[row]
            mask[i, : len(encoded[row])] = True
        yield rows, tokens, mask
        start += size


@functools.partial(jax.jit, static_argnames="graphdef")
def _score(
    graphdef: nnx.GraphDef, params: Any, tokens_BxT: Array, mask_BxT: Array
) -> Array:
    """[B] log-probabilities of all tokens but the first."""
    module = nnx.merge(graphdef, params)
    hidden_BxTxD = module(Inputs.of(tokens_BxT, mask_BxT)).hidden
    logits = module.logits(hidden_BxTxD[:, :-1]).astype(jnp.float32)
    log_p = jnp.take_along_axis(
        jax.nn.log_softmax(logits), tokens_BxT[:, 1:, None], axis=-1
    )
    return jnp.sum(log_p[..., 0], axis=1, where=mask_BxT[:, 1:])
