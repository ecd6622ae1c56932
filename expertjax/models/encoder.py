"""The post-norm encoder of BERT (Devlin et al. 2019) and of its descendants.

What they do differently is in `EncoderConfig`; a file for each has its names, its
defaults and its key table.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, attend, relative_buckets, split_heads
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.family import Output
from expertjax.models.layers import activation, layer_norm, scan_blocks, stack_blocks
from expertjax.typing import Array


class Names(NamedTuple):
    """What Hugging Face calls the layers of a block, in order of computation."""

    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_dense: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    intermediate_dense: str = "intermediate.dense"
    output_dense: str = "output.dense"
    output_norm: str = "output.LayerNorm"


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder; defaults are those of `bert-base-uncased`."""

    vocab_size: int = 30522
    max_positions: int = 512
    # Row of a sentence's first token in the table. The row before it is that of the
    # padding token, whose number it is, wherever that stands.
    first_position: int = 0
    num_types: int = 2  # 0: no token types
    embed_width: int = 768  # E
    project_embeddings: bool = False  # from E to D
    width: int = 768  # D
    num_layers: int = 12  # L
    num_groups: int = 0  # of layers that share their weights; 0: none do
    num_heads: int = 12  # H
    num_buckets: int = 0  # of distances, biases of attention; 0: none
    mlp_width: int = 3072
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    masked_lm_head: bool = True
    head_activation: str = "gelu"
    tie_embeddings: bool = True

    names: ClassVar[Names] = Names()
    # Does an output layer that is not tied keep the bias it has when it is?
    one_head_bias: ClassVar[bool] = False

    @property
    def share(self) -> tuple[int, ...]:
        """[L]: the group of each layer, where layers share their weights; or ()."""
        if not self.num_groups:
            return ()
        # In float and cut off, as transformers does.
        size = self.num_layers / self.num_groups
        return tuple(int(layer / size) for layer in range(self.num_layers))


