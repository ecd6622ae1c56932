"""BERT: Devlin et al. 2019, as `transformers` defines it."""

import dataclasses

from expertjax.models.configs import ConfigReader
from expertjax.models.encoder import Encoder, EncoderConfig
from expertjax.models.encoder_tables import (
    block_rules,
    embedding_rules,
    encoder_sites,
    head_rules,
    read_positions,
    read_sizes,
)
from expertjax.models.family import Family
from expertjax.models.sites import Site

_BLOCK = "bert.encoder.layer.{layer}."
_EMBED = "bert.embeddings."


@dataclasses.dataclass(frozen=True)
class BertConfig(EncoderConfig):
    """Architecture of one BERT; defaults are those of `bert-base-uncased`."""


def _read_config(reader: ConfigReader) -> BertConfig:
    sizes = read_sizes(reader, BertConfig())
    return BertConfig(
        **sizes,
        **read_positions(reader, 0),
        num_types=reader.take("type_vocab_size", 2),
        masked_lm_head="cls.predictions.transform.dense.weight" in reader.keys,
        head_activation=sizes["activation"],
    )


def _sites(config: BertConfig) -> tuple[Site, ...]:
    return encoder_sites(_BLOCK, config)


FAMILY = Family(
    name="bert",
    model_types=("bert",),
    causal=False,
    read_config=_read_config,
    build=Encoder,
    sites=_sites,
    prefix="bert.",
    rules=(
        *embedding_rules(_EMBED, "token_type"),
        *block_rules(_BLOCK, BertConfig.names),
        *head_rules("cls.predictions.", "transform.dense", "transform.LayerNorm"),
    ),
    renamed=(
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
    ),
    ignored=(
        _EMBED + "position_ids",  # a constant
        "bert.pooler.dense.weight",  # the pooler is of the sentence-pair task
        "bert.pooler.dense.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ),
)
