"""DeBERTa's encoder (He et al. 2020, 2021): BERT's with disentangled attention.

What a token says and how far away it is are vectors of their own. The scores of a
query and a key have three terms: content with content, the query's content with the
distance ("c2p"), and the distance with the key's content ("p2c"). Distances are
embedded once for all layers, which project them each by itself; these projections see
no token, and so their outputs are no units.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, attend, split_fused_heads
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.encoder import Block, EncoderConfig, MaskedLMHead
from expertjax.models.family import Output
from expertjax.models.layers import activation, layer_norm, scan_blocks, stack_blocks
from expertjax.typing import Array


@dataclasses.dataclass(frozen=True)
class DisentangledConfig(EncoderConfig):
    """Architecture of one DeBERTa; the defaults are those of `transformers`."""

    vocab_size: int = 50265
    num_types: int = 0
    layer_norm_epsilon: float = 1e-7
    position_biased_input: bool = True  # positions are added to the embeddings, too
    later_head: bool = False  # of masked language modelling; see `deberta.py`

    fused: bool = False  # queries, keys and values are one layer
    terms: tuple[str, ...] = ()  # of the scores, beside the contents' own
    span: int = 0  # distances to either side that have embeddings; 0: none have
    # Of more distances than that, those beyond half share embeddings.
    longest: int | None = None
    share_projections: bool = False  # distances are projected as tokens are
    norm_distances: bool = False
    conv_width: int = 0  # of the convolution beside the first layer; 0: there is none
    conv_groups: int = 1
    conv_activation: str = "tanh"

    @property
    def score_scale(self) -> float:
        """Of each term."""
        per_head = self.width // self.num_heads
        return (per_head * (1 + len(self.terms))) ** -0.5


class Distances(NamedTuple):
    """How far apart tokens are.

    Attributes:
      embeddings: [2 * span, D].
      rows: [B, T, S] int, those of them for each query and key.
    """

    embeddings: Array
    rows: Array


def bucket_table(length: int, span: int, longest: int) -> np.ndarray:
    """[length]: which distance stands for each, from 0 on.

    Half of the span is for one distance each, the other half for ranges that grow in
    proportion, up to `longest`.
    """
    half = span // 2
    distance = np.arange(length)
    # In float32, so that it rounds as torch does.
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(half)
    most = np.log(np.float32((longest - 1) / half))
    far = np.ceil(np.log(ratio) / most * np.float32(half - 1)) + half
    return np.where(distance <= half, distance, far).astype(np.int64)


class DisentangledBlock(Block):
    """One post-norm block whose scores have up to three terms."""

    config: DisentangledConfig

    def add_projections(self, linear: Callable[..., nnx.Linear]) -> None:
        """Makes the layers that `project` runs, and those of distances."""
        config, d = self.config, self.config.width
        if config.fused:
            self.qkv = linear(d, 3 * d, use_bias=False)
            self.q_bias, self.v_bias = (nnx.Param(jnp.zeros(d)) for _ in range(2))
        else:
            super().add_projections(linear)
        if config.share_projections or not config.span:
            return
        if "c2p" in config.terms:
            self.distance_key = linear(d, d, use_bias=not config.fused)
        if "p2c" in config.terms:
            self.distance_query = linear(d, d)

    def __call__(
        self,
        x_BxTxD: Array,
        tap: Tap,
        layer: Array,
        mask: Array,
        distances: Distances | None = None,
        after_first: Callable[[Array], Array] | None = None,
    ) -> Array:
        """Returns the residual stream after attention and MLP.

        Args:
          x_BxTxD: the residual stream.
          tap: of this layer.
          layer: its number.
          mask: which keys a token may see.
          distances: None if the scores do not depend on them.
          after_first: what happens to the stream behind layer 0.
        """
        x_BxTxD = super().__call__(x_BxTxD, tap, layer, mask, distances)
        if after_first is None:
            return x_BxTxD
        return jax.lax.cond(layer == 0, after_first, lambda x: x, x_BxTxD)

    def project(self, x_BxTxD: Array, tap: Tap) -> tuple[Array, ...]:
        """Queries, keys and values, [B, T, H, K] each."""
        if not self.config.fused:
            return super().project(x_BxTxD, tap)
        qkv = tap(self.config.names.query, self.qkv(x_BxTxD))
        q, k, v = split_fused_heads(qkv, self.config.num_heads)
        q_bias, v_bias = (
            bias[...].astype(q.dtype).reshape(q.shape[2:])
            for bias in (self.q_bias, self.v_bias)
        )
        return q + q_bias, k, v + v_bias

    def attend(self, qkv: tuple[Array, ...], tap: Tap, mask: Array, bias: Any) -> Array:
        """[B, T, D]: the heads' outputs, side by side."""
        scale = self.config.score_scale
        q, k, v = qkv
        bias_BxHxTxS = None if bias is None else self._bias(q, k, bias) * scale
        return attend(tap, q, k, v, mask, scale=scale, bias=bias_BxHxTxS)

    def _bias(self, q: Array, k: Array, distances: Distances) -> Array:
        """[B, H, T, S]: the terms of the distances."""
        config, total = self.config, jnp.zeros((), q.dtype)
        index_Bx1xTxS = distances.rows[:, None]

        def heads(project: nnx.Linear) -> Array:
            z_NxD = project(distances.embeddings)
            return z_NxD.reshape(len(z_NxD), config.num_heads, -1)

        if "c2p" in config.terms:
            shared = config.share_projections
            key = heads(self.key if shared else self.distance_key)
            scores = jnp.einsum("bthk,nhk->bhtn", q, key)
            total += jnp.take_along_axis(scores, index_Bx1xTxS, axis=3)
        if "p2c" in config.terms:
            shared = config.share_projections
            query = heads(self.query if shared else self.distance_query)
            scores = jnp.einsum("bshk,nhk->bhns", k, query)
            total += jnp.take_along_axis(scores, index_Bx1xTxS, axis=2)
        return total


