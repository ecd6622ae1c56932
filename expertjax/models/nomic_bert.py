"""NomicBERT: Nussbaum et al. 2024; BERT with rotary positions and gated MLPs."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.configs import ConfigReader
from expertjax.models.decoder import Block
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.decoder_names import Names
from expertjax.models.edits import PLAIN, Probe
from expertjax.models.encoder import EncoderConfig, MaskedLMHead
from expertjax.models.encoder_tables import head_rules
from expertjax.models.family import KeyRule, Output, rules_for
from expertjax.models.layers import scan_blocks, stack_blocks
from expertjax.models.rotary import read_flat_rotary
from expertjax.models.view import View
from expertjax.typing import Array

_PREFIX = "nomic_bert."
_NAMES = Names(prefix=_PREFIX)
# Its tensors have the names that its authors gave them, also where transformers saves.
_KEYS = Names(
    prefix=_PREFIX,
    block="encoder.layers.{layer}.",
    embed="embeddings.word_embeddings",
    qkv="attn.Wqkv",
    out="attn.out_proj",
    gate="mlp.fc12",
    up="mlp.fc11",
    down="mlp.fc2",
)
_DEFAULTS = {
    "vocab_size": 30528,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "layer_norm_eps": 1e-12,
    "tie_word_embeddings": True,
}


@dataclasses.dataclass(frozen=True)
class NomicBertConfig(DecoderConfig):
    """Architecture of one NomicBERT."""

    num_types: int = 2
    masked_lm_head: bool = True

    @property
    def head(self) -> EncoderConfig:
        """Of BERT's head."""
        return EncoderConfig(
            vocab_size=self.vocab_size,
            width=self.width,
            embed_width=self.width,
            layer_norm_epsilon=self.norm_epsilon,
            head_activation=self.activation,
            tie_embeddings=self.tie_embeddings,
        )


class NomicBert(nnx.Module):
    """A bidirectional encoder; see `Family` for the common signature."""

    def __init__(
        self, config: NomicBertConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config
        d, init = config.width, nnx.initializers.normal(0.02)

        def embed(rows: int) -> nnx.Embed:
            return nnx.Embed(rows, d, embedding_init=init, dtype=dtype, rngs=rngs)

        self.embed, self.type = embed(config.vocab_size), embed(config.num_types)
        self.norm = config.norm(d)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        if config.masked_lm_head:
            self.head = MaskedLMHead(config.head, rngs, dtype)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks on single-segment input; see `Family`."""
        types = jnp.zeros_like(inputs.tokens)
        x_BxTxD = self.norm(self.embed(inputs.tokens) + self.type(types))
        rotary = self.config.rotary.at(inputs.positions)
        view = View(inputs.mask(causal=False), rotary)
        x_BxTxD, pooled, _ = scan_blocks(self.blocks, x_BxTxD, probe, view, None)
        return Output(x_BxTxD, pooled)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the masked language model.

        Raises:
          InputError: the checkpoint was saved without that head.
        """
        if not self.config.masked_lm_head:
            raise InputError("this checkpoint has no masked language model head")
        return self.head(hidden_BxTxD, self.embed)


def _read_config(reader: ConfigReader) -> NomicBertConfig:
    _read_authors_own(reader)
    reader.ignore("attention_probs_dropout_prob", "hidden_dropout_prob")
    common = read_common(reader, _DEFAULTS, epsilon="layer_norm_eps")
    has_head = "cls.predictions.transform.dense.weight" in reader.keys
    return NomicBertConfig(
        **common | {"lm_head": has_head},
        rotary=read_flat_rotary(reader, common["head_width"], longest=2048, theta=1e3),
        num_types=reader.take("type_vocab_size", 2),
        masked_lm_head=has_head,
        causal=False,
        qkv="kept together",
        norms="after",
        norm_kind="layer",
        norm_bias=True,
        names=_NAMES,
    )


def _read_authors_own(reader: ConfigReader) -> None:
    """What configs say that are not transformers', in GPT-2's words."""
    reader.rename(
        n_embd="hidden_size",
        n_layer="num_hidden_layers",
        n_head="num_attention_heads",
        n_inner="intermediate_size",
        n_positions="max_position_embeddings",
        layer_norm_epsilon="layer_norm_eps",
        rotary_emb_base="rope_theta",
    )
    reader.only("activation_function", "swiglu")
    reader.only("rotary_emb_fraction", 1.0)
    reader.only("scale_attn_weights", True)
    for name in ("rotary_emb_scale_base", "rotary_scaling_factor"):
        reader.only(name, None)
    for name in (
        *("causal", "prenorm", "parallel_block", "parallel_block_tied_norm"),
        *("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "use_rms_norm"),
        *("rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx"),
    ):
        reader.only(name, False)
    # How it is computed, trained, padded.
    reader.ignore("attn_pdrop", "embd_pdrop", "resid_pdrop", "dense_seq_output")
    reader.ignore("fused_bias_fc", "fused_dropout_add_ln", "use_flash_attn")
    reader.ignore("use_xentropy", "pad_vocab_size_multiple", "max_trained_positions")
    reader.ignore("reorder_and_upcast_attn")


_BASE = decoder_family(
    "nomic_bert",
    _read_config,
    causal=False,
    names=_KEYS,
    norms={"norm1": "attention_post_norm", "norm2": "mlp_post_norm"},
)
FAMILY = dataclasses.replace(
    _BASE,
    build=NomicBert,
    task_prefix="bert.",  # of the authors' own classes
    rules=(
        *(r for r in _BASE.rules if not r.path.startswith(("norm", "lm_head"))),
        KeyRule(f"{_PREFIX}embeddings.token_type_embeddings.weight", "type.embedding"),
        *rules_for(_PREFIX, {"emb_ln": ("norm", "norm")}),
        *head_rules("cls.predictions.", "transform.dense", "transform.layer_norm"),
    ),
    ignored=(
        *_BASE.ignored,
        f"{_PREFIX}pooler.dense.weight",  # of sentence tasks
        f"{_PREFIX}pooler.dense.bias",
    ),
)
