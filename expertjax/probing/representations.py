"""Sentences as vectors: the last hidden states, pooled over tokens."""

import collections
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.capturing.batches import BatchPlan, choose_buckets
from expertjax.capturing.pooling import pool_tokens
from expertjax.capturing.prepare import Prepared, arrange, check_length
from expertjax.capturing.settings import CaptureSettings
from expertjax.capturing.steps import Steps
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.sites import UnitTable
from expertjax.probing.settings import ProbeSettings, Representation
from expertjax.runtime import mesh as meshes
from expertjax.runtime import sharding
from expertjax.typing import Array


def represent(
    model: Model,
    sentences: Sequence[str],
    settings: ProbeSettings | None = None,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, int]:
    """The vector of each sentence; each is run once.

    Args:
      model: of any family. Its last hidden states are those after the final norm,
        where it has one.
      sentences: distinct.
      settings: see `ProbeSettings`.
      mesh: defaults to all devices on the data axis.

    Returns:
      [N, D] float32, and how many sentences were cut at `seq_len`.

    Raises:
      InputError: settings that do not fit the model, a sentence without tokens, a
        vector that is not finite.
    """
    settings = settings or ProbeSettings()
    mesh = mesh or meshes.make_mesh()
    wanted = CaptureSettings(
        seq_len=settings.seq_len,
        special_tokens=settings.special_tokens,
        long="truncate",
        batch_tokens=settings.batch_tokens or meshes.batch_tokens(mesh),
    )
    check_length(model, wanted)
    table = UnitTable.build(model.sites, model.num_layers, "")
    concepts = ConceptSet((), tuple(sentences), ())
    prepared = arrange(model, concepts, table, wanted, mesh)
    pool = prepared.pool
    row_of = {text: row for row, text in enumerate(sentences)}
    order_N = np.array([row_of[text] for text in pool.concepts.sentences])
    vectors_NxD = _run(prepared, settings.representation)
    wrong = np.flatnonzero(~np.isfinite(vectors_NxD).all(1))
    if len(wrong):
        text = pool.concepts.sentences[wrong[0]]
        raise InputError(
            f"{model.name}: the representation of {text!r} is not finite; try "
            "--compute_dtype=float32, or check the checkpoint"
        )
    out_NxD = np.empty_like(vectors_NxD)
    out_NxD[order_N] = vectors_NxD
    return out_NxD, pool.num_truncated


def pool_hidden(kind: Representation, mask_BxT: Array, hidden_BxTxD: Array) -> Array:
    """[B, D] float32: the mean over the tokens of the mask, their last, or first."""
    if kind == "first":
        return pool_tokens("last", mask_BxT[:, ::-1], hidden_BxTxD[:, ::-1])
    return pool_tokens(kind, mask_BxT, hidden_BxTxD)


def representation_step(model: Model, kind: Representation) -> Any:
    """The forward pass: (params, tokens, mask, pooled tokens), [B, T] -> [B, D].

    Args:
      model: whose static half is meant.
      kind: see `pool_hidden`.
    """

    def step(params: Any, tokens: Array, mask: Array, pooled: Array) -> Array:
        module = nnx.merge(model.graphdef, params)
        hidden_BxTxD = module(Inputs.of(tokens, mask)).hidden
        return pool_hidden(kind, pooled, hidden_BxTxD)

    return step


def _run(prepared: Prepared, kind: Representation) -> np.ndarray:
    """[N, D] in the pool's order; a batch is fetched while the next is computed."""
    model, pool, mesh = prepared.model, prepared.pool, prepared.mesh
    split, count = meshes.split_batch(mesh), len(pool.lengths)
    step = jax.jit(
        representation_step(model, kind),
        in_shardings=(sharding.parameter_shardings(mesh, model.params), *[split] * 3),
        out_shardings=split,
    )
    plan = _without_blocks(prepared)
    steps = Steps(prepared, step)
    steps.prepare(plan.shapes([(0, count)]))
    vectors: list[np.ndarray] = []
    running: collections.deque = collections.deque()
    with tqdm(total=count, unit="sentence", desc=f"represent {model.name}") as bar:

        def fetch() -> None:
            (start, stop), vectors_BxD = running.popleft()
            vectors.append(np.asarray(vectors_BxD)[: stop - start])
            bar.update(stop - start)

        for batch in plan.batches(pool, 0, count):
            running.append((batch.rows, steps(batch)))
            if len(running) > 1:
                fetch()
        while running:
            fetch()
    return np.concatenate(vectors)


def _without_blocks(prepared: Prepared) -> BatchPlan:
    """The plan of one block: those of a store are small where units are many."""
    lengths_N, multiple = prepared.pool.lengths, prepared.plan.multiple
    batch_tokens = prepared.settings.batch_tokens
    buckets = choose_buckets(lengths_N, batch_tokens)
    rows = max(len(lengths_N), multiple)
    return BatchPlan.of(lengths_N, buckets, batch_tokens, rows, multiple)
