"""The jitted forward pass that leaves only pooled units, at each compiled shape."""

import concurrent.futures
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from expertjax.capturing.batches import Batch
from expertjax.capturing.pooling import pool_fn
from expertjax.capturing.prepare import Prepared
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.runtime import mesh as meshes
from expertjax.runtime import sharding
from expertjax.typing import Array


class Compiled:
    """A step that is compiled once for each shape, in the background."""

    def __init__(self, step: Any, params: Any, mesh: Mesh) -> None:
        """Nothing is compiled yet.

        Args:
          step: jitted, of parameters, tokens, mask and pooled tokens.
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

    def __call__(self, batch: Batch) -> Any:
        """Starts a batch; what the step returns."""
        shape = batch.tokens.shape
        self.prepare([shape])
        return self._compiled[shape].result()(self._params, *self._inputs(batch))

    def _inputs(self, batch: Batch) -> list[Array]:
        split = meshes.split_batch(self._mesh)
        inputs = (batch.tokens, batch.mask, batch.pooled)
        return [meshes.put(split, array) for array in inputs]

    def _compile(self, shape: tuple[int, int]) -> Any:
        tokens = jax.ShapeDtypeStruct(shape, jnp.int32)
        mask = jax.ShapeDtypeStruct(shape, jnp.bool_)
        lowered = self._step.lower(self._params, tokens, mask, mask)
        return lowered.compile()


class Steps(Compiled):
    """Runs batches through a model.

    A call gives [B, U] responses in the dtype of the store (U filled up to a multiple
    of the `model` axis), and whether all of them are finite.
    """

    def __init__(self, prepared: Prepared) -> None:
        """Places the parameters; nothing is compiled yet."""
        self._prepared = prepared
        params = sharding.place_parameters(prepared.mesh, prepared.model.params)
        super().__init__(self._jit(prepared.dtype), params, prepared.mesh)

    def unrounded(self, batch: Batch) -> np.ndarray:
        """[B, U] float32 responses, to say what was not finite."""
        responses, _ = self._jit(np.dtype(np.float32))(
            self._params, *self._inputs(batch)
        )
        return meshes.local(responses)

    def _jit(self, dtype: np.dtype) -> Any:
        model, mesh = self._prepared.model, self._prepared.mesh
        table, pooling = self._prepared.table, self._prepared.settings.pooling
        record = frozenset(site.name for site in table.recorded)
        filler = -table.num_units % meshes.model_size(mesh)

        def step(
            params: Any, tokens: Array, mask: Array, pooled: Array
        ) -> tuple[Array, Array]:
            module = nnx.merge(model.graphdef, params)
            pool = pool_fn(pooling, pooled)
            probe = Probe(pool=pool, record=record, depth=table.depth)
            responses_BxU = table.gather(module(Inputs.of(tokens, mask), probe).pooled)
            responses_BxU = jnp.pad(responses_BxU, ((0, 0), (0, filler)))
            rounded_BxU = responses_BxU.astype(dtype)
            return rounded_BxU, jnp.isfinite(rounded_BxU).all()

        split = meshes.split_batch(mesh)
        params = sharding.parameter_shardings(mesh, model.params)
        return jax.jit(
            step,
            in_shardings=(params, split, split, split),
            out_shardings=(meshes.split_responses(mesh), meshes.replicated(mesh)),
        )
