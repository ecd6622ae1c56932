"""BERT: Devlin et al. 2019, as `transformers` defines it."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, attend, split_heads
from expertjax.models.configs import ConfigReader
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.family import Family, KeyRule, Output, rules_for
from expertjax.models.layers import (
    ACTIVATIONS,
    activation,
    layer_norm,
    scan_blocks,
    stack_blocks,
)
from expertjax.models.sites import Site, sites_of
from expertjax.typing import Array

_BLOCK = "bert.encoder.layer.{layer}."


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Architecture of one BERT; defaults are those of `bert-base-uncased`."""

    vocab_size: int = 30522
    max_positions: int = 512
    num_types: int = 2
    width: int = 768  # D
    num_layers: int = 12  # L
    num_heads: int = 12  # H
    mlp_width: int = 3072
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    masked_lm_head: bool = True
    tie_embeddings: bool = True


class Block(nnx.Module):
    """One post-norm transformer block with its six sites."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            init = nnx.initializers.normal(0.02)
            return nnx.Linear(inputs, outputs, kernel_init=init, dtype=dtype, rngs=rngs)

        self.query = linear(d, d)
        self.key = linear(d, d)
        self.value = linear(d, d)
        self.attention_dense = linear(d, d)
        self.attention_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.intermediate_dense = linear(d, f)
        self.output_dense = linear(f, d)
        self.output_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)

    def __call__(self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        config, heads = self.config, self.config.num_heads
        q, k, v = (
            split_heads(tap(f"attention.self.{name}", project(x_BxTxD)), heads)
            for name, project in (
                ("query", self.query),
                ("key", self.key),
                ("value", self.value),
            )
        )
        scale = (config.width // heads) ** -0.5
        attended = attend(tap, q, k, v, mask, scale=scale)
        attended = tap("attention.output.dense:input", attended)
        attended = tap("attention.output.dense", self.attention_dense(attended))
        x_BxTxD = self.attention_norm(x_BxTxD + attended)
        hidden = tap("intermediate.dense", self.intermediate_dense(x_BxTxD))
        hidden = activation(config.activation)(hidden)
        hidden = tap("output.dense:input", hidden)
        hidden = tap("output.dense", self.output_dense(hidden))
        return tap(":residual", self.output_norm(x_BxTxD + hidden))


class MaskedLMHead(nnx.Module):
    """The transform and the output layer of masked language modelling."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, v = config.width, config.vocab_size
        self.dense = nnx.Linear(d, d, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        if config.tie_embeddings:
            self.bias = nnx.Param(jnp.zeros(v))
        else:
            self.decoder = nnx.Linear(d, v, dtype=dtype, rngs=rngs)

    def __call__(self, hidden_BxTxD: Array, embed: nnx.Embed) -> Array:
        """[B, T, V] logits."""
        hidden = activation(self.config.activation)(self.dense(hidden_BxTxD))
        hidden = self.norm(hidden)
        if self.config.tie_embeddings:
            return embed.attend(hidden) + self.bias[...]
        return self.decoder(hidden)


class Bert(nnx.Module):
    """A bidirectional encoder; see `Family` for the common signature."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d = config.width

        def embed(rows: int) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(rows, d, embedding_init=init, dtype=dtype, rngs=rngs)

        self.word = embed(config.vocab_size)
        self.position = embed(config.max_positions)
        self.type = embed(config.num_types)
        self.norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        if config.masked_lm_head:
            self.head = MaskedLMHead(config, rngs, dtype)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks on single-segment input; see `Family`."""
        types_BxT = jnp.zeros_like(inputs.tokens)
        x_BxTxD = self.word(inputs.tokens) + self.position(inputs.positions)
        x_BxTxD = self.norm(x_BxTxD + self.type(types_BxT))
        x_BxTxD, pooled, _ = scan_blocks(
            self.blocks, x_BxTxD, probe, inputs.mask(causal=False)
        )
        return Output(x_BxTxD, pooled)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the masked language model.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.masked_lm_head:
            raise InputError("this BERT checkpoint has no masked language model head")
        return self.head(hidden_BxTxD, self.word)


def _read_config(reader: ConfigReader) -> BertConfig:
    reader.only("position_embedding_type", "absolute")
    reader.only("is_decoder", False)
    reader.only("is_encoder_decoder", False)
    reader.only("add_cross_attention", False)
    reader.only("pruned_heads", {}, None)
    reader.ignore("attention_probs_dropout_prob", "hidden_dropout_prob")
    width = reader.take("hidden_size", 768)
    num_heads = reader.take("num_attention_heads", 12)
    reader.require(
        width % num_heads == 0,
        f"hidden_size={width} is not a multiple of num_attention_heads={num_heads}",
    )
    return BertConfig(
        vocab_size=reader.take("vocab_size", 30522),
        max_positions=reader.take("max_position_embeddings", 512),
        num_types=reader.take("type_vocab_size", 2),
        width=width,
        num_layers=reader.take("num_hidden_layers", 12),
        num_heads=num_heads,
        mlp_width=reader.take("intermediate_size", 3072),
        activation=reader.choose("hidden_act", "gelu", ACTIVATIONS),
        layer_norm_epsilon=reader.take("layer_norm_eps", 1e-12),
        masked_lm_head="cls.predictions.transform.dense.weight" in reader.keys,
        tie_embeddings=reader.take("tie_word_embeddings", True),
    )


def _sites(config: BertConfig) -> tuple[Site, ...]:
    d, f = config.width, config.mlp_width
    widths = {
        "attention.self.query": d,
        "attention.self.key": d,
        "attention.self.value": d,
        "attention.output.dense:input": d,
        "attention.output.dense": d,
        "intermediate.dense": f,
        "output.dense:input": f,
        "output.dense": d,
        ":residual": d,
    }
    return sites_of(_BLOCK, widths)


_EMBED = "bert.embeddings."
FAMILY = Family(
    name="bert",
    model_types=("bert",),
    causal=False,
    read_config=_read_config,
    build=Bert,
    sites=_sites,
    prefix="bert.",
    rules=(
        KeyRule(_EMBED + "word_embeddings.weight", "word.embedding"),
        KeyRule(_EMBED + "position_embeddings.weight", "position.embedding"),
        KeyRule(_EMBED + "token_type_embeddings.weight", "type.embedding"),
        *rules_for(_EMBED, {"LayerNorm": ("norm", "norm")}),
        *rules_for(
            _BLOCK,
            {
                "attention.self.query": ("blocks.query", "linear"),
                "attention.self.key": ("blocks.key", "linear"),
                "attention.self.value": ("blocks.value", "linear"),
                "attention.output.dense": ("blocks.attention_dense", "linear"),
                "attention.output.LayerNorm": ("blocks.attention_norm", "norm"),
                "intermediate.dense": ("blocks.intermediate_dense", "linear"),
                "output.dense": ("blocks.output_dense", "linear"),
                "output.LayerNorm": ("blocks.output_norm", "norm"),
            },
        ),
        *rules_for(
            "cls.predictions.transform.",
            {"dense": ("head.dense", "linear"), "LayerNorm": ("head.norm", "norm")},
        ),
        # Without tying, torch leaves this one unused and has a second.
        KeyRule("cls.predictions.bias", "head.bias", optional=True),
        KeyRule(
            "cls.predictions.decoder.bias",
            "head.decoder.bias",
            optional=True,
            equals="head.bias",
        ),
        KeyRule(
            "cls.predictions.decoder.weight",
            "head.decoder.kernel",
            transpose=True,
            optional=True,
            equals="word.embedding",
        ),
    ),
    renamed=(
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
    ),
    ignored=(
        _EMBED + "position_ids",  # a constant
        "bert.pooler.dense.weight",  # the pooler is of the sentence-pair task
        "bert.pooler.dense.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ),
)
