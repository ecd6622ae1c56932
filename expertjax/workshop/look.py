"""A close look at a text: units at its tokens, and what the model expects next."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from expertjax.capturing.writes import TokenTexts
from expertjax.checkpoints.load import Model
from expertjax.concepts.spans import Span
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.attention import Inputs
from expertjax.models.forward import Forward
from expertjax.typing import Array
from expertjax.workshop.find import Library
from expertjax.workshop.limits import MOST_PROMPT, check_characters
from expertjax.workshop.running import Runner

_CANDIDATES = 5
_UNUSUAL = 10
_COMPARED = 64  # sentences whose tokens say what is usual


@dataclasses.dataclass(frozen=True)
class Looked:
    """A text as the model sees it.

    Attributes:
      text: the text.
      spans: [T] its tokens.
      z_TxU: every unit at each of them.
      candidates: [T] what comes next with which probability, likeliest first; empty
        for models that do not write.
    """

    text: str
    spans: list[Span]
    z_TxU: np.ndarray
    candidates: list[list[tuple[str, float]]]


class Looker:
    """Looks at texts, and remembers what is usual."""

    def __init__(self, runner: Runner, library: Library) -> None:
        """Nothing is run yet.

        Args:
          runner: of the model.
          library: whose sentences say what is usual.
        """
        self._runner, self._library = runner, library
        self._last: Looked | None = None
        self._texts = TokenTexts(runner.model.tokenizer, runner.model.config.vocab_size)

    def check_units(self, units: Sequence[int]) -> None:
        """Raises InputError unless these are units of the model."""
        self._runner.table.check(np.array(units, np.int64))

    def look(self, text: str) -> Looked:
        """Runs a text, unless it was the last one.

        Raises:
          InputError: it is empty or too long.
        """
        check_characters(len(text), MOST_PROMPT)
        if not text.strip():
            raise InputError("There is no text to look at yet.")
        if self._last is None or self._last.text != text:
            spans, z_TxU = self._runner.tokens(text)
            self._last = Looked(text, spans, z_TxU, self._candidates(text))
        return self._last

    def _candidates(self, text: str) -> list[list[tuple[str, float]]]:
        model = self._runner.model
        if not model.family.causal:
            return []
        ids = model.tokenizer.backend_tokenizer.encode(text).ids
        room = next(b for b in self._runner.buckets if b >= len(ids))
        tokens = np.zeros((1, room), np.int32)
        tokens[0, : len(ids)] = ids
        mask = np.arange(room)[None] < len(ids)
        number, p = _likeliest(model, tokens, mask)
        return [
            [(self._texts[int(t)], float(q)) for t, q in zip(*row, strict=True)]
            for row in zip(number[: len(ids)], p[: len(ids)], strict=True)
        ]

    @functools.cached_property
    def _usual(self) -> tuple[np.ndarray, np.ndarray]:
        texts = self._library.some(8 * _COMPARED)
        return self._runner.over_tokens(texts, _COMPARED)

    def unusual(self, looked: Looked, position: int) -> pd.DataFrame:
        """The units that are furthest from what is usual at a token.

        Usual is the mean over all tokens of some sentences of the library; the first
        call runs these.

        Returns:
          unit, layer, module, index, activation, usual, deviations: furthest first.

        Raises:
          InputError: the text has no such token.
        """
        if not 0 <= position < len(looked.spans):
            raise InputError(f"There is no token {position} in the text.")
        mean_U, sd_U = self._usual
        z_U = looked.z_TxU[position].astype(np.float64)
        # A unit that never moves is far from nothing.
        far_U = np.where(sd_U > 0, (z_U - mean_U) / np.maximum(sd_U, 1e-12), 0)
        far_U = np.nan_to_num(far_U)
        best = np.argsort(-np.abs(far_U), kind="stable")[:_UNUSUAL]
        table = self._runner.table
        return pd.DataFrame(
            {
                "unit": best,
                "layer": table.layer[best],
                "module": table.module[best],
                "index": table.index[best],
                "activation": z_U[best],
                "usual": mean_U[best],
                "deviations": far_U[best],
            }
        )


@jax_settings()
def _likeliest(
    model: Model, tokens: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[T, K] the likeliest next tokens after each token, and their probabilities."""
    found = _step(model.forward, model.params, tokens, mask)
    number, p = jax.device_get(found)
    return number[0], p[0]


@functools.partial(jax.jit, static_argnames="forward")
def _step(
    forward: Forward, params: Any, tokens_BxT: Array, mask_BxT: Array
) -> tuple[Array, Array]:
    module = forward.bind(params)
    hidden_BxTxD = module(Inputs.of(tokens_BxT, mask_BxT)).hidden
    logits = module.logits(hidden_BxTxD).astype(jnp.float32)
    p, number = jax.lax.top_k(jax.nn.softmax(logits), _CANDIDATES)
    return number, p
