"""MPNet: Song et al. 2020; BERT's encoder with biases for relative positions."""

import dataclasses
from typing import ClassVar

from expertjax.models.configs import ConfigReader
from expertjax.models.encoder import Encoder, EncoderConfig, Names
from expertjax.models.encoder_tables import (
    block_rules,
    embedding_rules,
    encoder_sites,
    head_rules,
    read_positions,
    read_sizes,
)
from expertjax.models.family import Family, KeyRule
from expertjax.models.sites import Site

_BLOCK = "mpnet.encoder.layer.{layer}."
_EMBED = "mpnet.embeddings."


@dataclasses.dataclass(frozen=True)
class MPNetConfig(EncoderConfig):
    """Architecture; defaults are those of `transformers`."""

    vocab_size: int = 30527
    max_positions: int = 510
    first_position: int = 2
    num_types: int = 0
    num_buckets: int = 32

    names: ClassVar[Names] = Names(
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attention_dense="attention.attn.o",
        attention_norm="attention.LayerNorm",
    )


def _read_config(reader: ConfigReader) -> MPNetConfig:
    # transformers sorts into 32 buckets, whatever the size of the table.
    reader.only("relative_attention_num_buckets", 32)
    return MPNetConfig(
        **read_sizes(reader, MPNetConfig()),
        # Not by the number of the padding token: that is 1 here in any case.
        **read_positions(reader, 2),
        masked_lm_head="lm_head.dense.weight" in reader.keys,
    )


def _sites(config: MPNetConfig) -> tuple[Site, ...]:
    return encoder_sites(_BLOCK, config)


FAMILY = Family(
    name="mpnet",
    model_types=("mpnet",),
    causal=False,
    read_config=_read_config,
    build=Encoder,
    sites=_sites,
    prefix="mpnet.",
    rules=(
        *embedding_rules(_EMBED),
        KeyRule("mpnet.encoder.relative_attention_bias.weight", "distance.embedding"),
        *block_rules(_BLOCK, MPNetConfig.names),
        *head_rules("lm_head.", "dense", "layer_norm"),
    ),
    ignored=(
        _EMBED + "position_ids",  # a constant
        "mpnet.pooler.dense.weight",  # of sentence tasks
        "mpnet.pooler.dense.bias",
    ),
)
