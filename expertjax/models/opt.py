"""OPT: Zhang et al. 2022, as `transformers` defines it."""

import dataclasses
from typing import Any

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

_BLOCK = "model.decoder.layers.{layer}."
_OFFSET = 2  # the position table's first rows, which no token has
_EPSILON = 1e-5  # of all LayerNorms


@dataclasses.dataclass(frozen=True)
class OPTConfig:
    """Architecture of one OPT; defaults are those of `facebook/opt-125m`."""

    vocab_size: int = 50272
    max_positions: int = 2048
    width: int = 768  # D
    embedding_width: int = 768  # of tokens, projected to D where it is another
    num_layers: int = 12  # L
    num_heads: int = 12  # H
    mlp_width: int = 3072
    activation: str = "relu"
    norm_first: bool = True  # False in OPT-350m
    bias: bool = True  # of the linear layers
    tie_embeddings: bool = True
    lm_head: bool = True


def _linear(
    inputs: int, outputs: int, bias: bool, rngs: nnx.Rngs, dtype: Any
) -> nnx.Linear:
    init = nnx.initializers.normal(0.02)
    return nnx.Linear(
        inputs, outputs, use_bias=bias, kernel_init=init, dtype=dtype, rngs=rngs
    )


class Block(nnx.Module):
    """One transformer block, pre-norm or post-norm, with its six sites."""

    def __init__(self, config: OPTConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            return _linear(inputs, outputs, config.bias, rngs, dtype)

        self.q_proj = linear(d, d)
        self.k_proj = linear(d, d)
        self.v_proj = linear(d, d)
        self.out_proj = linear(d, d)
        self.attention_norm = layer_norm(d, _EPSILON, rngs, dtype)
        self.fc1 = linear(d, f)
        self.fc2 = linear(f, d)
        self.mlp_norm = layer_norm(d, _EPSILON, rngs, dtype)

    def __call__(self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        if self.config.norm_first:
            x_BxTxD = x_BxTxD + self._attend(self.attention_norm(x_BxTxD), tap, mask)
            x_BxTxD = x_BxTxD + self._mlp(self.mlp_norm(x_BxTxD), tap)
        else:
            x_BxTxD = self.attention_norm(x_BxTxD + self._attend(x_BxTxD, tap, mask))
            x_BxTxD = self.mlp_norm(x_BxTxD + self._mlp(x_BxTxD, tap))
        return tap(":residual", x_BxTxD)

    def _attend(self, x_BxTxD: Array, tap: Tap, mask: Array) -> Array:
        num_heads = self.config.num_heads
        q, k, v = (
            split_heads(tap(f"self_attn.{name}", project(x_BxTxD)), num_heads)
            for name, project in (
                ("q_proj", self.q_proj),
                ("k_proj", self.k_proj),
                ("v_proj", self.v_proj),
            )
        )
        scale = (self.config.width // num_heads) ** -0.5
        heads = attend(tap, q, k, v, mask, scale=scale)
        heads = tap("self_attn.out_proj:input", heads)
        return tap("self_attn.out_proj", self.out_proj(heads))

    def _mlp(self, x_BxTxD: Array, tap: Tap) -> Array:
        hidden = tap("fc1", self.fc1(x_BxTxD))
        hidden = tap("fc2:input", activation(self.config.activation)(hidden))
        return tap("fc2", self.fc2(hidden))


class OPT(nnx.Module):
    """A causal language model; see `Family` for the common signature."""

    def __init__(self, config: OPTConfig, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d, e = config.width, config.embedding_width

        def embed(rows: int, width: int) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(rows, width, embedding_init=init, dtype=dtype, rngs=rngs)

        self.embed_tokens = embed(config.vocab_size, e)
        self.embed_positions = embed(config.max_positions + _OFFSET, d)
        if d != e:
            self.project_in = _linear(e, d, False, rngs, dtype)
            self.project_out = _linear(d, e, False, rngs, dtype)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        if config.norm_first:
            self.final_norm = layer_norm(d, _EPSILON, rngs, dtype)
        if config.lm_head and not config.tie_embeddings:
            self.head = _linear(e, config.vocab_size, False, rngs, dtype)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        projected = self.config.width != self.config.embedding_width
        tokens_BxTxE = self.embed_tokens(inputs.tokens)
        x_BxTxD = self.project_in(tokens_BxTxE) if projected else tokens_BxTxE
        x_BxTxD = x_BxTxD + self.embed_positions(inputs.positions + _OFFSET)
        x_BxTxD, pooled, cache = scan_blocks(
            self.blocks, x_BxTxD, probe, inputs.mask(causal=True)
        )
        if self.config.norm_first:
            x_BxTxD = self.final_norm(x_BxTxD)
        hidden = self.project_out(x_BxTxD) if projected else x_BxTxD
        return Output(hidden, pooled, cache)

    def logits(self, hidden_BxTxE: Array) -> Array:
        """[B, T, V] next-token logits.

        Raises:
          InputError: the checkpoint was saved without its output layer.
        """
        if self.config.tie_embeddings:
            return self.embed_tokens.attend(hidden_BxTxE)
        if not self.config.lm_head:
            raise InputError("this OPT checkpoint has no language model head")
        return self.head(hidden_BxTxE)


def _read_config(reader: ConfigReader) -> OPTConfig:
    width = reader.take("hidden_size", 768)
    num_heads = reader.take("num_attention_heads", 12)
    reader.require(
        width % num_heads == 0,
        f"hidden_size={width} is not a multiple of num_attention_heads={num_heads}",
    )
    reader.only("_remove_final_layer_norm", False)
    reader.only("layer_norm_elementwise_affine", True)
    reader.only("learned_embeddings", True)  # of Galactica
    reader.only("scale_embeddings", False)
    reader.ignore("attention_dropout", "activation_dropout", "dropout", "layerdrop")
    reader.ignore("init_std")
    embedding_width = reader.take("word_embed_proj_dim", None, int)
    tie = reader.take("tie_word_embeddings", True)
    return OPTConfig(
        vocab_size=reader.take("vocab_size", 50272),
        max_positions=reader.take("max_position_embeddings", 2048),
        width=width,
        embedding_width=width if embedding_width is None else embedding_width,
        num_layers=reader.take("num_hidden_layers", 12),
        num_heads=num_heads,
        mlp_width=reader.take("ffn_dim", 3072),
        activation=reader.choose("activation_function", "relu", ACTIVATIONS),
        norm_first=reader.take("do_layer_norm_before", True),
        bias=reader.take("enable_bias", True),
        tie_embeddings=tie,
        lm_head=tie or "lm_head.weight" in reader.keys,
    )


def _sites(config: OPTConfig) -> tuple[Site, ...]:
    d, f = config.width, config.mlp_width
    widths = {
        "self_attn.q_proj": d,
        "self_attn.k_proj": d,
        "self_attn.v_proj": d,
        "self_attn.out_proj:input": d,
        "self_attn.out_proj": d,
        "fc1": f,
        "fc2:input": f,
        "fc2": d,
        ":residual": d,
    }
    return sites_of(_BLOCK, widths)


def _readout(config: OPTConfig) -> Readout:
    # Post-norm: the stream passes both norms of each block, and none at the end.
    norms = () if config.norm_first else ("blocks.attention_norm", "blocks.mlp_norm")
    tied = config.tie_embeddings
    is_projected = config.width != config.embedding_width
    return Readout(
        branches=(
            Branch("self_attn.out_proj", "blocks.out_proj.kernel", norms=norms),
            Branch("fc2", "blocks.fc2.kernel", hidden="fc1", norms=norms[1:]),
        ),
        unembedding="embed_tokens.embedding" if tied else "head.kernel",
        last=("final_norm",) if config.norm_first else (),
        stream=norms,
        project="project_out.kernel" if is_projected else "",
    )


_DECODER = "model.decoder."
FAMILY = Family(
    name="opt",
    model_types=("opt",),
    causal=True,
    read_config=_read_config,
    build=OPT,
    sites=_sites,
    readout=_readout,
    prefix="model.",
    rules=(
        KeyRule(_DECODER + "embed_tokens.weight", "embed_tokens.embedding"),
        KeyRule(_DECODER + "embed_positions.weight", "embed_positions.embedding"),
        KeyRule(_DECODER + "project_in.weight", "project_in.kernel", transpose=True),
        KeyRule(_DECODER + "project_out.weight", "project_out.kernel", transpose=True),
        *rules_for(_DECODER, {"final_layer_norm": ("final_norm", "norm")}),
        *rules_for(
            _BLOCK,
            {
                "self_attn.q_proj": ("blocks.q_proj", "linear"),
                "self_attn.k_proj": ("blocks.k_proj", "linear"),
                "self_attn.v_proj": ("blocks.v_proj", "linear"),
                "self_attn.out_proj": ("blocks.out_proj", "linear"),
                "self_attn_layer_norm": ("blocks.attention_norm", "norm"),
                "fc1": ("blocks.fc1", "linear"),
                "fc2": ("blocks.fc2", "linear"),
                "final_layer_norm": ("blocks.mlp_norm", "norm"),
            },
        ),
        KeyRule(
            "lm_head.weight",
            "head.kernel",
            transpose=True,
            optional=True,
            equals="embed_tokens.embedding",
        ),
    ),
    ignored=(_DECODER + "version",),  # of the format, in old checkpoints
)