class Block(nnx.Module):
    """One post-norm transformer block with its six sites."""

    def __init__(self, config: EncoderConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width

        init = nnx.initializers.normal(0.02)
        linear = functools.partial(nnx.Linear, kernel_init=init, dtype=dtype, rngs=rngs)

        self.add_projections(linear)
        self.attention_dense = linear(d, d)
        self.attention_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.intermediate_dense = linear(d, f)
        self.output_dense = linear(f, d)
        self.output_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)

    def __call__(
        self,
        x_BxTxD: Array,
        tap: Tap,
        layer: Array,
        mask: Array,
        bias: Any = None,
    ) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        config, names = self.config, self.config.names
        attended = self.attend(self.project(x_BxTxD, tap), tap, mask, bias)
        attended = tap(names.attention_dense + ":input", attended)
        attended = tap(names.attention_dense, self.attention_dense(attended))
        x_BxTxD = self.attention_norm(x_BxTxD + attended)
        hidden = tap(names.intermediate_dense, self.intermediate_dense(x_BxTxD))
        hidden = activation(config.activation)(hidden)
        hidden = tap(names.output_dense + ":input", hidden)
        hidden = tap(names.output_dense, self.output_dense(hidden))
        return tap(":residual", self.output_norm(x_BxTxD + hidden))

    def add_projections(self, linear: Callable[..., nnx.Linear]) -> None:
        """Makes the layers that `project` runs, of inputs and outputs."""
        d = self.config.width
        self.query, self.key, self.value = linear(d, d), linear(d, d), linear(d, d)

    def project(self, x_BxTxD: Array, tap: Tap) -> tuple[Array, ...]:
        """Queries, keys and values, [B, T, H, K] each."""
        names = self.config.names
        return tuple(
            split_heads(tap(name, project(x_BxTxD)), self.config.num_heads)
            for name, project in (
                (names.query, self.query),
                (names.key, self.key),
                (names.value, self.value),
            )
        )

    def attend(self, qkv: tuple[Array, ...], tap: Tap, mask: Array, bias: Any) -> Array:
        """[B, T, D]: the heads' outputs, side by side."""
        scale = (self.config.width // self.config.num_heads) ** -0.5
        query, key, value = qkv
        return attend(tap, query, key, value, mask, scale=scale, bias=bias)


class MaskedLMHead(nnx.Module):
    """The transform and the output layer of masked language modelling."""

    def __init__(self, config: EncoderConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, e, v = config.width, config.embed_width, config.vocab_size
        own_bias = not (config.tie_embeddings or config.one_head_bias)
        self.dense = nnx.Linear(d, e, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(e, config.layer_norm_epsilon, rngs, dtype)
        if not config.tie_embeddings:
            self.decoder = nnx.Linear(e, v, use_bias=own_bias, dtype=dtype, rngs=rngs)
        self.bias = None if own_bias else nnx.Param(jnp.zeros(v))

    def __call__(self, hidden_BxTxD: Array, embed: nnx.Embed) -> Array:
        """[B, T, V] logits."""
        hidden = activation(self.config.head_activation)(self.dense(hidden_BxTxD))
        hidden = self.norm(hidden)
        tied = self.config.tie_embeddings
        logits = embed.attend(hidden) if tied else self.decoder(hidden)
        return logits if self.bias is None else logits + self.bias[...]


class Encoder(nnx.Module):
    """A bidirectional encoder; see `Family` for the common signature."""

    def __init__(
        self, config: EncoderConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config

        def embed(rows: int, width: int = config.embed_width) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(rows, width, embedding_init=init, dtype=dtype, rngs=rngs)

        self.word = embed(config.vocab_size)
        self.position = embed(config.first_position + config.max_positions)
        if config.num_types:
            self.type = embed(config.num_types)
        e, d = config.embed_width, config.width
        self.norm = layer_norm(e, config.layer_norm_epsilon, rngs, dtype)
        if config.project_embeddings:
            self.project = nnx.Linear(e, d, dtype=dtype, rngs=rngs)
        if config.num_buckets:
            self.distance = embed(config.num_buckets, config.num_heads)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype),
            config.num_groups or config.num_layers,
            rngs,
        )
        if config.masked_lm_head:
            self.head = MaskedLMHead(config, rngs, dtype)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks on single-segment input; see `Family`."""
        share = self.config.share
        x_BxTxD, pooled, _ = scan_blocks(
            self.blocks,
            self._embed(inputs),
            probe,
            inputs.mask(causal=False),
            self._bias(inputs),
            share=np.array(share) if share else None,
        )
        return Output(x_BxTxD, pooled)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the masked language model.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.masked_lm_head:
            raise InputError("this checkpoint has no masked language model head")
        return self.head(hidden_BxTxD, self.word)

    def _embed(self, inputs: Inputs) -> Array:
        """[B, T, D]: what goes into the first block."""
        x_BxTxE = self.word(inputs.tokens) + self.position(self._rows(inputs))
        if self.config.num_types:
            x_BxTxE = x_BxTxE + self.type(jnp.zeros_like(inputs.tokens))
        x_BxTxE = self.norm(x_BxTxE)
        return self.project(x_BxTxE) if self.config.project_embeddings else x_BxTxE

    def _rows(self, inputs: Inputs) -> Array:
        """[B, T]: rows of the table of positions.

        Where the table has a row for the padding token, a text's own padding tokens
        have it too, and the tokens after them are counted without them.
        """
        if not self.config.first_position:
            return inputs.positions
        padding = self.config.first_position - 1
        is_padding_BxT = inputs.tokens == padding
        count_BxT = jnp.cumsum(inputs.key_valid & ~is_padding_BxT, axis=1)
        return padding + jnp.where(is_padding_BxT, 0, count_BxT)

    def _bias(self, inputs: Inputs) -> Array | None:
        """[B, H, T, S]: what the keys' distances add to the scores."""
        if not self.config.num_buckets:
            return None
        distance_BxTxS = inputs.key_positions[:, None, :] - inputs.positions[:, :, None]
        buckets = relative_buckets(distance_BxTxS, self.config.num_buckets)
        return jnp.moveaxis(self.distance(buckets), -1, 1)
