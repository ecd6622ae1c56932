"""Writing token by token with a key-value cache, many texts at a time."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation.sampling import Sampling, choose
from expertjax.models.attention import Inputs
from expertjax.models.edits import Cache, Edit, Probe
from expertjax.models.forward import Forward
from expertjax.typing import Array


class Job(NamedTuple):
    """What stays the same while a batch of texts is written.

    Attributes:
      start: [B] the first real token of each prompt, which ends at P.
      keys: [B] random keys.
      edit: [L, E, F], or None.
      choice: [B] int: the edit of each text.
      sampling: how tokens are chosen.
      stop_tokens: [K] int: a text ends after any of them; -1 for none.
      pad_id: int, stands after a text's end.
    """

    start: Array
    keys: Array
    edit: Edit | None
    choice: Array
    sampling: Sampling
    stop_tokens: Array
    pad_id: Array


class State(NamedTuple):
    """A batch of texts that are being written.

    Attributes:
      cache: of all tokens but the last.
      written: [B, N] int32, of which `num_written` are there.
      num_written: int.
      done: [B] bool: has the text ended?
      seen: [B, V] bool: the tokens that are in a text.
    """

    cache: Cache
    written: Array
    num_written: Array
    done: Array
    seen: Array


class Decoder:
    """A causal model that writes.

    Compiled once for each architecture and shape of batch, however often a decoder is
    made.
    """

    def __init__(self, model: Model, edit_prompt: bool = True) -> None:
        """Takes a model.

        Args:
          model: of a causal family.
          edit_prompt: are units edited at the tokens of the prompt too?

        Raises:
          InputError: the model is an encoder, which cannot write.
        """
        if not model.family.causal:
            raise InputError(
                f"{model.name}: a model of the family {model.family.name} does not "
                "write from left to right; take a causal one, such as GPT-2 or Llama"
            )
        self.model = model
        self._edit_prompt = edit_prompt

    def begin(
        self, prompts_BxP: np.ndarray, job: Job, num_new: int, room: int = 0
    ) -> State:
        """Reads the prompts and writes the first token.

        Args:
          prompts_BxP: tokens, padded on the left.
          job: see there.
          num_new: the most tokens to be written.
          room: N, how many there is room for; `num_new` where that is more.

        Raises:
          InputError: prompt and new tokens are more than the model has positions for.
        """
        most = getattr(self.model.config, "max_positions", None)
        total = int(prompts_BxP.shape[1] - np.asarray(job.start).min()) + num_new
        if most is not None and total > most:
            raise InputError(
                f"--max_new_tokens={num_new}: with the longest prompt that is {total} "
                f"tokens, and {self.model.name} has only {most} positions"
            )
        return _begin(
            self.model.forward,
            self.model.params,
            prompts_BxP,
            job,
            num_new=max(num_new, room),
            edit_prompt=self._edit_prompt,
        )

    def advance(self, state: State, job: Job, count: int) -> State:
        """Writes on until there are `count` tokens, or all texts have ended."""
        return _advance(self.model.forward, self.model.params, state, job, count)


@functools.partial(jax.jit, static_argnames=("forward", "num_new", "edit_prompt"))
def _begin(
    forward: Forward,
    params: Any,
    tokens_BxP: Array,
    job: Job,
    *,
    num_new: int,
    edit_prompt: bool,
) -> State:
    module = forward.bind(params)
    batch, length = tokens_BxP.shape
    inputs = _inputs(tokens_BxP, job, jnp.int32(0), length + num_new)
    edit = job.edit if edit_prompt else None
    probe = Probe(edit=edit, choice=job.choice, slots=length + num_new)
    out = module(inputs, probe)
    logits_BxV = module.logits(out.hidden[:, -1:])[:, 0]
    assert out.cache is not None
    rows = jnp.arange(batch)[:, None]
    is_real = jnp.arange(length) >= job.start[:, None]
    seen = jnp.zeros(logits_BxV.shape, bool).at[rows, tokens_BxP].max(is_real)
    state = State(
        cache=out.cache,
        written=jnp.full((batch, num_new), job.pad_id, jnp.int32),
        num_written=jnp.int32(0),
        done=jnp.zeros(batch, bool),
        seen=seen,
    )
    return _write(state, logits_BxV, job)


# The state is given away, so that the cache is not held twice.
@functools.partial(jax.jit, static_argnames="forward", donate_argnames="state")
def _advance(
    forward: Forward, params: Any, state: State, job: Job, count: Array
) -> State:
    module = forward.bind(params)
    num_slots = state.cache.keys.shape[2]

    def step(state: State) -> State:
        last_Bx1 = jax.lax.dynamic_slice_in_dim(
            state.written, state.num_written - 1, 1, axis=1
        )
        inputs = _inputs(last_Bx1, job, state.cache.length, num_slots)
        probe = Probe(edit=job.edit, choice=job.choice, cache=state.cache)
        out = module(inputs, probe)
        assert out.cache is not None
        logits_BxV = module.logits(out.hidden)[:, 0]
        return _write(state._replace(cache=out.cache), logits_BxV, job)

    def goes_on(state: State) -> Array:
        return (state.num_written < count) & ~state.done.all()

    return jax.lax.while_loop(goes_on, step, state)


def _inputs(tokens_BxT: Array, job: Job, first_slot: Array, num_slots: int) -> Inputs:
    """The inputs of tokens that follow each other from one slot of the cache on."""
    start_Bx1 = job.start[:, None]
    slots = jnp.arange(num_slots)
    filled = first_slot + jnp.arange(tokens_BxT.shape[1])
    return Inputs(
        tokens=tokens_BxT,
        positions=jnp.maximum(filled - start_Bx1, 0),
        key_valid=(slots >= start_Bx1) & (slots <= filled[-1]),
        key_positions=jnp.maximum(slots - start_Bx1, 0),
    )


def _write(state: State, logits_BxV: Array, job: Job) -> State:
    """Adds a token to each text."""
    step = functools.partial(jax.random.fold_in, data=state.num_written)
    token_B = choose(logits_BxV, state.seen, jax.vmap(step)(job.keys), job.sampling)
    token_B = jnp.where(state.done, job.pad_id, token_B)
    done = state.done | (token_B[:, None] == job.stop_tokens).any(1)
    rows = jnp.arange(len(token_B))
    return state._replace(
        written=state.written.at[:, state.num_written].set(token_B),
        num_written=state.num_written + 1,
        done=done,
        seen=state.seen.at[rows, token_B].set(True),
    )
