"""A model whose steps stay compiled, and what it has said of sentences so far."""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from expertjax.capturing.activations import every_token_step
from expertjax.capturing.batches import Batch, BatchPlan
from expertjax.capturing.marking import marked_step
from expertjax.capturing.prepare import arrange, fit_vocabulary
from expertjax.capturing.settings import CaptureSettings
from expertjax.capturing.steps import Steps
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.concepts.spans import Span, token_spans
from expertjax.concepts.tokens import TokenizedPool, tokenize
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.sites import UnitTable
from expertjax.runtime import mesh as meshes
from expertjax.workshop.limits import MOST_TOKENS

# Whatever is typed runs at one of these lengths, so that little is compiled.
_BUCKETS = (16, 32, 64, MOST_TOKENS)
_BATCH_TOKENS = 256
_SHORT = 32  # tokens
Tell = Callable[[int, int], Any]  # how many are done, and of how many


class Responses(NamedTuple):
    """What units say of sentences.

    Attributes:
      value_NxU: float32 responses.
      position_NxU: int16: the token at which each unit is highest.
      num_new: how many of the sentences were run for this.
    """

    value_NxU: np.ndarray
    position_NxU: np.ndarray
    num_new: int


class Runner:
    """A model that is asked about a few sentences at a time, again and again.

    Attributes:
      model: the model.
      settings: of the capture that its responses are those of.
      table: its units.
      mesh: all devices.
    """

    def __init__(
        self,
        model: Model,
        settings: CaptureSettings | None = None,
        memory_bytes: int = 2**29,
    ) -> None:
        """Places the parameters; nothing is compiled yet.

        Args:
          model: any.
          settings: by default those of the model; of a loaded result, its own.
          memory_bytes: the most that remembered responses take.

        Raises:
          InputError: settings that do not fit the model.
        """
        settings = settings or CaptureSettings.of(model)
        most = getattr(model.config, "max_positions", None) or MOST_TOKENS
        self.settings = dataclasses.replace(
            settings,
            seq_len=min(MOST_TOKENS, most, settings.seq_len),
            long="drop",
            batch_tokens=_BATCH_TOKENS,
        )
        self.model, self.mesh = model, meshes.make_mesh()
        self.table = UnitTable.build(model.sites, model.num_layers, settings.sites)
        self._most = max(1, memory_bytes // (6 * self.table.num_units))
        self._known: collections.OrderedDict[str, tuple[np.ndarray, np.ndarray]] = (
            collections.OrderedDict()
        )
        # Steps look at settings, units and mesh of this, not at its sentence.
        start = ConceptSet((), ("a",), ())
        prepared = arrange(model, start, self.table, self.settings, self.mesh)
        self._marked = Steps(prepared, marked_step(prepared))
        self._tokens = Steps(prepared, every_token_step(prepared, slice(None)))

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths at which sentences run."""
        longest = self.settings.seq_len
        return (*(bucket for bucket in _BUCKETS if bucket < longest), longest)

    @jax_settings()
    def responses(self, texts: Sequence[str], tell: Tell | None = None) -> Responses:
        """Runs those of some sentences that are not known yet.

        Args:
          texts: distinct, none of them longer than `settings.seq_len`.
          tell: hears how far it is.

        Raises:
          InputError: more than are remembered at a time, or a response is not finite.
        """
        if len(texts) > self._most:
            raise InputError(
                f"{len(texts):,} sentences; at most {self._most:,} of this model are "
                "kept in memory at a time (--memory_bytes)."
            )
        known = {text: self._known[text] for text in texts if text in self._known}
        new = [text for text in texts if text not in known]
        for text, value_U, position_U in self._run(new, tell):
            known[text] = value_U, position_U
        for text in texts:
            self._known[text] = known[text]
            self._known.move_to_end(text)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        values, positions = zip(*(known[text] for text in texts), strict=True)
        return Responses(np.stack(values), np.stack(positions), len(new))

    def _run(
        self, texts: Sequence[str], tell: Tell | None
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Each sentence, its responses and the tokens they stand at, both [U]."""
        if not texts:
            return
        pool = self._tokenize(texts)
        assert not pool.dropped, "is for sentences that fit"
        for batch in self._batches(pool, _BATCH_TOKENS):
            value_BxU, position_BxU = np.split(meshes.local(self._marked(batch)), 2)
            start, stop = batch.rows
            if not np.isfinite(value_BxU[: stop - start]).all():
                raise InputError(
                    "A response is not a finite number; load the model in float32."
                )
            for row, text in enumerate(pool.concepts.sentences[start:stop]):
                yield text, value_BxU[row].copy(), position_BxU[row].astype(np.int16)
            if tell is not None:
                tell(stop, len(texts))

    @jax_settings()
    def tokens(self, text: str) -> tuple[list[Span], np.ndarray]:
        """A text's tokens, and [T, U] float32: every unit at each of them.

        NaN where a token does not reach a unit's expert.

        Raises:
          InputError: the text has no token, or too many.
        """
        [spans] = token_spans(self.model.tokenizer, [text])
        longest = self.settings.seq_len
        if not 0 < len(spans) <= longest:
            raise InputError(
                f"{len(spans):,} tokens; expected at least 1, at most {longest}."
            )
        pool = self._tokenize([text])
        [batch] = self._batches(pool, 1)
        z_BTxU = meshes.local(self._tokens(batch))
        return spans, z_BTxU[: len(spans)].astype(np.float32)

    @jax_settings()
    def over_tokens(
        self, texts: Sequence[str], count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """[U] mean and [U] deviation of every unit over all tokens of some texts.

        Args:
          texts: of these, the first `count` that are short: all run at one length.
          count: of texts.
        """
        longest = min(_SHORT, self.settings.seq_len)
        spans = token_spans(self.model.tokenizer, texts)
        short = [
            text
            for text, tokens in zip(texts, spans, strict=True)
            if 0 < len(tokens) <= longest
        ]
        count_U = np.zeros(self.table.num_units)
        total_U, squares_U = count_U.copy(), count_U.copy()
        if not short:
            raise InputError("No sentence is short enough to say what is usual.")
        pool = self._tokenize(short[:count])
        for batch in self._batches(pool, 1, (longest,)):
            z_TxU = meshes.local(self._tokens(batch))
            length = batch.tokens.shape[1]
            for row in range(batch.rows[1] - batch.rows[0]):
                there = z_TxU[row * length : (row + 1) * length][batch.pooled[row]]
                is_there = np.isfinite(there)
                there = np.where(is_there, there, 0).astype(np.float64)
                count_U += is_there.sum(0)
                total_U += there.sum(0)
                squares_U += (there**2).sum(0)
        mean_U = total_U / np.maximum(count_U, 1)
        variance_U = squares_U / np.maximum(count_U, 1) - mean_U**2
        return mean_U, np.sqrt(np.maximum(variance_U, 0))

    def _tokenize(self, texts: Sequence[str]) -> TokenizedPool:
        settings = self.settings
        pool = tokenize(
            ConceptSet((), tuple(texts), ()),
            self.model.tokenizer,
            seq_len=settings.seq_len,
            special_tokens=settings.special_tokens,
            skip_first=settings.skip_first,
        )
        return fit_vocabulary(self.model, pool)

    def _batches(
        self, pool: TokenizedPool, batch_tokens: int, buckets: tuple[int, ...] = ()
    ) -> Iterator[Batch]:
        multiple = meshes.data_size(self.mesh)
        rows = len(pool.lengths)
        plan = BatchPlan.of(
            pool.lengths,
            buckets or self.buckets,
            batch_tokens,
            rows,
            multiple,
        )
        return plan.batches(pool, 0, rows)
