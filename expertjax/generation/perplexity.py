"""How likely a model finds texts."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from expertjax.checkpoints.load import Model
from expertjax.checkpoints.vocabulary import check_tokens
from expertjax.concepts.tokens import whole_texts
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.attention import Inputs
from expertjax.models.forward import Forward
from expertjax.typing import Array

_LOGITS_BYTES = 256 * 2**20  # of a batch, as float32
MAX_WINDOW = 1024  # tokens that are judged in one go
_CHUNK = 4096  # texts encoded at a time
_GRAIN = 16  # texts are padded to a multiple of this


def perplexity(model: Model, texts: Sequence[str], room: int = 0) -> np.ndarray:
    """The perplexity of each text: exp of the mean surprise of its tokens.

    The first token is given. Texts of less than two tokens have none.

    Args:
      model: of a causal family.
      texts: of any length that the model has positions for; longer ones are cut.
      room: tokens to which shorter texts are padded, so that those of different
        lengths share a compiled program.

    Returns:
      [N] float64, NaN for texts of less than two tokens.

    Raises:
      InputError: see `log_likelihood`.
    """
    total, count = log_likelihood(model, texts, room)
    with np.errstate(invalid="ignore"):
        return np.exp(-total / np.where(count > 0, count, np.nan))


@jax_settings()
def log_likelihood(
    model: Model, texts: Sequence[str], room: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The log-probability of each text given its first token, and its tokens.

    `room` is that of `perplexity`.

    Returns:
      [N] float64 sums of natural logarithms, and [N] numbers of tokens they are over.

    Raises:
      InputError: the model is an encoder, or does not have a text's tokens.
    """
    _check_causal(model)
    most = getattr(model.config, "max_positions", None)
    encodings = whole_texts(model.tokenizer).encode_batch_fast(list(texts))
    check_tokens(model, texts, (encoding.ids for encoding in encodings))
    rows = [np.array(encoding.ids[:most]) for encoding in encodings]
    return _sums(model, rows, min(room, most or room))


class Likelihood(NamedTuple):
    """How likely a model finds a text.

    Attributes:
      perplexity: exp of the mean surprise of a token.
      bits_per_byte: the surprise in bits, for each byte of the text as UTF-8. Unlike
        perplexity it may be compared over tokenizers.
      num_tokens: whose surprise was taken.
      num_bytes: that they stand for.
    """

    perplexity: float
    bits_per_byte: float
    num_tokens: int
    num_bytes: int


@jax_settings()
def text_likelihood(model: Model, texts: Sequence[str]) -> Likelihood:
    """The perplexity of some texts taken together, and their bits per byte.

    Each text stands alone, after the tokenizer's BOS token, or EOS where it has no
    BOS, so that its first token is judged as well; without either, the first token is
    given and its bytes are not counted. Texts over `MAX_WINDOW` tokens, or over the
    model's positions, are cut into windows that overlap by one token. What a tokenizer
    makes equal (upper and lower case, unknown characters), its model need not predict.

    Args:
      model: of a causal family.
      texts: not empty.

    Raises:
      InputError: the model is an encoder or does not have a text's tokens, or there is
        nothing to predict.
    """
    _check_causal(model)
    window = getattr(model.config, "max_positions", None) or MAX_WINDOW
    window = min(window, MAX_WINDOW)
    tokenizer = model.tokenizer
    start = next(
        (t for t in (tokenizer.bos_token_id, tokenizer.eos_token_id) if t is not None),
        None,
    )
    surprise, num_tokens, num_bytes = 0.0, 0, 0
    for first in range(0, len(texts), _CHUNK):
        rows, bytes_of_chunk = _windows(
            model, texts[first : first + _CHUNK], start, window
        )
        total, count = _sums(model, rows)
        surprise -= float(total.sum())
        num_tokens += int(count.sum())
        num_bytes += bytes_of_chunk
    if not num_tokens or not num_bytes:
        raise InputError(f"{model.name}: the text has no token to predict")
    if not np.isfinite(surprise):
        raise InputError(
            f"{model.name}: the likelihood of the text is not finite; try "
            "--compute_dtype=float32, or check the checkpoint"
        )
    return Likelihood(
        float(np.exp(surprise / num_tokens)),
        surprise / math.log(2) / num_bytes,
        num_tokens,
        num_bytes,
    )


def bits_per_byte(model: Model, texts: Sequence[str] | str) -> float:
    """`text_likelihood`'s bits per byte, of one text or of several."""
    texts = [texts] if isinstance(texts, str) else texts
    return text_likelihood(model, texts).bits_per_byte


def _check_causal(model: Model) -> None:
    if not model.family.causal:
        raise InputError(f"{model.name}: {model.family.name} is no causal model")


def _windows(
    model: Model, texts: Sequence[str], start: int | None, window: int
) -> tuple[list[np.ndarray], int]:
    """Runs of at most `window` tokens, and the bytes that all but their first mean."""
    backend = whole_texts(model.tokenizer)
    rows, num_bytes = [], 0
    encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    for text, encoding in zip(texts, encodings, strict=True):
        ids = np.array(encoding.ids, np.int32)
        if start is not None:
            ids = np.concatenate([np.array([start], np.int32), ids])
        else:
            # `encode_batch_fast` leaves out where tokens stand.
            [encoding] = backend.encode_batch([text], add_special_tokens=False)
            text = text[encoding.offsets[0][1] :] if len(ids) else ""
        check_tokens(model, [text], [ids])
        num_bytes += len(text.encode())
        step = max(1, window - 1)
        rows += [ids[at : at + window] for at in range(0, max(1, len(ids) - 1), step)]
    return rows, num_bytes


def _sums(
    model: Model, encoded: Sequence[np.ndarray], room: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """[N] log-probabilities of all tokens but the first, and [N] how many these are."""
    total, count = np.zeros(len(encoded)), np.zeros(len(encoded), np.int64)
    order = np.argsort([len(ids) for ids in encoded], kind="stable")
    for rows, tokens, mask in _batches(encoded, order, model.config.vocab_size, room):
        sums = np.asarray(_score(model.forward, model.params, tokens, mask), np.float64)
        total[rows] = sums[: len(rows)]
        count[rows] = mask[: len(rows), 1:].sum(1)
    return total, count


def _batches(
    encoded: Sequence[np.ndarray], order: np.ndarray, vocab_size: int, room: int
) -> Any:
    """(rows, tokens_BxT, mask_BxT), few shapes of them."""
    start = 0
    while start < len(order):
        # Ascending: the longest of a batch is its last.
        length, size = 0, 1
        while True:
            last = min(start + size, len(order)) - 1
            needed = -(-len(encoded[order[last]]) // _GRAIN) * _GRAIN
            length = max(2, needed, room)
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


@functools.partial(jax.jit, static_argnames="forward")
def _score(forward: Forward, params: Any, tokens_BxT: Array, mask_BxT: Array) -> Array:
    """[B] log-probabilities of all tokens but the first."""
    module = forward.bind(params)
    hidden_BxTxD = module(Inputs.of(tokens_BxT, mask_BxT)).hidden
    logits = module.logits(hidden_BxTxD[:, :-1]).astype(jnp.float32)
    log_p = jnp.take_along_axis(
        jax.nn.log_softmax(logits), tokens_BxT[:, 1:, None], axis=-1
    )
    return jnp.sum(log_p[..., 0], axis=1, where=mask_BxT[:, 1:])
