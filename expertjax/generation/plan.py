"""Which texts are to be written, and what a decoder is told of each batch of them."""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation.decode import Decoder, Job, State
from expertjax.generation.sampling import Sampling
from expertjax.generation.settings import GenerateSettings
from expertjax.generation.texts import (
    Prompt,
    continuation,
    count_written,
    read_prompt,
)
from expertjax.models.edits import Edit
from expertjax.models.unit_edits import UnitEdit

_GRAIN = 8  # prompts are padded to a multiple of this: few shapes are compiled


@dataclasses.dataclass(frozen=True)
class _Text:
    """One text to be written."""

    edit: int
    prompt: int
    seed: int


class Plan:
    """A text for every edit, prompt and seed, in batches of one shape.

    Attributes:
      decoder: of the model.
      settings: of the texts.
      read: the prompts, as tokens.
      count: number of texts.
      size: of a batch.
      ends: tokens that end a text.
    """

    def __init__(
        self,
        model: Model,
        prompts: Sequence[str],
        edits: Sequence[UnitEdit | None],
        seeds: Sequence[int],
        settings: GenerateSettings,
    ) -> None:
        """Checks what can be checked; nothing is run yet.

        Raises:
          InputError: see `generate`.
        """
        self.decoder = Decoder(model, edit_prompt=settings.edit_tokens == "all")
        self.settings = settings
        _check_edits(model, edits)
        self.read = [read_prompt(model, prompt) for prompt in prompts]
        numbers = itertools.product(range(len(edits)), range(len(prompts)), seeds)
        self._texts = [_Text(*each) for each in numbers]
        self.count = len(self._texts)
        if not self.count:
            raise InputError("nothing to write: no prompt, no seed or no edit is given")
        self._model, self._stacked = model, None
        if any(edit is not None for edit in edits):
            self._stacked = Edit.stack([_dense(model, edit) for edit in edits])
        longest = max(len(prompt.tokens) for prompt in self.read)
        self._length = -(-longest // _GRAIN) * _GRAIN
        self.size = min(settings.batch_size, self.count)
        self.ends = model.ends if settings.stop_at_end else ()

    def begin(self, start: int) -> tuple[State, Job]:
        """Writes the first token of a batch, that of the texts from `start` on.

        The last batch is filled up with texts that are thrown away.
        """
        batch = [self._texts[min(start + i, self.count - 1)] for i in range(self.size)]
        prompts_BxP, job = _job(
            self._model, batch, self.read, self._stacked, self._length, self.settings
        )
        settings = self.settings
        state = self.decoder.begin(
            prompts_BxP, job, settings.max_new_tokens, settings.room
        )
        return state, job

    def prompt(self, text: int) -> Prompt:
        """That of a text, by its number."""
        return self.read[self._texts[text].prompt]

    def continuation(self, text: int, ids: Sequence[int]) -> str:
        """What a text's tokens add to its prompt."""
        return continuation(self._model.tokenizer, self.prompt(text), ids, self.ends)

    def table(self, written: Sequence[np.ndarray]) -> pd.DataFrame:
        """What `generate` returns.

        Args:
          written: the tokens of each text.
        """
        return _table(self._model, self.read, self._texts, written, self.ends)


def _check_edits(model: Model, edits: Sequence[UnitEdit | None]) -> None:
    """Refuses edits made from the expertise of other weights."""
    wanted = {
        edit.about["weights_sha256"]: edit.about.get("model", "another model")
        for edit in edits
        if edit is not None and "weights_sha256" in edit.about
    }
    if not wanted:
        return
    digest = model.weights_sha256
    for other, name in wanted.items():
        if other != digest:
            raise InputError(
                f"the edit was made from the expertise of {name}, whose weights (or "
                f"dtype) are not those of {model.path}"
            )


def _dense(model: Model, edit: UnitEdit | None) -> Edit:
    if edit is None:
        return model.identity_edit
    return edit.of_model(model.sites, model.num_layers)


def _job(
    model: Model,
    batch: Sequence[_Text],
    read: Sequence[Prompt],
    edit: Edit | None,
    length: int,
    settings: GenerateSettings,
) -> tuple[np.ndarray, Job]:
    """Prompts [B, P], padded on the left, and what is asked of them."""
    ids = (model.tokenizer.pad_token_id, model.tokenizer.eos_token_id, 0)
    pad_id = next(token for token in ids if token is not None)
    pad_id = pad_id if pad_id < model.config.vocab_size else 0
    prompts = np.full((len(batch), length), pad_id, np.int32)
    start = np.zeros(len(batch), np.int32)
    for i, text in enumerate(batch):
        tokens = read[text.prompt].tokens
        start[i] = length - len(tokens)
        prompts[i, start[i] :] = tokens
    job = Job(
        start=jnp.asarray(start),
        keys=jax.vmap(jax.random.key)(jnp.array([text.seed for text in batch])),
        edit=edit,
        choice=jnp.array([text.edit for text in batch]),
        sampling=Sampling(
            settings.temperature,
            settings.top_k,
            settings.top_p,
            settings.repetition_penalty,
        ),
        stop_tokens=jnp.array((model.ends if settings.stop_at_end else ()) or (-1,)),
        pad_id=jnp.int32(pad_id),
    )
    return prompts, job


def _table(
    model: Model,
    read: Sequence[Prompt],
    texts: Sequence[_Text],
    written: Sequence[np.ndarray],
    ends: Sequence[int],
) -> pd.DataFrame:
    rows = []
    for text, tokens in zip(texts, written, strict=True):
        prompt, ids = read[text.prompt], tokens.tolist()
        added = continuation(model.tokenizer, prompt, ids, ends)
        rows.append(
            {
                **dataclasses.asdict(text),
                "context": prompt.text,
                "continuation": added,
                "sentence": prompt.text + added,
                "num_tokens": count_written(ids, ends),
            }
        )
    return pd.DataFrame(rows)
