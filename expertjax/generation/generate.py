"""Texts for many prompts, seeds and edits, in batches."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation.decode import Job, State
from expertjax.generation.plan import Plan
from expertjax.generation.settings import GenerateSettings
from expertjax.generation.texts import Streamed
from expertjax.jax_settings import jax_settings
from expertjax.models.unit_edits import UnitEdit

_CHUNK = 16  # tokens between two movements of the progress bar


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
    plan = Plan(model, prompts, edits, seeds, settings)
    if on_token is not None and plan.count > 1:
        raise InputError("only a single text can be shown as it is written")
    written: list[np.ndarray] = []
    most = settings.max_new_tokens
    total = plan.count * most
    with tqdm(total=total, unit="token", disable=on_token is not None) as bar:
        for start in range(0, plan.count, plan.size):
            first, job = plan.begin(start)
            real = min(plan.size, plan.count - start)
            shown = None
            if on_token is not None:
                shown = Streamed(model.tokenizer, plan.read[0], plan.ends, on_token)
            step = _CHUNK if shown is None else 1
            for state in advance(plan, first, job, step):
                bar.n = start * most + int(state.num_written) * real
                bar.refresh()
                if shown is not None:
                    ids = np.asarray(state.written)[
                        0, : int(state.num_written)
                    ].tolist()
                    shown.tell(ids)
            if shown is not None:
                shown.end(ids)
            written += list(np.asarray(state.written)[:real, :most])
        bar.n = total
        bar.refresh()
    return plan.table(written)


def advance(plan: Plan, state: State, job: Job, step: int) -> Iterator[State]:
    """The state after the first token, and after each further `step` of them.

    The state that was given before is used up.
    """
    yield state
    most, count = plan.settings.max_new_tokens, 1
    while count < most and not np.asarray(state.done).all():
        count = min(count + step, most)
        with jax_settings():
            state = plan.decoder.advance(state, job, count)
        yield state
