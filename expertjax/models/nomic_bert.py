"""NomicBERT: Nussbaum et al. 2024; BERT with rotary positions and gated MLPs."""

import dataclasses
from typing import Any, ClassVar

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
from expertjax.models.encoder import MaskedLMHead
from expertjax.models.encoder_tables import head_rules
from expertjax.models.family import KeyRule, Output, rules_for
from expertjax.models.layers import scan_blocks, stack_blocks
from expertjax.models.rotary import read_flat_rotary
from expertjax.models.view import View
from expertjax.typing import Array

_NAMES = Names(prefix="nomic_bert.", embed="embeddings.word_embeddings")
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

    one_head_bias: ClassVar[bool] = False  # see `EncoderConfig`

    @property
    def embed_width(self) -> int:
        """E, of what the head attends to."""
        return self.width

    @property
    def layer_norm_epsilon(self) -> float:
        """Of the head's norm, too."""
        return self.norm_epsilon

    @property
    def head_activation(self) -> str:
        """That of the MLPs."""
        return self.activation


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
            self.head = MaskedLMHead(config, rngs, dtype)

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
    reader.ignore("attention_probs_dropout_prob", "hidden_dropout_prob")
    common = read_common(reader, _DEFAULTS, epsilon="layer_norm_eps")
    has_head = "cls.predictions.transform.dense.weight" in reader.keys
    return NomicBertConfig(
        **common | {"lm_head": has_head},
        rotary=read_flat_rotary(reader, common["head_width"], longest=2048, theta=1e3),
        num_types=reader.take("type_vocab_size", 2),
        masked_lm_head=has_head,
        causal=False,
        norms="after",
        norm_kind="layer",
        norm_bias=True,
        names=_NAMES,
    )


_BASE = decoder_family(
    "nomic_bert",
    _read_config,
    causal=False,
    names=_NAMES,
    norms={
        "post_attention_layernorm": "attention_post_norm",
        "post_mlp_layernorm": "mlp_post_norm",
    },
)
_TYPES = "nomic_bert.embeddings.token_type_embeddings.weight"
FAMILY = dataclasses.replace(
    _BASE,
    build=NomicBert,
    rules=(
        *(
            rule
            for rule in _BASE.rules
            if not rule.path.startswith(("norm", "lm_head"))
        ),
        KeyRule(_TYPES, "type.embedding"),
        *rules_for("nomic_bert.", {"embeddings.LayerNorm": ("norm", "norm")}),
        *head_rules("cls.predictions.", "transform.dense", "transform.layer_norm"),
    ),
    ignored=(
        *_BASE.ignored,
        "nomic_bert.pooler.dense.weight",  # of sentence tasks
        "nomic_bert.pooler.dense.bias",
    ),
)
