"""GPT-2: Radford et al. 2019, as `transformers` defines it."""

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
from expertjax.models.readout import Branch, Readout
from expertjax.models.sites import Site, sites_of
from expertjax.typing import Array

_BLOCK = "transformer.h.{layer}."


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """Architecture of one GPT-2; defaults are those of `gpt2` on the hub."""

    vocab_size: int = 50257
    max_positions: int = 1024
    width: int = 768  # D
    num_layers: int = 12  # L
    num_heads: int = 12  # H
    mlp_width: int = 3072
    activation: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attention: bool = True  # by 1 / sqrt(K)
    scale_attention_by_layer: bool = False  # by 1 / (layer + 1)
    tie_embeddings: bool = True
    lm_head: bool = True  # does the checkpoint have one, tied or its own?


class Block(nnx.Module):
    """One pre-norm transformer block with its four sites."""

    def __init__(self, config: GPT2Config, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width

        def linear(inputs: int, outputs: int, std: float = 0.02) -> nnx.Linear:
            init = nnx.initializers.normal(std)
            return nnx.Linear(inputs, outputs, kernel_init=init, dtype=dtype, rngs=rngs)

        residual_std = 0.02 / (2 * config.num_layers) ** 0.5
        self.ln_1 = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.c_attn = linear(d, 3 * d)
        self.c_proj = linear(d, d, residual_std)
        self.ln_2 = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.c_fc = linear(d, f)
        self.mlp_c_proj = linear(f, d, residual_std)

    def __call__(self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array) -> Array:
        """Returns the residual stream after attention and MLP."""
        x_BxTxD = x_BxTxD + self.attention(self.ln_1(x_BxTxD), tap, layer, mask)
        x_BxTxD = x_BxTxD + self.mlp(self.ln_2(x_BxTxD), tap)
        return tap(":residual", x_BxTxD)

    def attention(self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array) -> Array:
        """What attention adds to the residual stream."""
        config = self.config
        qkv = tap("attn.c_attn", self.c_attn(x_BxTxD))
        q, k, v = (split_heads(z, config.num_heads) for z in jnp.split(qkv, 3, -1))
        scale = (config.width // config.num_heads) ** -0.5
        scale = jnp.float32(scale if config.scale_attention else 1.0)
        if config.scale_attention_by_layer:
            scale = scale / (layer + 1)
        heads = tap("attn.c_proj:input", attend(tap, q, k, v, mask, scale=scale))
        return tap("attn.c_proj", self.c_proj(heads))

    def mlp(self, x_BxTxD: Array, tap: Tap) -> Array:
        """What the MLP adds to the residual stream."""
        hidden = tap("mlp.c_fc", self.c_fc(x_BxTxD))
        hidden = activation(self.config.activation)(hidden)
        hidden = tap("mlp.c_proj:input", hidden)
        return tap("mlp.c_proj", self.mlp_c_proj(hidden))


class GPT2(nnx.Module):
    """A causal language model; see `Family` for the common signature."""

    def __init__(self, config: GPT2Config, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d = config.width

        def embed(rows: int, std: float) -> nnx.Embed:
            init = nnx.initializers.normal(std)
            return nnx.Embed(rows, d, embedding_init=init, dtype=dtype, rngs=rngs)

        self.wte = embed(config.vocab_size, 0.02)
        self.wpe = embed(config.max_positions, 0.01)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        self.ln_f = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        if config.lm_head and not config.tie_embeddings:
            self.lm_head = nnx.Linear(
                d, config.vocab_size, use_bias=False, dtype=dtype, rngs=rngs
            )

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        x_BxTxD = self.wte(inputs.tokens) + self.wpe(inputs.positions)
        x_BxTxD, pooled, cache = scan_blocks(
            self.blocks, x_BxTxD, probe, inputs.mask(causal=True)
        )
        return Output(self.ln_f(x_BxTxD), pooled, cache)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] next-token logits.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.lm_head:
            raise InputError("this GPT-2 checkpoint has no language model head")
        if self.config.tie_embeddings:
            return self.wte.attend(hidden_BxTxD)
        return self.lm_head(hidden_BxTxD)


def _read_config(reader: ConfigReader) -> GPT2Config:
    width = reader.take("n_embd", 768)
    num_heads = reader.take("n_head", 12)
    reader.require(
        width % num_heads == 0,
        f"n_embd={width} is not a multiple of n_head={num_heads}",
    )
    reader.only("n_special", 0)
    reader.ignore("n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop")
    # Our attention always takes the softmax in float32.
    reader.ignore("reorder_and_upcast_attn")
    mlp_width = reader.take("n_inner", None, int)
    tie = reader.take("tie_word_embeddings", True)
    return GPT2Config(
        vocab_size=reader.take("vocab_size", 50257),
        max_positions=reader.take("n_positions", 1024),
        width=width,
        num_layers=reader.take("n_layer", 12),
        num_heads=num_heads,
        mlp_width=4 * width if mlp_width is None else mlp_width,
        activation=reader.choose("activation_function", "gelu_new", ACTIVATIONS),
        layer_norm_epsilon=reader.take("layer_norm_epsilon", 1e-5),
        scale_attention=reader.take("scale_attn_weights", True),
        scale_attention_by_layer=reader.take("scale_attn_by_inverse_layer_idx", False),
        tie_embeddings=tie,
        lm_head=tie or "lm_head.weight" in reader.keys,
    )


def sites(config: GPT2Config) -> tuple[Site, ...]:
    """The sites of one block."""
    d, f = config.width, config.mlp_width
    widths = {
        "attn.c_attn": 3 * d,
        "attn.c_proj:input": d,
        "attn.c_proj": d,
        "mlp.c_fc": f,
        "mlp.c_proj:input": f,
        "mlp.c_proj": d,
        ":residual": d,
    }
    return sites_of(_BLOCK, widths)


def _readout(config: GPT2Config) -> Readout:
    return Readout(
        branches=(
            Branch("attn.c_proj", "blocks.c_proj.kernel"),
            Branch("mlp.c_proj", "blocks.mlp_c_proj.kernel", hidden="mlp.c_fc"),
        ),
        unembedding="wte.embedding" if config.tie_embeddings else "lm_head.kernel",
        last=("ln_f",),
    )


BLOCK_RULES = rules_for(
    _BLOCK,
    {
        "ln_1": ("blocks.ln_1", "norm"),
        "attn.c_attn": ("blocks.c_attn", "conv1d"),
        "attn.c_proj": ("blocks.c_proj", "conv1d"),
        "ln_2": ("blocks.ln_2", "norm"),
        "mlp.c_fc": ("blocks.c_fc", "conv1d"),
        "mlp.c_proj": ("blocks.mlp_c_proj", "conv1d"),
    },
)
# Constant causal masks that old checkpoints carry along.
BLOCK_CONSTANTS = (_BLOCK + "attn.bias", _BLOCK + "attn.masked_bias")

FAMILY = Family(
    name="gpt2",
    model_types=("gpt2",),
    causal=True,
    read_config=_read_config,
    build=GPT2,
    sites=sites,
    readout=_readout,
    prefix="transformer.",
    rules=(
        KeyRule("transformer.wte.weight", "wte.embedding"),
        KeyRule("transformer.wpe.weight", "wpe.embedding"),
        *rules_for("transformer.", {"ln_f": ("ln_f", "norm")}),
        *BLOCK_RULES,
        KeyRule(
            "lm_head.weight",
            "lm_head.kernel",
            transpose=True,
            optional=True,
            equals="wte.embedding",
        ),
    ),
    ignored=BLOCK_CONSTANTS,
)
