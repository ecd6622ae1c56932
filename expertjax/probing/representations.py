"""Sentences as vectors: the last hidden states, pooled over tokens."""

import collections
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.capturing.batches import BatchPlan, choose_buckets
from expertjax.capturing.pooling import pool_tokens
from expertjax.capturing.prepare import check_length, fit_vocabulary
from expertjax.capturing.steps import Compiled
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.concepts.tokens import TokenizedPool, tokenize
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
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
    check_length(model, settings.seq_len)
    pool = tokenize(
        ConceptSet((), tuple(sentences), ()),
        model.tokenizer,
        seq_len=settings.seq_len,
        long="truncate",
        special_tokens=settings.special_tokens,
    )
    pool = fit_vocabulary(model, pool)
    row_of = {text: row for row, text in enumerate(sentences)}
    order_N = np.array([row_of[text] for text in pool.concepts.sentences])
    plan = _plan(pool, settings.batch_tokens or meshes.batch_tokens(mesh), mesh)
    vectors_NxD = _run(model, pool, plan, settings.representation, mesh)
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
        hidden_BxTxD, mask_BxT = hidden_BxTxD[:, ::-1], mask_BxT[:, ::-1]
        kind = "last"
    return pool_tokens(kind, mask_BxT, hidden_BxTxD).astype(jnp.float32)


def representation_step(model: Model, kind: Representation) -> Any:
    """The forward pass: (params, tokens, mask, pooled tokens), [B, T] -> [B, D].

    Args:
      model: whose static half is meant.
      kind: see `pool_hidden`.
    """

    def step(params: Any, tokens: Array, mask: Array, pooled: Array, _: Any) -> Array:
        module = model.forward.bind(params)
        hidden_BxTxD = module(Inputs.of(tokens, mask)).hidden
        return pool_hidden(kind, pooled, hidden_BxTxD)

    return step


def _plan(pool: TokenizedPool, batch_tokens: int, mesh: Mesh) -> BatchPlan:
    """As for capture, without blocks."""
    buckets = choose_buckets(pool.lengths, batch_tokens)
    multiple = meshes.data_size(mesh)
    rows = max(len(pool.lengths), multiple)
    return BatchPlan.of(
        pool.lengths, buckets, batch_tokens, rows, multiple, most_rows=rows
    )


def _run(
    model: Model,
    pool: TokenizedPool,
    plan: BatchPlan,
    kind: Representation,
    mesh: Mesh,
) -> np.ndarray:
    """[N, D] in the pool's order; a batch is fetched while the next is computed."""
    split = meshes.split_batch(mesh)
    step = jax.jit(
        representation_step(model, kind),
        in_shardings=(sharding.parameter_shardings(mesh, model.params), *[split] * 4),
        out_shardings=split,
    )
    params = sharding.place_parameters(mesh, model.params)
    compiled = Compiled(step, params, mesh)
    count = len(pool.lengths)
    compiled.prepare(plan.shapes([(0, count)]))
    vectors: list[np.ndarray] = []
    running: collections.deque = collections.deque()
    with tqdm(total=count, unit="sentence", desc=f"represent {model.name}") as bar:

        def fetch() -> None:
            (start, stop), vectors_BxD = running.popleft()
            vectors.append(np.asarray(vectors_BxD)[: stop - start])
            bar.update(stop - start)

        for batch in plan.batches(pool, 0, count):
            running.append((batch.rows, compiled(batch)))
            if len(running) > 1:
                fetch()
        while running:
            fetch()
    return np.concatenate(vectors)
