"""Do the tokens of texts belong to a model? Whatever enters one is asked here."""

from collections.abc import Iterable, Sequence

import numpy as np

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError

_SHOWN = 80  # characters of a text that are shown


def check_tokens(
    model: Model, texts: Iterable[str], rows: Iterable[Sequence[int] | np.ndarray]
) -> None:
    """Refuses tokens that the model has no embedding of, which would give NaN.

    Args:
      model: that is to read them.
      texts: for messages.
      rows: the tokens of each.

    Raises:
      InputError: shows the first such token and its text.
    """
    size = model.config.vocab_size
    for text, ids in zip(texts, rows, strict=True):
        largest = int(np.max(ids, initial=0))
        if largest >= size:
            token = model.tokenizer.convert_ids_to_tokens(largest)
            shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
            raise InputError(
                f"{model.path}: its tokenizer makes token {largest} ({token!r}) of "
                f"{shown!r}, but the model has only {size}; take the tokenizer that "
                "it was trained with, or leave that out of the text"
            )