class Convolution(nnx.Module):
    """What is added to the stream behind the first layer, out of the embeddings."""

    def __init__(self, config: DisentangledConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d = config.width
        # As torch keeps it: [out, in of a group, width].
        self.kernel = nnx.Param(
            jnp.zeros((d, d // config.conv_groups, config.conv_width))
        )
        self.bias = nnx.Param(jnp.zeros(d))
        self.norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)

    def __call__(
        self, embedded_BxTxD: Array, x_BxTxD: Array, valid_BxT: Array
    ) -> Array:
        """The stream, 0 at padding."""
        valid_BxTx1 = valid_BxT[:, :, None]
        side = self.config.conv_width // 2
        out = jax.lax.conv_general_dilated(
            embedded_BxTxD,
            self.kernel[...].astype(embedded_BxTxD.dtype),
            window_strides=(1,),
            padding=((side, side),),
            dimension_numbers=("NHC", "OIH", "NHC"),
            feature_group_count=self.config.conv_groups,
        )
        out = jnp.where(valid_BxTx1, out + self.bias[...].astype(out.dtype), 0)
        out = x_BxTxD + activation(self.config.conv_activation)(out)
        return jnp.where(valid_BxTx1, self.norm(out), 0)


class Disentangled(nnx.Module):
    """A bidirectional encoder; see `Family` for the common signature."""

    def __init__(
        self, config: DisentangledConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config
        e, d = config.embed_width, config.width

        def embed(rows: int, width: int) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(rows, width, embedding_init=init, dtype=dtype, rngs=rngs)

        self.word = embed(config.vocab_size, e)
        if config.position_biased_input:
            self.position = embed(config.max_positions, e)
        if config.num_types:
            self.type = embed(config.num_types, e)
        if config.project_embeddings:
            self.project = nnx.Linear(e, d, use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        if config.span:
            self.distance = embed(2 * config.span, d)
        if config.norm_distances:
            self.distance_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        if config.conv_width:
            self.conv = Convolution(config, rngs, dtype)
        self.blocks = stack_blocks(
            lambda rngs: DisentangledBlock(config, rngs, dtype), config.num_layers, rngs
        )
        if config.masked_lm_head and config.later_head:
            tied = dataclasses.replace(config, tie_embeddings=True)
            self.later_head = MaskedLMHead(tied, rngs, dtype)
        elif config.masked_lm_head:
            self.head = MaskedLMHead(config, rngs, dtype)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks on single-segment input; see `Family`."""
        x_BxTxD = embedded_BxTxD = self._embed(inputs)

        def after_first(x_BxTxD: Array) -> Array:
            return self.conv(embedded_BxTxD, x_BxTxD, inputs.key_valid)

        x_BxTxD, pooled, _ = scan_blocks(
            self.blocks,
            x_BxTxD,
            probe,
            inputs.mask(causal=False),
            self._distances(inputs),
            after_first if self.config.conv_width else None,
        )
        return Output(x_BxTxD, pooled)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the masked language model.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.masked_lm_head:
            raise InputError("this checkpoint has no masked language model head")
        head = self.later_head if self.config.later_head else self.head
        return head(hidden_BxTxD, self.word)

    def _embed(self, inputs: Inputs) -> Array:
        """[B, T, D]: what goes into the first block, 0 at padding."""
        x_BxTxE = self.word(inputs.tokens)
        if self.config.position_biased_input:
            x_BxTxE = x_BxTxE + self.position(inputs.positions)
        if self.config.num_types:
            x_BxTxE = x_BxTxE + self.type(jnp.zeros_like(inputs.tokens))
        if self.config.project_embeddings:
            x_BxTxE = self.project(x_BxTxE)
        return jnp.where(inputs.key_valid[:, :, None], self.norm(x_BxTxE), 0)

    def _distances(self, inputs: Inputs) -> Distances | None:
        span, longest = self.config.span, self.config.longest
        if not span:
            return None
        distance = inputs.positions[:, :, None] - inputs.key_positions[:, None, :]
        if longest is not None:
            table = jnp.asarray(bucket_table(distance.shape[2], span, longest))
            distance = jnp.sign(distance) * table[jnp.abs(distance)]
        index = jnp.clip(distance + span, 0, 2 * span - 1)
        embeddings = self.distance(jnp.arange(2 * span))
        if self.config.norm_distances:
            embeddings = self.distance_norm(embeddings)
        return Distances(embeddings, index)
