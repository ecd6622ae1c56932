"""Texts for many prompts, seeds and edits, in batches."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from tqdm import tqdm

from expertjax.checkpoints.load import Model, params_digest
from expertjax.errors import InputError
from expertjax.generation.decode import Decoder, Job, State
from expertjax.generation.sampling import Sampling
from expertjax.generation.settings import GenerateSettings
from expertjax.generation.texts import (
    Prompt,
    Streamed,
    continuation,
    count_written,
    read_prompt,
)
from expertjax.jax_settings import jax_settings
from expertjax.models.edits import Edit
from expertjax.models.unit_edits import UnitEdit

_CHUNK = 16  # tokens between two movements of the progress bar
_GRAIN = 8  # prompts are padded to a multiple of this: few shapes are compiled


@dataclasses.dataclass(frozen=True)
class _Text:
    """One text to be written."""

    edit: int
    prompt: int
    seed: int


@jax_settings()
def generate(
    model: Model,
    prompts: Sequence[str],
    edits: Sequence[UnitEdit | None] = (None,),
    seeds: Sequence[int] = (0,),
    settings: GenerateSettings | None = None,
    on_token: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Writes a text for every edit, prompt and seed.

    Texts of all kinds share batches of one shape, so that a whole sweep is one compiled
    program. What is written for an edit, prompt and seed does not depend on what else
    there is, up to the rounding of sums.

    Args:
      model: of a causal family.
      prompts: texts to go on from; "" where the model has a token to begin with.
      edits: None leaves the model as it is.
      seeds: of the random choices.
      settings: see `GenerateSettings`.
      on_token: gets what each token adds, of a single text, as it is written.

    Returns:
      one row for each text, edits outermost, then prompts: edit, prompt, seed (numbers
      of edits and prompts, and the seed itself), context (the prompt), continuation,
      sentence (both), num_tokens (written).

    Raises:
      InputError: an encoder, a prompt without any token, an edit of another model, or
        more tokens than the model has positions for.
    """
    settings = settings or GenerateSettings()
    decoder = Decoder(model, edit_prompt=settings.edit_tokens == "all")
    _check_edits(model, edits)
    read = [read_prompt(model, prompt) for prompt in prompts]
    texts = [
        _Text(*numbers)
        for numbers in itertools.product(range(len(edits)), range(len(prompts)), seeds)
    ]
    if not texts:
        raise InputError("nothing to write: no prompt, no seed or no edit is given")
    stacked = None
    if any(edit is not None for edit in edits):
        stacked = Edit.stack([_dense(model, edit) for edit in edits])
    length = -(-max(len(prompt.tokens) for prompt in read) // _GRAIN) * _GRAIN
    size = min(settings.batch_size, len(texts))
    ends = model.ends if settings.stop_at_end else ()
    if on_token is not None and len(texts) > 1:
        raise InputError("only a single text can be shown as it is written")
    written: list[np.ndarray] = []
    total = len(texts) * settings.max_new_tokens
    with tqdm(total=total, unit="token", disable=on_token is not None) as bar:
        for start in range(0, len(texts), size):
            # The last batch is filled up with texts that are thrown away.
            batch = [texts[min(start + i, len(texts) - 1)] for i in range(size)]
            prompts_BxP, job = _job(model, batch, read, stacked, length, settings)
            first = decoder.begin(prompts_BxP, job, settings.max_new_tokens)
            real = min(size, len(texts) - start)
            shown = None
            if on_token is not None:
                shown = Streamed(model.tokenizer, read[0], ends, on_token)
            for state in _advance(decoder, first, job, settings, shown is None):
                done = start * settings.max_new_tokens
                bar.n = done + int(state.num_written) * real
                bar.refresh()
                if shown is not None:
                    ids = np.asarray(state.written)[
                        0, : int(state.num_written)
                    ].tolist()
                    shown.tell(ids)
            if shown is not None:
                shown.end(ids)
            written += list(np.asarray(state.written)[:real])
        bar.n = total
        bar.refresh()
    return _table(model, read, texts, written, ends)


def _advance(
    decoder: Decoder,
    state: State,
    job: Job,
    settings: GenerateSettings,
    in_chunks: bool,
) -> Iterator[State]:
    """The state after the first token and after each further step."""
    yield state
    step = _CHUNK if in_chunks else 1
    count = 1
    while count < settings.max_new_tokens and not np.asarray(state.done).all():
        count = min(count + step, settings.max_new_tokens)
        state = decoder.advance(state, job, count)
        yield state


def _check_edits(model: Model, edits: Sequence[UnitEdit | None]) -> None:
    """Refuses edits made from the expertise of other weights."""
    wanted = {
        edit.about["weights_sha256"]: edit.about.get("model", "another model")
        for edit in edits
        if edit is not None and "weights_sha256" in edit.about
    }
    if not wanted:
        return
    digest = params_digest(model.params)
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
