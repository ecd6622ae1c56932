"""DistilBERT: Sanh et al. 2019; BERT's encoder without token types."""

import dataclasses
from typing import ClassVar

from expertjax.models.configs import ConfigReader
from expertjax.models.encoder import Encoder, EncoderConfig, Names
from expertjax.models.encoder_tables import (
    block_rules,
    embedding_rules,
    encoder_sites,
    read_positions,
    tied_decoder,
)
from expertjax.models.family import Family, KeyRule, rules_for
from expertjax.models.layers import ACTIVATIONS
from expertjax.models.sites import Site

_BLOCK = "distilbert.transformer.layer.{layer}."
_EMBED = "distilbert.embeddings."


@dataclasses.dataclass(frozen=True)
class DistilBertConfig(EncoderConfig):
    """Architecture; defaults are those of `distilbert-base-uncased`."""

    num_types: int = 0
    num_layers: int = 6

    names: ClassVar[Names] = Names(
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_dense="attention.out_lin",
        attention_norm="sa_layer_norm",
        intermediate_dense="ffn.lin1",
        output_dense="ffn.lin2",
        output_norm="output_layer_norm",
    )
    one_head_bias: ClassVar[bool] = True


def _read_config(reader: ConfigReader) -> DistilBertConfig:
    reader.only("tie_weights_", True)  # of old checkpoints
    reader.ignore("dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout")
    # Only how the table of positions is made before training: it is saved.
    reader.ignore("sinusoidal_pos_embds")
    width, num_heads = reader.take("dim", 768), reader.take("n_heads", 12)
    reader.require(
        width % num_heads == 0,
        f"dim={width} is not a multiple of n_heads={num_heads}",
    )
    activation = reader.choose("activation", "gelu", ACTIVATIONS)
    return DistilBertConfig(
        **read_positions(reader, 0),
        vocab_size=reader.take("vocab_size", 30522),
        width=width,
        embed_width=width,
        num_layers=reader.take("n_layers", 6),
        num_heads=num_heads,
        mlp_width=reader.take("hidden_dim", 3072),
        activation=activation,
        head_activation=activation,
        masked_lm_head="vocab_transform.weight" in reader.keys,
        tie_embeddings=reader.take("tie_word_embeddings", True),
    )


def _sites(config: DistilBertConfig) -> tuple[Site, ...]:
    return encoder_sites(_BLOCK, config)


FAMILY = Family(
    name="distilbert",
    model_types=("distilbert",),
    causal=False,
    read_config=_read_config,
    build=Encoder,
    sites=_sites,
    prefix="distilbert.",
    rules=(
        *embedding_rules(_EMBED),
        *block_rules(_BLOCK, DistilBertConfig.names),
        *rules_for(
            "",
            {
                "vocab_transform": ("head.dense", "linear"),
                "vocab_layer_norm": ("head.norm", "norm"),
            },
        ),
        KeyRule("vocab_projector.bias", "head.bias"),
        tied_decoder("vocab_projector.weight"),
    ),
    ignored=(
        _EMBED + "position_ids",  # a constant
    ),
)
