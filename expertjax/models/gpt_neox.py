"""GPT-NeoX and Pythia: Black et al. 2022, as `transformers` defines it."""

import dataclasses
from typing import Any

from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, Rotary, attend, split_fused_heads
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
from expertjax.models.rotary import RotaryConfig, read_rotary
from expertjax.models.sites import Site, sites_of
from expertjax.typing import Array

_BLOCK = "gpt_neox.layers.{layer}."


@dataclasses.dataclass(frozen=True)
class GPTNeoXConfig:
    """Architecture of one GPT-NeoX or Pythia."""

    vocab_size: int
    width: int  # D
    num_layers: int  # L
    num_heads: int  # H
    mlp_width: int
    activation: str
    layer_norm_epsilon: float
    parallel_residual: bool  # attention and MLP read the same stream
    attention_bias: bool
    rotary: RotaryConfig
    tie_embeddings: bool
    lm_head: bool

    @property
    def max_positions(self) -> int | None:
        """Where the rotary frequencies would change, if they do."""
        return self.rotary.max_positions


class Block(nnx.Module):
    """One pre-norm transformer block with its four sites."""

    def __init__(self, config: GPTNeoXConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width

        def linear(inputs: int, outputs: int, bias: bool = True) -> nnx.Linear:
            init = nnx.initializers.normal(0.02)
            return nnx.Linear(
                inputs,
                outputs,
                use_bias=bias,
                kernel_init=init,
                dtype=dtype,
                rngs=rngs,
            )

        self.attention_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.query_key_value = linear(d, 3 * d, config.attention_bias)
        self.dense = linear(d, d, config.attention_bias)
        self.mlp_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.dense_h_to_4h = linear(d, f)
        self.dense_4h_to_h = linear(f, d)

    def __call__(
        self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array, rotary: Rotary
    ) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        attended = self._attend(self.attention_norm(x_BxTxD), tap, mask, rotary)
        if self.config.parallel_residual:
            x_BxTxD = x_BxTxD + attended + self._mlp(self.mlp_norm(x_BxTxD), tap)
        else:
            x_BxTxD = x_BxTxD + attended
            x_BxTxD = x_BxTxD + self._mlp(self.mlp_norm(x_BxTxD), tap)
        return tap(":residual", x_BxTxD)

    def _attend(self, x_BxTxD: Array, tap: Tap, mask: Array, rotary: Rotary) -> Array:
        num_heads = self.config.num_heads
        qkv = tap("attention.query_key_value", self.query_key_value(x_BxTxD))
        q, k, v = split_fused_heads(qkv, num_heads)
        scale = (self.config.width // num_heads) ** -0.5
        heads = attend(tap, rotary(q), rotary(k), v, mask, scale=scale)
        heads = tap("attention.dense:input", heads)
        return tap("attention.dense", self.dense(heads))

    def _mlp(self, x_BxTxD: Array, tap: Tap) -> Array:
        hidden = tap("mlp.dense_h_to_4h", self.dense_h_to_4h(x_BxTxD))
        hidden = activation(self.config.activation)(hidden)
        hidden = tap("mlp.dense_4h_to_h:input", hidden)
        return tap("mlp.dense_4h_to_h", self.dense_4h_to_h(hidden))


class GPTNeoX(nnx.Module):
    """A causal language model; see `Family` for the common signature."""

    def __init__(
        self, config: GPTNeoXConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config
        d, v = config.width, config.vocab_size
        init = nnx.initializers.normal(0.02)
        self.embed_in = nnx.Embed(v, d, embedding_init=init, dtype=dtype, rngs=rngs)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        self.final_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        if config.lm_head and not config.tie_embeddings:
            self.head = nnx.Linear(d, v, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        x_BxTxD, pooled, cache = scan_blocks(
            self.blocks,
            self.embed_in(inputs.tokens),
            probe,
            inputs.mask(causal=True),
            self.config.rotary.at(inputs.positions),
        )
        return Output(self.final_norm(x_BxTxD), pooled, cache)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] next-token logits.

        Raises:
          InputError: the checkpoint was saved without its output layer.
        """
        if self.config.tie_embeddings:
            return self.embed_in.attend(hidden_BxTxD)
        if not self.config.lm_head:
            raise InputError("this GPT-NeoX checkpoint has no language model head")
        return self.head(hidden_BxTxD)


def _read_config(reader: ConfigReader) -> GPTNeoXConfig:
    width = reader.take("hidden_size", 6144)
    num_heads = reader.take("num_attention_heads", 64)
    reader.require(
        width % num_heads == 0,
        f"hidden_size={width} is not a multiple of num_attention_heads={num_heads}",
    )
    reader.ignore("attention_dropout", "attention_probs_dropout_prob")
    reader.ignore("hidden_dropout", "hidden_dropout_prob")
    tie = reader.take("tie_word_embeddings", False)
    return GPTNeoXConfig(
        vocab_size=reader.take("vocab_size", 50432),
        width=width,
        num_layers=reader.take("num_hidden_layers", 44),
        num_heads=num_heads,
        mlp_width=reader.take("intermediate_size", 24576),
        activation=reader.choose("hidden_act", "gelu", ACTIVATIONS),
        layer_norm_epsilon=reader.take("layer_norm_eps", 1e-5),
        parallel_residual=reader.take("use_parallel_residual", True),
        attention_bias=reader.take("attention_bias", True),
        rotary=_read_rotary(reader, width // num_heads),
        tie_embeddings=tie,
        lm_head=tie or not _HEADS.isdisjoint(reader.keys),
    )


def _read_rotary(reader: ConfigReader, head_width: int) -> RotaryConfig:
    theta = reader.take("rotary_emb_base", 1e4)
    share = reader.take("rotary_pct", 0.25)
    # Written beside the former two for some time.
    reader.only("rope_theta", theta)
    reader.only("partial_rotary_factor", share)
    rope = reader.nested("rope_parameters", "rope_scaling")
    share = rope.take("partial_rotary_factor", share)
    longest = reader.take("max_position_embeddings", 2048)
    return read_rotary(rope, int(head_width * share), longest=longest, theta=theta)


def _sites(config: GPTNeoXConfig) -> tuple[Site, ...]:
    d, f = config.width, config.mlp_width
    widths = {
        "attention.query_key_value": 3 * d,
        "attention.dense:input": d,
        "attention.dense": d,
        "mlp.dense_h_to_4h": f,
        "mlp.dense_4h_to_h:input": f,
        "mlp.dense_4h_to_h": d,
        ":residual": d,
    }
    return sites_of(_BLOCK, widths)


def _readout(config: GPTNeoXConfig) -> Readout:
    return Readout(
        branches=(
            Branch("attention.dense", "blocks.dense.kernel"),
            Branch(
                "mlp.dense_4h_to_h",
                "blocks.dense_4h_to_h.kernel",
                hidden="mlp.dense_h_to_4h",
            ),
        ),
        unembedding="embed_in.embedding" if config.tie_embeddings else "head.kernel",
        last=("final_norm",),
    )


_HEADS = frozenset({"embed_out.weight", "lm_head.weight"})
FAMILY = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    causal=True,
    read_config=_read_config,
    build=GPTNeoX,
    sites=_sites,
    readout=_readout,
    prefix="gpt_neox.",
    rules=(
        KeyRule("gpt_neox.embed_in.weight", "embed_in.embedding"),
        *rules_for("gpt_neox.", {"final_layer_norm": ("final_norm", "norm")}),
        *rules_for(
            _BLOCK,
            {
                "input_layernorm": ("blocks.attention_norm", "norm"),
                "attention.query_key_value": ("blocks.query_key_value", "linear"),
                "attention.dense": ("blocks.dense", "linear"),
                "post_attention_layernorm": ("blocks.mlp_norm", "norm"),
                "mlp.dense_h_to_4h": ("blocks.dense_h_to_4h", "linear"),
                "mlp.dense_4h_to_h": ("blocks.dense_4h_to_h", "linear"),
            },
        ),
        KeyRule(
            "embed_out.weight",
            "head.kernel",
            transpose=True,
            optional=True,
            equals="embed_in.embedding",
        ),
    ),
    renamed=(("lm_head.weight", "embed_out.weight"),),
    # Constants that old checkpoints carry along.
    ignored=(
        _BLOCK + "attention.bias",
        _BLOCK + "attention.masked_bias",
        _BLOCK + "attention.rotary_emb.inv_freq",
    ),
)
