"""GPT, the first: Radford et al. 2018, as `transformers` defines it."""

from typing import Any

from flax import nnx

from expertjax.errors import InputError
from expertjax.models import gpt2
from expertjax.models.attention import Inputs
from expertjax.models.configs import ConfigReader
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.family import Family, KeyRule, Output
from expertjax.models.gpt2 import GPT2Config
from expertjax.models.layers import scan_blocks, stack_blocks
from expertjax.models.readout import Branch, Readout
from expertjax.typing import Array

# What `afn` calls "gelu" is the approximate one.
_ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "silu"}


class Block(gpt2.Block):
    """GPT-2's block, but with each LayerNorm after the addition."""

    def __call__(self, x_BxTxD: Array, tap: Tap, layer: Array, mask: Array) -> Array:
        """Returns the residual stream after attention and MLP."""
        x_BxTxD = self.ln_1(x_BxTxD + self.attention(x_BxTxD, tap, layer, mask))
        x_BxTxD = self.ln_2(x_BxTxD + self.mlp(x_BxTxD, tap))
        return tap(":residual", x_BxTxD)


class OpenAIGPT(nnx.Module):
    """A causal language model; see `Family` for the common signature."""

    def __init__(self, config: GPT2Config, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.config = config
        d, v = config.width, config.vocab_size

        def embed(rows: int) -> nnx.Embed:
            init = nnx.initializers.normal(0.02)
            return nnx.Embed(rows, d, embedding_init=init, dtype=dtype, rngs=rngs)

        self.tokens_embed = embed(v)
        self.positions_embed = embed(config.max_positions)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        if config.lm_head and not config.tie_embeddings:
            self.lm_head = nnx.Linear(d, v, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        x_BxTxD = self.tokens_embed(inputs.tokens)
        x_BxTxD = x_BxTxD + self.positions_embed(inputs.positions)
        x_BxTxD, pooled, cache = scan_blocks(
            self.blocks, x_BxTxD, probe, inputs.mask(causal=True)
        )
        return Output(x_BxTxD, pooled, cache)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] next-token logits.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.lm_head:
            raise InputError("this GPT checkpoint has no language model head")
        if self.config.tie_embeddings:
            return self.tokens_embed.attend(hidden_BxTxD)
        return self.lm_head(hidden_BxTxD)


def _read_config(reader: ConfigReader) -> GPT2Config:
    reader.rename(hidden_size="n_embd", num_attention_heads="n_head")
    reader.rename(num_hidden_layers="n_layer", max_position_embeddings="n_positions")
    width = reader.take("n_embd", 768)
    num_heads = reader.take("n_head", 12)
    reader.require(
        width % num_heads == 0,
        f"n_embd={width} is not a multiple of n_head={num_heads}",
    )
    reader.only("n_special", 0)
    reader.ignore("n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop")
    tie = reader.take("tie_word_embeddings", True)
    name = reader.choose("afn", "gelu", _ACTIVATIONS)
    return GPT2Config(
        vocab_size=reader.take("vocab_size", 40478),
        max_positions=reader.take("n_positions", 512),
        width=width,
        num_layers=reader.take("n_layer", 12),
        num_heads=num_heads,
        mlp_width=4 * width,
        activation=_ACTIVATIONS.get(name, name),
        layer_norm_epsilon=reader.take("layer_norm_epsilon", 1e-5),
        tie_embeddings=tie,
        lm_head=tie or "lm_head.weight" in reader.keys,
    )


def _readout(config: GPT2Config) -> Readout:
    stream = ("blocks.ln_1", "blocks.ln_2")
    mlp = Branch(
        "mlp.c_proj", "blocks.mlp_c_proj.kernel", hidden="mlp.c_fc", norms=stream[1:]
    )
    tied = config.tie_embeddings
    return Readout(
        branches=(Branch("attn.c_proj", "blocks.c_proj.kernel", norms=stream), mlp),
        unembedding="tokens_embed.embedding" if tied else "lm_head.kernel",
        stream=stream,
    )


FAMILY = Family(
    name="openai_gpt",
    model_types=("openai-gpt",),
    causal=True,
    read_config=_read_config,
    build=OpenAIGPT,
    sites=gpt2.sites,
    readout=_readout,
    prefix="transformer.",
    rules=(
        KeyRule("transformer.tokens_embed.weight", "tokens_embed.embedding"),
        KeyRule("transformer.positions_embed.weight", "positions_embed.embedding"),
        *gpt2.BLOCK_RULES,
        KeyRule(
            "lm_head.weight",
            "lm_head.kernel",
            transpose=True,
            optional=True,
            equals="tokens_embed.embedding",
        ),
    ),
    ignored=(*gpt2.BLOCK_CONSTANTS, "transformer.position_ids"),
)
