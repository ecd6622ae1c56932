"""XLNet: Yang et al. 2019, as `transformers` defines it.

Text is read in both directions at once, without permutation, memory or segments.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, attend
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

_BLOCK = "transformer.layer.{layer}."


@dataclasses.dataclass(frozen=True)
class XLNetConfig:
    """Architecture of one XLNet; defaults are those of `xlnet-large-cased`."""

    vocab_size: int = 32000
    width: int = 1024  # D
    num_layers: int = 24  # L
    num_heads: int = 16  # H
    mlp_width: int = 4096
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    tie_embeddings: bool = True
    lm_head: bool = True


class Block(nnx.Module):
    """One post-norm transformer block with its two sites.

    Attention is not among them: its projections are bare parameters in torch,
    not linear layers.
    """

    def __init__(self, config: XLNetConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f, h = config.width, config.mlp_width, config.num_heads
        init = nnx.initializers.normal(0.02)

        def projection() -> nnx.Param:
            return nnx.Param(init(rngs.params(), (d, h, d // h)))

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, kernel_init=init, dtype=dtype, rngs=rngs)

        self.q, self.k, self.v = projection(), projection(), projection()
        self.r, self.o = projection(), projection()
        self.r_w_bias = nnx.Param(jnp.zeros((h, d // h)))
        self.r_r_bias = nnx.Param(jnp.zeros((h, d // h)))
        self.attention_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)
        self.layer_1 = linear(d, f)
        self.layer_2 = linear(f, d)
        self.mlp_norm = layer_norm(d, config.layer_norm_epsilon, rngs, dtype)

    def __call__(
        self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array, distances: Array
    ) -> Array:
        """Returns the residual stream after attention and MLP."""
        del layer  # all blocks compute the same
        attended = self._attend(x_BxTxD, tap, mask, distances)
        x_BxTxD = self.attention_norm(x_BxTxD + attended)
        hidden = tap("ff.layer_1", self.layer_1(x_BxTxD))
        hidden = activation(self.config.activation)(hidden)
        hidden = tap("ff.layer_2:input", hidden)
        hidden = tap("ff.layer_2", self.layer_2(hidden))
        return tap(":residual", self.mlp_norm(x_BxTxD + hidden))

    def _attend(
        self, x_BxTxD: Array, tap: Tap, mask: Array, distances_2TxD: Array
    ) -> Array:
        """Attention by content and by distance (Dai et al. 2019, section 3.3)."""
        q, k, v = (
            jnp.einsum("btd,dhk->bthk", x_BxTxD, weight[...])
            for weight in (self.q, self.k, self.v)
        )
        scale = (self.config.width // self.config.num_heads) ** -0.5
        r_2TxHxK = jnp.einsum("sd,dhk->shk", distances_2TxD, self.r[...])
        by_distance = jnp.einsum("bthk,shk->bhts", q + self.r_r_bias[...], r_2TxHxK)
        bias_BxHxTxT = _by_key(by_distance) * scale
        q = q + self.r_w_bias[...]
        heads = attend(tap, q, k, v, mask, scale=scale, bias=bias_BxHxTxT)
        output_DxHK = self.o[...].reshape(self.config.width, -1)
        return heads @ output_DxHK.T


def _by_key(scores_BxHxTx2T: Array) -> Array:
    """[B, H, T, T]: each query's scores for distances T ... 1 - T, for its keys.

    Query t wants those of key s, at distance t - s, which is column T - t + s:
    from each row to the next, one further to the left. That is where they stand
    if the rows are written one after the other, without the first T numbers, and
    cut again into rows shorter by one.
    """
    b, h, t, _ = scores_BxHxTx2T.shape
    flat = scores_BxHxTx2T.reshape(b, h, 2 * t * t)[..., t:]
    return flat.reshape(b, h, t, 2 * t - 1)[..., :t]


def _sinusoids(length: int, width: int) -> np.ndarray:
    """[2 T, D]: sines, then cosines, of the distances T ... 1 - T."""
    rates = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(length, -length, -1)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


class XLNet(nnx.Module):
    """A bidirectional encoder; see `Family` for the common signature."""

    def __init__(self, config: XLNetConfig, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d, v = config.width, config.vocab_size
        init = nnx.initializers.normal(0.02)
        self.word = nnx.Embed(v, d, embedding_init=init, dtype=dtype, rngs=rngs)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        if config.lm_head:
            self.lm_bias = nnx.Param(jnp.zeros(v))
            if not config.tie_embeddings:
                self.head = nnx.Linear(d, v, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        length = inputs.tokens.shape[1]
        x_BxTxD = self.word(inputs.tokens)
        distances_2TxD = jnp.asarray(
            _sinusoids(length, self.config.width), x_BxTxD.dtype
        )
        # Padding sees itself, too.
        mask = inputs.mask(causal=False) | jnp.eye(length, dtype=bool)
        x_BxTxD, pooled, _ = scan_blocks(
            self.blocks, x_BxTxD, probe, mask, distances_2TxD
        )
        return Output(x_BxTxD, pooled)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the language model.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.lm_head:
            raise InputError("this XLNet checkpoint has no language model head")
        tied = self.config.tie_embeddings
        project = self.word.attend if tied else self.head
        return project(hidden_BxTxD) + self.lm_bias[...]


def _read_config(reader: ConfigReader) -> XLNetConfig:
    reader.rename(hidden_size="d_model", num_attention_heads="n_head")
    reader.rename(num_hidden_layers="n_layer", n_token="vocab_size")
    width = reader.take("d_model", 1024)
    num_heads = reader.take("n_head", 16)
    reader.require(
        width % num_heads == 0,
        f"d_model={width} is not a multiple of n_head={num_heads}",
    )
    reader.require(width % 2 == 0, f"d_model={width} is odd")
    reader.only("d_head", width // num_heads, None)
    reader.only("attn_type", "bi")
    reader.only("bi_data", False)
    reader.only("clamp_len", -1)
    reader.only("untie_r", True)
    # Of memory, which a text that is read at once does not have.
    reader.ignore("mem_len", "reuse_len", "use_mems_eval", "use_mems_train")
    reader.ignore("same_length")  # of the other attn_type
    reader.ignore("dropout", "summary_last_dropout", "start_n_top", "end_n_top")
    return XLNetConfig(
        vocab_size=reader.take("vocab_size", 32000),
        width=width,
        num_layers=reader.take("n_layer", 24),
        num_heads=num_heads,
        mlp_width=reader.take("d_inner", 4096),
        activation=reader.choose("ff_activation", "gelu", ACTIVATIONS),
        layer_norm_epsilon=reader.take("layer_norm_eps", 1e-12),
        tie_embeddings=reader.take("tie_word_embeddings", True),
        lm_head="lm_loss.bias" in reader.keys,
    )


def _sites(config: XLNetConfig) -> tuple[Site, ...]:
    d, f = config.width, config.mlp_width
    widths = {"ff.layer_1": f, "ff.layer_2:input": f, "ff.layer_2": d, ":residual": d}
    return sites_of(_BLOCK, widths)


_BARE = ("q", "k", "v", "o", "r", "r_w_bias", "r_r_bias")
FAMILY = Family(
    name="xlnet",
    model_types=("xlnet",),
    causal=False,
    read_config=_read_config,
    build=XLNet,
    sites=_sites,
    prefix="transformer.",
    rules=(
        KeyRule("transformer.word_embedding.weight", "word.embedding"),
        *(KeyRule(f"{_BLOCK}rel_attn.{name}", f"blocks.{name}") for name in _BARE),
        *rules_for(
            _BLOCK,
            {
                "rel_attn.layer_norm": ("blocks.attention_norm", "norm"),
                "ff.layer_1": ("blocks.layer_1", "linear"),
                "ff.layer_2": ("blocks.layer_2", "linear"),
                "ff.layer_norm": ("blocks.mlp_norm", "norm"),
            },
        ),
        KeyRule("lm_loss.bias", "lm_bias"),
        KeyRule(
            "lm_loss.weight",
            "head.kernel",
            transpose=True,
            optional=True,
            equals="word.embedding",
        ),
    ),
    ignored=(
        "transformer.mask_emb",  # what permuted language modelling starts from
        _BLOCK + "rel_attn.seg_embed",  # segments
        _BLOCK + "rel_attn.r_s_bias",
    ),
    copies_alike=False,  # distances are those of indices
)
