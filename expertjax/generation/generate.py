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
from expertjax.concepts.tokens import whole_texts
from expertjax.errors import InputError
from expertjax.generation.decode import Decoder, Job, State
from expertjax.generation.sampling import Sampling
from expertjax.generation.settings import GenerateSettings
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
    tokens = [_encode(model, prompt) for prompt in prompts]
    texts = [
        _Text(*numbers)
        for numbers in itertools.product(range(len(edits)), range(len(prompts)), seeds)
    ]
    if not texts:
        raise InputError("nothing to write: no prompt, no seed or no edit is given")
    stacked = None
    if any(edit is not None for edit in edits):
        stacked = Edit.stack([_dense(model, edit) for edit in edits])
    length = -(-max(map(len, tokens)) // _GRAIN) * _GRAIN
    size = min(settings.batch_size, len(texts))
    end = _end(model, settings)
    if on_token is not None and len(texts) > 1:
        raise InputError("only a single text can be shown as it is written")
    written: list[np.ndarray] = []
    total = len(texts) * settings.max_new_tokens
    with tqdm(total=total, unit="token", disable=on_token is not None) as bar:
        for start in range(0, len(texts), size):
            # The last batch is filled up with texts that are thrown away.
            batch = [texts[min(start + i, len(texts) - 1)] for i in range(size)]
            prompts_BxP, job = _job(model, batch, tokens, stacked, length, settings)
            first = decoder.begin(prompts_BxP, job, settings.max_new_tokens)
            real = min(size, len(texts) - start)
            shown = ""
            for state in _advance(decoder, first, job, settings, on_token is None):
                done = start * settings.max_new_tokens
                bar.n = done + int(state.num_written) * real
                bar.refresh()
                if on_token is not None:
                    text = _decode(
                        model,
                        np.asarray(state.written)[0, : int(state.num_written)],
                        end,
                    )
                    # A token may be a part of a character, which the next completes.
                    text = text.rstrip("\ufffd")
                    on_token(text[len(shown) :])
                    shown = text
            written += list(np.asarray(state.written)[:real])
        bar.n = total
        bar.refresh()
    return _table(model, prompts, texts, written, end)


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


def _encode(model: Model, prompt: str) -> list[int]:
    """The tokens of a prompt, without what would end the text."""
    tokens = list(whole_texts(model.tokenizer).encode(prompt).ids)
    ends = {model.tokenizer.eos_token_id} - {model.tokenizer.bos_token_id}
    while tokens and tokens[-1] in ends:
        tokens.pop()
    if not tokens and model.tokenizer.bos_token_id is not None:
        tokens = [model.tokenizer.bos_token_id]
    if not tokens:
        raise InputError(
            f"--prompt={prompt!r}: has no token, and {model.name} none to begin with; "
            "give a prompt"
        )
    return tokens


def _job(
    model: Model,
    batch: Sequence[_Text],
    tokens: Sequence[Sequence[int]],
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
        start[i] = length - len(tokens[text.prompt])
        prompts[i, start[i] :] = tokens[text.prompt]
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
        stop_tokens=jnp.array([_end(model, settings)]),
        pad_id=jnp.int32(pad_id),
    )
    return prompts, job


def _end(model: Model, settings: GenerateSettings) -> int:
    """The token after which a text ends; -1 for none."""
    end = model.tokenizer.eos_token_id
    return end if settings.stop_at_end and end is not None else -1


def _decode(model: Model, written_N: np.ndarray, end: int) -> str:
    """The text of what was written, up to its end."""
    ids = written_N.tolist()
    if end in ids:
        ids = ids[: ids.index(end)]
    return model.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def _table(
    model: Model,
    prompts: Sequence[str],
    texts: Sequence[_Text],
    written: Sequence[np.ndarray],
    end: int,
) -> pd.DataFrame:
    rows = []
    for text, tokens in zip(texts, written, strict=True):
        ended = np.flatnonzero(tokens == end)
        context = prompts[text.prompt]
        continuation = _decode(model, tokens, end)
        rows.append(
            {
                **dataclasses.asdict(text),
                "context": context,
                "continuation": continuation,
                "sentence": context + continuation,
                "num_tokens": int(ended[0]) + 1 if len(ended) else len(tokens),
            }
        )
    return pd.DataFrame(rows)
