"""CTRL: Keskar et al. 2019, as `transformers` defines it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, attend, split_heads
from expertjax.models.configs import ConfigReader
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.family import Family, KeyRule, Output, rules_for
from expertjax.models.layers import layer_norm, scan_blocks, stack_blocks
from expertjax.models.readout import Branch, Readout
from expertjax.models.sites import Site, sites_of
from expertjax.typing import Array

_BLOCK = "transformer.h.{layer}."
_BLOCK_EPSILON = 1e-6  # of the blocks' LayerNorms, whatever the config says


@dataclasses.dataclass(frozen=True)
class CTRLConfig:
    """Architecture of one CTRL; defaults are those of `transformers`."""

    vocab_size: int = 246534
    max_positions: int = 256
    width: int = 1280  # D
    num_layers: int = 48  # L
    num_heads: int = 16  # H
    mlp_width: int = 8192
    layer_norm_epsilon: float = 1e-6  # of the last LayerNorm
    tie_embeddings: bool = True
    lm_head: bool = True


class Block(nnx.Module):
    """One pre-norm transformer block with its six sites."""

    def __init__(self, config: CTRLConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            init = nnx.initializers.normal(0.02)
            return nnx.Linear(inputs, outputs, kernel_init=init, dtype=dtype, rngs=rngs)

        self.attention_norm = layer_norm(d, _BLOCK_EPSILON, rngs, dtype)
        self.query = linear(d, d)
        self.key = linear(d, d)
        self.value = linear(d, d)
        self.dense = linear(d, d)
        self.mlp_norm = layer_norm(d, _BLOCK_EPSILON, rngs, dtype)
        self.up = linear(d, f)
        self.down = linear(f, d)

    def __call__(self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        config = self.config
        normed = self.attention_norm(x_BxTxD)
        q, k, v = (
            split_heads(
                tap(f"multi_head_attention.{name}", project(normed)), config.num_heads
            )
            for name, project in (
                ("Wq", self.query),
                ("Wk", self.key),
                ("Wv", self.value),
            )
        )
        scale = (config.width // config.num_heads) ** -0.5
        heads = attend(tap, q, k, v, mask, scale=scale)
        heads = tap("multi_head_attention.dense:input", heads)
        x_BxTxD = x_BxTxD + tap("multi_head_attention.dense", self.dense(heads))
        hidden = tap("ffn.0", self.up(self.mlp_norm(x_BxTxD)))
        hidden = tap("ffn.2:input", jax.nn.relu(hidden))
        x_BxTxD = x_BxTxD + tap("ffn.2", self.down(hidden))
        return tap(":residual", x_BxTxD)


class CTRL(nnx.Module):
    """A causal language model; see `Family` for the common signature."""

    def __init__(self, config: CTRLConfig, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d, v = config.width, config.vocab_size
        init = nnx.initializers.normal(0.02)
        self.word = nnx.Embed(v, d, embedding_init=init, dtype=dtype, rngs=rngs)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        self.final_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        if config.lm_head:
            self.lm_bias = nnx.Param(jnp.zeros(v))
            if not config.tie_embeddings:
                self.head = nnx.Linear(d, v, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        d = self.config.width
        x_BxTxD = self.word(inputs.tokens) * d**0.5
        x_BxTxD = x_BxTxD + _sinusoids(inputs.positions, d).astype(x_BxTxD.dtype)
        x_BxTxD, pooled, cache = scan_blocks(
            self.blocks, x_BxTxD, probe, inputs.mask(causal=True)
        )
        return Output(self.final_norm(x_BxTxD), pooled, cache)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] next-token logits.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.lm_head:
            raise InputError("this CTRL checkpoint has no language model head")
        tied = self.config.tie_embeddings
        project = self.word.attend if tied else self.head
        return project(hidden_BxTxD) + self.lm_bias[...]


def _sinusoids(positions_BxT: Array, width: int) -> Array:
    """[B, T, D]: the sines of all wavelengths, then their cosines."""
    rates = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = positions_BxT[..., None].astype(jnp.float32) * jnp.float32(rates)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _read_config(reader: ConfigReader) -> CTRLConfig:
    reader.rename(hidden_size="n_embd", num_attention_heads="n_head")
    reader.rename(num_hidden_layers="n_layer", max_position_embeddings="n_positions")
    width = reader.take("n_embd", 1280)
    num_heads = reader.take("n_head", 16)
    reader.require(
        width % num_heads == 0,
        f"n_embd={width} is not a multiple of n_head={num_heads}",
    )
    reader.require(width % 2 == 0, f"n_embd={width} is odd")
    reader.ignore("n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop")
    return CTRLConfig(
        vocab_size=reader.take("vocab_size", 246534),
        max_positions=reader.take("n_positions", 256),
        width=width,
        num_layers=reader.take("n_layer", 48),
        num_heads=num_heads,
        mlp_width=reader.take("dff", 8192),
        layer_norm_epsilon=reader.take("layer_norm_epsilon", 1e-6),
        tie_embeddings=reader.take("tie_word_embeddings", True),
        lm_head="lm_head.bias" in reader.keys,
    )


def _sites(config: CTRLConfig) -> tuple[Site, ...]:
    d, f = config.width, config.mlp_width
    widths = {
        "multi_head_attention.Wq": d,
        "multi_head_attention.Wk": d,
        "multi_head_attention.Wv": d,
        "multi_head_attention.dense:input": d,
        "multi_head_attention.dense": d,
        "ffn.0": f,
        "ffn.2:input": f,
        "ffn.2": d,
        ":residual": d,
    }
    return sites_of(_BLOCK, widths)


def _readout(config: CTRLConfig) -> Readout:
    return Readout(
        branches=(
            Branch("multi_head_attention.dense", "blocks.dense.kernel"),
            Branch("ffn.2", "blocks.down.kernel", hidden="ffn.0"),
        ),
        unembedding="word.embedding" if config.tie_embeddings else "head.kernel",
        last=("final_norm",),
    )


FAMILY = Family(
    name="ctrl",
    model_types=("ctrl",),
    causal=True,
    read_config=_read_config,
    build=CTRL,
    sites=_sites,
    readout=_readout,
    prefix="transformer.",
    rules=(
        KeyRule("transformer.w.weight", "word.embedding"),
        *rules_for("transformer.", {"layernorm": ("final_norm", "norm")}),
        *rules_for(
            _BLOCK,
            {
                "layernorm1": ("blocks.attention_norm", "norm"),
                "multi_head_attention.Wq": ("blocks.query", "linear"),
                "multi_head_attention.Wk": ("blocks.key", "linear"),
                "multi_head_attention.Wv": ("blocks.value", "linear"),
                "multi_head_attention.dense": ("blocks.dense", "linear"),
                "layernorm2": ("blocks.mlp_norm", "norm"),
                "ffn.0": ("blocks.up", "linear"),
                "ffn.2": ("blocks.down", "linear"),
            },
        ),
        KeyRule("lm_head.bias", "lm_bias"),
        KeyRule(
            "lm_head.weight",
            "head.kernel",
            transpose=True,
            optional=True,
            equals="word.embedding",
        ),
    ),
    ignored=("transformer.pos_encoding",),  # a constant
)
