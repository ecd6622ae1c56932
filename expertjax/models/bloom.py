"""BLOOM: BigScience Workshop 2022, as `transformers` defines it."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import (
    Inputs,
    alibi_slopes,
    attend,
    split_fused_heads,
)
from expertjax.models.configs import ConfigReader
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.family import Family, KeyRule, Output, rules_for
from expertjax.models.layers import activation, layer_norm, scan_blocks, stack_blocks
from expertjax.models.readout import Branch, Readout
from expertjax.models.sites import Site, sites_of
from expertjax.typing import Array

_BLOCK = "transformer.h.{layer}."


@dataclasses.dataclass(frozen=True)
class BloomConfig:
    """Architecture of one BLOOM; defaults are those of the 560M model."""

    vocab_size: int = 250880
    width: int = 1024  # D; the MLP is four times as wide
    num_layers: int = 24  # L
    num_heads: int = 16  # H
    layer_norm_epsilon: float = 1e-5
    residual_after_norm: bool = False  # the normed stream is what is added to
    tie_embeddings: bool = True
    lm_head: bool = True  # does the checkpoint have one, tied or its own?


class Block(nnx.Module):
    """One pre-norm transformer block with its four sites."""

    def __init__(self, config: BloomConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d = config.width

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            init = nnx.initializers.normal(0.02)
            return nnx.Linear(inputs, outputs, kernel_init=init, dtype=dtype, rngs=rngs)

        self.attention_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.query_key_value = linear(d, 3 * d)
        self.dense = linear(d, d)
        self.mlp_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.dense_h_to_4h = linear(d, 4 * d)
        self.dense_4h_to_h = linear(4 * d, d)

    def __call__(
        self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array, alibi: Array
    ) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        config = self.config
        normed = self.attention_norm(x_BxTxD)
        x_BxTxD = normed if config.residual_after_norm else x_BxTxD
        qkv = tap("self_attention.query_key_value", self.query_key_value(normed))
        q, k, v = split_fused_heads(qkv, config.num_heads)
        scale = (config.width // config.num_heads) ** -0.5
        heads = attend(tap, q, k, v, mask, scale=scale, bias=alibi)
        heads = tap("self_attention.dense:input", heads)
        x_BxTxD = x_BxTxD + tap("self_attention.dense", self.dense(heads))
        normed = self.mlp_norm(x_BxTxD)
        x_BxTxD = normed if config.residual_after_norm else x_BxTxD
        hidden = tap("mlp.dense_h_to_4h", self.dense_h_to_4h(normed))
        hidden = tap("mlp.dense_4h_to_h:input", activation("gelu_new")(hidden))
        x_BxTxD = x_BxTxD + tap("mlp.dense_4h_to_h", self.dense_4h_to_h(hidden))
        return tap(":residual", x_BxTxD)


class Bloom(nnx.Module):
    """A causal language model; see `Family` for the common signature."""

    def __init__(self, config: BloomConfig, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d, v, epsilon = config.width, config.vocab_size, config.layer_norm_epsilon
        init = nnx.initializers.normal(0.02)
        self.word = nnx.Embed(v, d, embedding_init=init, dtype=dtype, rngs=rngs)
        self.word_norm = layer_norm(d, epsilon, rngs, dtype)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        self.ln_f = layer_norm(d, epsilon, rngs, dtype)
        if config.lm_head and not config.tie_embeddings:
            self.lm_head = nnx.Linear(d, v, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        # Slope times distance, up to what is the same for all keys of a query.
        slopes_Hx1x1 = jnp.asarray(alibi_slopes(self.config.num_heads))[:, None, None]
        alibi_BxHx1xS = slopes_Hx1x1 * inputs.key_positions[:, None, None]
        x_BxTxD, pooled, cache = scan_blocks(
            self.blocks,
            self.word_norm(self.word(inputs.tokens)),
            probe,
            inputs.mask(causal=True),
            alibi_BxHx1xS.astype(jnp.float32),
        )
        return Output(self.ln_f(x_BxTxD), pooled, cache)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] next-token logits.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.lm_head:
            raise InputError("this BLOOM checkpoint has no language model head")
        if self.config.tie_embeddings:
            return self.word.attend(hidden_BxTxD)
        return self.lm_head(hidden_BxTxD)


def _read_config(reader: ConfigReader) -> BloomConfig:
    reader.rename(n_embed="hidden_size", num_attention_heads="n_head")
    reader.rename(num_hidden_layers="n_layer")
    width = reader.take("hidden_size", 64)
    num_heads = reader.take("n_head", 8)
    reader.require(
        width % num_heads == 0,
        f"hidden_size={width} is not a multiple of n_head={num_heads}",
    )
    reader.only("n_inner", None, 4 * width)
    reader.only("skip_bias_add", True)  # Megatron's word for a later addition
    reader.only("skip_bias_add_qkv", False)
    # Of the many devices that once shared a product; True would drop its bias.
    reader.only("slow_but_exact", False)
    reader.ignore("pretraining_tp")
    reader.ignore("attention_dropout", "hidden_dropout", "unk_token_id")
    # Positions have no end, and the rest is about kernels of training.
    reader.ignore("seq_length", "offset_alibi", "attention_softmax_in_fp32")
    reader.ignore("bias_dropout_fusion", "masked_softmax_fusion")
    tie = reader.take("tie_word_embeddings", True)
    return BloomConfig(
        vocab_size=reader.take("vocab_size", 250880),
        width=width,
        num_layers=reader.take("n_layer", 2),
        num_heads=num_heads,
        layer_norm_epsilon=reader.take("layer_norm_epsilon", 1e-5),
        residual_after_norm=reader.take(
            "apply_residual_connection_post_layernorm", False
        ),
        tie_embeddings=tie,
        lm_head=tie or "lm_head.weight" in reader.keys,
    )


def _sites(config: BloomConfig) -> tuple[Site, ...]:
    d = config.width
    widths = {
        "self_attention.query_key_value": 3 * d,
        "self_attention.dense:input": d,
        "self_attention.dense": d,
        "mlp.dense_h_to_4h": 4 * d,
        "mlp.dense_4h_to_h:input": 4 * d,
        "mlp.dense_4h_to_h": d,
        ":residual": d,
    }
    return sites_of(_BLOCK, widths)


def _readout(config: BloomConfig) -> Readout:
    after = config.residual_after_norm
    norms = ("blocks.attention_norm", "blocks.mlp_norm") if after else ()
    return Readout(
        branches=(
            Branch("self_attention.dense", "blocks.dense.kernel", norms=norms[1:]),
            Branch(
                "mlp.dense_4h_to_h",
                "blocks.dense_4h_to_h.kernel",
                hidden="mlp.dense_h_to_4h",
            ),
        ),
        unembedding="word.embedding" if config.tie_embeddings else "lm_head.kernel",
        last=("ln_f",),
        stream=norms,
    )


FAMILY = Family(
    name="bloom",
    model_types=("bloom",),
    causal=True,
    read_config=_read_config,
    build=Bloom,
    sites=_sites,
    readout=_readout,
    prefix="transformer.",
    rules=(
        KeyRule("transformer.word_embeddings.weight", "word.embedding"),
        *rules_for(
            "transformer.",
            {
                "word_embeddings_layernorm": ("word_norm", "norm"),
                "ln_f": ("ln_f", "norm"),
            },
        ),
        *rules_for(
            _BLOCK,
            {
                "input_layernorm": ("blocks.attention_norm", "norm"),
                "self_attention.query_key_value": ("blocks.query_key_value", "linear"),
                "self_attention.dense": ("blocks.dense", "linear"),
                "post_attention_layernorm": ("blocks.mlp_norm", "norm"),
                "mlp.dense_h_to_4h": ("blocks.dense_h_to_4h", "linear"),
                "mlp.dense_4h_to_h": ("blocks.dense_4h_to_h", "linear"),
            },
        ),
        KeyRule(
            "lm_head.weight",
            "lm_head.kernel",
            transpose=True,
            optional=True,
            equals="word.embedding",
        ),
    ),
)
