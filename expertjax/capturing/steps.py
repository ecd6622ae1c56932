"""The jitted forward pass that leaves only pooled units, at each compiled shape."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from expertjax.absent import ABSENT, narrowed
from expertjax.capturing.batches import Batch
from expertjax.capturing.pools import Maximum, pool_fn
from expertjax.capturing.prepare import Prepared
from expertjax.jax_settings import jax_settings
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.family import Output
from expertjax.models.sites import ChosenUnits
from expertjax.runtime import mesh as meshes
from expertjax.runtime import sharding
from expertjax.typing import Array, PoolFn


class Compiled:
    """A step that is compiled once for each shape, in the background."""

    def __init__(self, step: Any, params: Any, mesh: Mesh) -> None:
        """Nothing is compiled yet.

        Args:
          step: jitted, of parameters and a batch's tokens, mask, pooled tokens and
            counted sentences.
          params: where they are to be.
          mesh: over whose `data` axis batches are split.
        """
        self._step, self._params, self._mesh = step, params, mesh
        self._compiled: dict[tuple[int, int], concurrent.futures.Future] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def prepare(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Begins to compile for some (B, T), the first to be used first."""
        for shape in shapes:
            if shape not in self._compiled:
                self._compiled[shape] = self._pool.submit(self._compile, shape)

    @jax_settings()
    def __call__(self, batch: Batch, counted_B: np.ndarray | None = None) -> Any:
        """Starts a batch; what the step returns.

        Args:
          batch: of any shape.
          counted_B: bool, for steps that count sentences: True at those that count.
        """
        shape = batch.tokens.shape
        self.prepare([shape])
        return self._compiled[shape].result()(
            self._params, *self._inputs(batch, counted_B)
        )

    def _inputs(self, batch: Batch, counted_B: np.ndarray | None) -> list[Array]:
        split = meshes.split_batch(self._mesh)
        if counted_B is None:
            counted_B = np.zeros(len(batch.tokens), bool)
        inputs = (batch.tokens, batch.mask, batch.pooled, counted_B)
        return [meshes.put(split, array) for array in inputs]

    @jax_settings()
    def _compile(self, shape: tuple[int, int]) -> Any:
        tokens = jax.ShapeDtypeStruct(shape, jnp.int32)
        mask = jax.ShapeDtypeStruct(shape, jnp.bool_)
        counted = jax.ShapeDtypeStruct(shape[:1], jnp.bool_)
        lowered = self._step.lower(self._params, tokens, mask, mask, counted)
        return lowered.compile()


class Steps(Compiled):
    """Runs batches through a model.

    A call gives what the step does; by default [B, U] responses in the dtype of the
    store (U filled up to a multiple of the `model` axis), whether all of them are
    finite, and [1, U] int32: how many counted sentences have their maximum at the first
    token (0 where pooling takes none).
    """

    def __init__(self, prepared: Prepared, step: Any = None) -> None:
        """Places the parameters; nothing is compiled yet.

        Args:
          prepared: model and sentences.
          step: from `jit_forward`; by default that of responses.
        """
        self._prepared = prepared
        params = sharding.place_parameters(prepared.mesh, prepared.model.params)
        step = step or response_step(prepared)
        super().__init__(step, params, prepared.mesh)

    def unrounded(self, batch: Batch) -> np.ndarray:
        """[B, U] float32 responses, to say what was not finite."""
        prepared = self._prepared
        step = jit_forward(
            prepared,
            functools.partial(pool_fn, prepared.settings.pooling),
            lambda output, _: _responses(prepared, output.pooled, np.dtype(np.float32)),
            meshes.split_responses(prepared.mesh),
        )
        return meshes.local(step(self._params, *self._inputs(batch, None)))


def jit_forward(
    prepared: Prepared,
    make_pool: Callable[[Array], PoolFn],
    finish: Callable[[Output, Array], Any],
    out_shardings: Any,
    inputs_of: Callable[[Array, Array], Inputs] = Inputs.of,
    chosen: ChosenUnits | None = None,
) -> Any:
    """The model as a jitted function of parameters and a batch, see `Compiled`.

    Args:
      prepared: its table says which sites are pooled.
      make_pool: [B, T] bool, True at tokens that count -> how sites are pooled.
      finish: makes of the model's output, and of [B] bool (the counted sentences),
        what the function returns.
      out_shardings: of that.
      inputs_of: tokens and mask -> what the model takes.
      chosen: the units of the table that are pooled; None is all.
    """
    model, mesh, table = prepared.model, prepared.mesh, prepared.table
    record = frozenset(site.name for site in table.recorded)

    def step(
        params: Any, tokens: Array, mask: Array, pooled: Array, counted: Array
    ) -> Any:
        module = model.forward.bind(params)
        probe = Probe(
            pool=make_pool(pooled),
            record=record,
            chosen=None if chosen is None else jax.tree.map(jnp.asarray, chosen.index),
            depth=table.depth,
        )
        return finish(module(inputs_of(tokens, mask), probe), counted)

    split = meshes.split_batch(mesh)
    params = sharding.parameter_shardings(mesh, model.params)
    shardings = (params, split, split, split, split)
    return jax.jit(step, in_shardings=shardings, out_shardings=out_shardings)


def _responses(
    prepared: Prepared, pooled: Mapping[str, Array], dtype: np.dtype
) -> Array:
    """[B, U], filled up to a multiple of the `model` axis."""
    filler = -prepared.table.num_units % meshes.model_size(prepared.mesh)
    # Pooled in the dtype of the activations, which is half as much to move in bfloat16.
    responses_BxU = prepared.table.gather(pooled).astype(jnp.float32)
    return narrowed(jnp.pad(responses_BxU, ((0, 0), (0, filler))), dtype)


def response_step(prepared: Prepared) -> Any:
    """Responses in the dtype of the store, and what else `Steps` says."""
    mesh = prepared.mesh
    repeats = prepared.repeats_tokens
    takes_maximum = prepared.settings.pooling == "max"

    def make_pool(mask_BxT: Array) -> PoolFn:
        if takes_maximum:
            return Maximum(mask_BxT, every_token=repeats, with_first=True)
        return pool_fn(prepared.settings.pooling, mask_BxT)

    def finish(output: Output, counted_B: Array) -> tuple[Array, Array, Array]:
        pooled = output.pooled
        if takes_maximum:
            pooled, first = (
                {site: z_Lx2xBxF[:, i] for site, z_Lx2xBxF in output.pooled.items()}
                for i in range(2)
            )
        float32 = np.dtype(np.float32)
        responses_BxU = _responses(prepared, pooled, float32)
        at_first_1xU = jnp.zeros((1, responses_BxU.shape[1]), jnp.int32)
        if takes_maximum:
            is_first_BxU = _responses(prepared, first, float32) >= responses_BxU
            is_first_BxU &= responses_BxU != ABSENT
            at_first_1xU = (is_first_BxU & counted_B[:, None]).sum(0, keepdims=True)
        responses_BxU = narrowed(responses_BxU, prepared.dtype)
        is_finite = jnp.isfinite(responses_BxU).all()
        if repeats:
            # A NaN that the maximum passes over has come here through the residual
            # stream.
            is_finite &= jnp.isfinite(output.hidden).all()
        return responses_BxU, is_finite, at_first_1xU

    return jit_forward(
        prepared,
        make_pool,
        finish,
        (
            meshes.split_responses(mesh),
            meshes.replicated(mesh),
            meshes.split_columns(mesh),
        ),
        Inputs.repeating if repeats else Inputs.of,
    )
