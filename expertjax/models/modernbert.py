"""ModernBERT: Warner et al. 2024, as `transformers` defines it."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, Rotary, attend, split_heads
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.encoder_tables import tied_decoder
from expertjax.models.family import Family, KeyRule, Output, rules_for
from expertjax.models.layers import (
    activation,
    at_layer,
    layer_norm,
    scan_blocks,
    stack_blocks,
)
from expertjax.models.modernbert_config import (
    ModernBertConfig,
    read_modernbert_config,
)
from expertjax.models.sites import Site, sites_of
from expertjax.typing import Array

_BLOCK = "model.layers.{layer}."
_EMBED = "model.embeddings."


def _layers(config: Any, rngs: nnx.Rngs, dtype: Any) -> tuple[Any, Any]:
    """How to make its linear layers and its norms."""
    linear = functools.partial(
        nnx.Linear,
        kernel_init=nnx.initializers.normal(0.02),
        dtype=dtype,
        rngs=rngs,
    )
    norm = functools.partial(
        layer_norm,
        config.width,
        config.norm_epsilon,
        rngs,
        dtype,
        use_bias=config.norm_bias,
    )
    return linear, norm


class Block(nnx.Module):
    """One pre-norm block with its four sites."""

    def __init__(self, config: ModernBertConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width
        linear, norm = _layers(config, rngs, dtype)
        self.attn_norm = norm()  # that of layer 0 is not used
        self.qkv = linear(d, 3 * d, use_bias=config.attention_bias)
        self.attention_dense = linear(d, d, use_bias=config.attention_bias)
        self.mlp_norm = norm()
        self.intermediate_dense = linear(d, 2 * f, use_bias=config.mlp_bias)
        self.output_dense = linear(f, d, use_bias=config.mlp_bias)

    def __call__(
        self,
        x_BxTxD: Array,
        tap: Tap,
        layer: Array,
        masks: tuple[Array, Array],
        rotary: tuple[Rotary, Rotary],
    ) -> Array:
        """Returns the residual stream after attention and MLP.

        Args:
          x_BxTxD: the residual stream.
          tap: of this layer.
          layer: its number.
          masks: of local and of global layers.
          rotary: likewise.
        """
        config = self.config
        is_local = at_layer(config.is_local, layer)
        mask = jnp.where(is_local, *masks)
        near, far = rotary
        turn = Rotary(
            jnp.where(is_local, near.cos, far.cos),
            jnp.where(is_local, near.sin, far.sin),
        )
        # The embeddings have a norm of their own.
        normed = jnp.where(layer == 0, x_BxTxD, self.attn_norm(x_BxTxD))
        qkv = tap("attn.Wqkv", self.qkv(normed))
        q, k, v = (split_heads(z, config.num_heads) for z in jnp.split(qkv, 3, -1))
        scale = (config.width // config.num_heads) ** -0.5
        heads = attend(tap, turn(q), turn(k), v, mask, scale=scale)
        heads = tap("attn.Wo:input", heads)
        x_BxTxD = x_BxTxD + tap("attn.Wo", self.attention_dense(heads))
        hidden = tap("mlp.Wi", self.intermediate_dense(self.mlp_norm(x_BxTxD)))
        hidden, gate = jnp.split(hidden, 2, -1)
        hidden = tap("mlp.Wo:input", activation(config.activation)(hidden) * gate)
        x_BxTxD = x_BxTxD + tap("mlp.Wo", self.output_dense(hidden))
        return tap(":residual", x_BxTxD)


class MaskedLMHead(nnx.Module):
    """The transform and the output layer of masked language modelling."""

    def __init__(self, config: ModernBertConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        linear, norm = _layers(config, rngs, dtype)
        self.dense = linear(config.width, config.width, use_bias=config.head_bias)
        self.norm = norm()
        if not config.tie_embeddings:
            self.decoder = linear(config.width, config.vocab_size, use_bias=False)
        if config.decoder_bias:
            self.bias = nnx.Param(jnp.zeros(config.vocab_size))

    def __call__(self, hidden_BxTxD: Array, embed: nnx.Embed) -> Array:
        """[B, T, V] logits."""
        hidden = activation(self.config.head_activation)(self.dense(hidden_BxTxD))
        hidden = self.norm(hidden)
        tied = self.config.tie_embeddings
        logits = embed.attend(hidden) if tied else self.decoder(hidden)
        return logits + self.bias[...] if self.config.decoder_bias else logits


class ModernBert(nnx.Module):
    """A bidirectional encoder; see `Family` for the common signature."""

    def __init__(
        self, config: ModernBertConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config
        _, norm = _layers(config, rngs, dtype)
        init = nnx.initializers.normal(0.02)
        self.word = nnx.Embed(
            config.vocab_size,
            config.width,
            embedding_init=init,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = norm()
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        self.final_norm = norm()
        if config.masked_lm_head:
            self.head = MaskedLMHead(config, rngs, dtype)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        config = self.config
        masks = (
            inputs.mask(causal=False, window=config.window),
            inputs.mask(causal=False),
        )
        rotary = (
            config.local_rotary.at(inputs.positions),
            config.global_rotary.at(inputs.positions),
        )
        x_BxTxD = self.norm(self.word(inputs.tokens))
        x_BxTxD, pooled, _ = scan_blocks(self.blocks, x_BxTxD, probe, masks, rotary)
        return Output(self.final_norm(x_BxTxD), pooled)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the masked language model.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.masked_lm_head:
            raise InputError("this checkpoint has no masked language model head")
        return self.head(hidden_BxTxD, self.word)


def _sites(config: ModernBertConfig) -> tuple[Site, ...]:
    d, f = config.width, config.mlp_width
    widths = {
        "attn.Wqkv": 3 * d,
        "attn.Wo:input": d,
        "attn.Wo": d,
        "mlp.Wi": 2 * f,
        "mlp.Wo:input": f,
        "mlp.Wo": d,
        ":residual": d,
    }
    return sites_of(_BLOCK, widths)


_HEAD = rules_for("head.", {"dense": ("head.dense", "linear")})
_HEAD += rules_for("head.", {"norm": ("head.norm", "norm")})

FAMILY = Family(
    name="modernbert",
    model_types=("modernbert",),
    causal=False,
    read_config=read_modernbert_config,
    build=ModernBert,
    sites=_sites,
    prefix="model.",
    rules=(
        KeyRule(_EMBED + "tok_embeddings.weight", "word.embedding"),
        *rules_for(_EMBED, {"norm": ("norm", "norm")}),
        *rules_for("model.", {"final_norm": ("final_norm", "norm")}),
        *(
            dataclasses.replace(rule, lacking=(0,))
            for rule in rules_for(_BLOCK, {"attn_norm": ("blocks.attn_norm", "norm")})
        ),
        *rules_for(
            _BLOCK,
            {
                "attn.Wqkv": ("blocks.qkv", "linear"),
                "attn.Wo": ("blocks.attention_dense", "linear"),
                "mlp_norm": ("blocks.mlp_norm", "norm"),
                "mlp.Wi": ("blocks.intermediate_dense", "linear"),
                "mlp.Wo": ("blocks.output_dense", "linear"),
            },
        ),
        *(dataclasses.replace(rule, optional=True) for rule in _HEAD),
        KeyRule("decoder.bias", "head.bias"),
        tied_decoder("decoder.weight"),
    ),
)
