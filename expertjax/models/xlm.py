"""XLM: Lample and Conneau 2019, as `transformers` defines it."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, attend, split_heads
from expertjax.models.configs import ConfigReader
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.family import Family, KeyRule, Output, rules_for
from expertjax.models.layers import activation, layer_norm, scan_blocks, stack_blocks
from expertjax.models.sites import Site
from expertjax.typing import Array


@dataclasses.dataclass(frozen=True)
class XLMConfig:
    """Architecture of one XLM; defaults are those of `xlm-mlm-en-2048`."""

    vocab_size: int = 30145
    max_positions: int = 512
    width: int = 2048  # D; the MLP is four times as wide
    num_layers: int = 12  # L
    num_heads: int = 16  # H
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    causal: bool = False
    tie_embeddings: bool = True
    lm_head: bool = True


class Block(nnx.Module):
    """One post-norm transformer block with its six sites.

    torch has no module for it: the parts of all blocks lie in four lists.
    """

    def __init__(self, config: XLMConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d = config.width

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            init = nnx.initializers.normal(0.02)
            return nnx.Linear(inputs, outputs, kernel_init=init, dtype=dtype, rngs=rngs)

        self.q_lin = linear(d, d)
        self.k_lin = linear(d, d)
        self.v_lin = linear(d, d)
        self.out_lin = linear(d, d)
        self.attention_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.lin1 = linear(d, 4 * d)
        self.lin2 = linear(4 * d, d)
        self.mlp_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)

    def __call__(
        self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array, real_BxTx1: Array
    ) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        config = self.config
        q, k, v = (
            split_heads(tap(f"attentions.{name}", project(x_BxTxD)), config.num_heads)
            for name, project in (
                ("q_lin", self.q_lin),
                ("k_lin", self.k_lin),
                ("v_lin", self.v_lin),
            )
        )
        scale = (config.width // config.num_heads) ** -0.5
        heads = attend(tap, q, k, v, mask, scale=scale)
        heads = tap("attentions.out_lin:input", heads)
        attended = tap("attentions.out_lin", self.out_lin(heads))
        x_BxTxD = self.attention_norm(x_BxTxD + attended)
        hidden = tap("ffns.lin1", self.lin1(x_BxTxD))
        hidden = tap("ffns.lin2:input", activation(config.activation)(hidden))
        hidden = tap("ffns.lin2", self.lin2(hidden))
        x_BxTxD = tap(":residual", self.mlp_norm(x_BxTxD + hidden))
        return jnp.where(real_BxTx1, x_BxTxD, 0)


class XLM(nnx.Module):
    """An encoder or a causal model; see `Family` for the common signature."""

    def __init__(self, config: XLMConfig, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d, v = config.width, config.vocab_size

        def embed(rows: int) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(rows, d, embedding_init=init, dtype=dtype, rngs=rngs)

        self.word = embed(v)
        self.position = embed(config.max_positions)
        self.norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        if config.lm_head:
            self.lm_bias = nnx.Param(jnp.zeros(v))
            if not config.tie_embeddings:
                self.head = nnx.Linear(d, v, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks on text of one language; see `Family`."""
        real_BxTx1 = inputs.key_valid[:, :, None]  # padding stays at zero
        x_BxTxD = self.word(inputs.tokens) + self.position(inputs.positions)
        x_BxTxD, pooled, _ = scan_blocks(
            self.blocks,
            jnp.where(real_BxTx1, self.norm(x_BxTxD), 0),
            probe,
            inputs.mask(causal=self.config.causal),
            real_BxTx1,
        )
        return Output(x_BxTxD, pooled)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the (masked) language model.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.lm_head:
            raise InputError("this XLM checkpoint has no language model head")
        tied = self.config.tie_embeddings
        project = self.word.attend if tied else self.head
        return project(hidden_BxTxD) + self.lm_bias[...]


def _read_config(reader: ConfigReader) -> XLMConfig:
    reader.rename(hidden_size="emb_dim", num_attention_heads="n_heads")
    reader.rename(num_hidden_layers="n_layers", n_words="vocab_size")
    width = reader.take("emb_dim", 2048)
    num_heads = reader.take("n_heads", 16)
    reader.require(
        width % num_heads == 0,
        f"emb_dim={width} is not a multiple of n_heads={num_heads}",
    )
    reader.only("is_encoder", True)
    reader.only("asm", False)
    reader.only("share_inout_emb", True)
    num_languages = reader.take("n_langs", 1)
    reader.require(
        not reader.take("use_lang_emb", True) or num_languages == 1,
        f"n_langs={num_languages} with use_lang_emb=True is not implemented",
    )
    # How the position table was first filled; the checkpoint has it all the same.
    reader.ignore("sinusoidal_embeddings", "embed_init_std", "init_std")
    reader.ignore("dropout", "attention_dropout", "summary_first_dropout")
    reader.ignore("id2lang", "lang2id", "lang_id", "max_vocab", "min_count")
    reader.ignore("bos_index", "eos_index", "pad_index", "unk_index", "mask_index")
    reader.ignore("mask_token_id", "start_n_top", "end_n_top")
    return XLMConfig(
        vocab_size=reader.take("vocab_size", 30145),
        max_positions=reader.take("max_position_embeddings", 512),
        width=width,
        num_layers=reader.take("n_layers", 12),
        num_heads=num_heads,
        activation="gelu" if reader.take("gelu_activation", True) else "relu",
        layer_norm_epsilon=reader.take("layer_norm_eps", 1e-12),
        causal=reader.take("causal", False),
        tie_embeddings=reader.take("tie_word_embeddings", True),
        lm_head="pred_layer.proj.bias" in reader.keys,
    )


def _sites(config: XLMConfig) -> tuple[Site, ...]:
    d = config.width

    def site(part: str, module: str, features: int) -> Site:
        return Site(
            f"{part}.{module}", features, f"transformer.{part}.{{layer}}.{module}"
        )

    return (
        site("attentions", "q_lin", d),
        site("attentions", "k_lin", d),
        site("attentions", "v_lin", d),
        site("attentions", "out_lin:input", d),
        site("attentions", "out_lin", d),
        site("ffns", "lin1", 4 * d),
        site("ffns", "lin2:input", 4 * d),
        site("ffns", "lin2", d),
        # The module that gives it, for want of one for the block.
        Site(":residual", d, "transformer.layer_norm2.{layer}:residual"),
    )


FAMILY = Family(
    name="xlm",
    model_types=("xlm",),
    causal=False,
    read_config=_read_config,
    build=XLM,
    sites=_sites,
    prefix="transformer.",
    rules=(
        KeyRule("transformer.embeddings.weight", "word.embedding"),
        KeyRule("transformer.position_embeddings.weight", "position.embedding"),
        *rules_for(
            "transformer.",
            {
                "layer_norm_emb": ("norm", "norm"),
                "attentions.{layer}.q_lin": ("blocks.q_lin", "linear"),
                "attentions.{layer}.k_lin": ("blocks.k_lin", "linear"),
                "attentions.{layer}.v_lin": ("blocks.v_lin", "linear"),
                "attentions.{layer}.out_lin": ("blocks.out_lin", "linear"),
                "layer_norm1.{layer}": ("blocks.attention_norm", "norm"),
                "ffns.{layer}.lin1": ("blocks.lin1", "linear"),
                "ffns.{layer}.lin2": ("blocks.lin2", "linear"),
                "layer_norm2.{layer}": ("blocks.mlp_norm", "norm"),
            },
        ),
        KeyRule("pred_layer.proj.bias", "lm_bias"),
        KeyRule(
            "pred_layer.proj.weight",
            "head.kernel",
            transpose=True,
            optional=True,
            equals="word.embedding",
        ),
    ),
    ignored=("transformer.position_ids",),  # a constant
    copies_alike=False,  # padding is zero
)
