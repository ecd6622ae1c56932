"""RoBERTa: Liu et al. 2019; XLM-RoBERTa: Conneau et al. 2020; BERT's encoder."""

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

_BLOCK = "roberta.encoder.layer.{layer}."
_EMBED = "roberta.embeddings."


@dataclasses.dataclass(frozen=True)
class RobertaConfig(EncoderConfig):
    """Architecture of one RoBERTa; defaults are those of `transformers`."""

    vocab_size: int = 50265
    max_positions: int = 510
    first_position: int = 2


def _read_config(reader: ConfigReader) -> RobertaConfig:
    defaults = RobertaConfig()
    if reader.model_type == "xlm-roberta":
        defaults = RobertaConfig(vocab_size=30522)
    # Padding has the position of its own token number, sentences start behind it.
    first = reader.token_id("pad_token_id", 1) + 1
    return RobertaConfig(
        **read_sizes(reader, defaults),
        **read_positions(reader, first),
        num_types=reader.take("type_vocab_size", 2),
        masked_lm_head="lm_head.dense.weight" in reader.keys,
    )


def _sites(config: RobertaConfig) -> tuple[Site, ...]:
    return encoder_sites(_BLOCK, config)


FAMILY = Family(
    name="roberta",
    model_types=("roberta", "xlm-roberta"),
    causal=False,
    read_config=_read_config,
    build=Encoder,
    sites=_sites,
    prefix="roberta.",
    rules=(
        *embedding_rules(_EMBED, "token_type"),
        *block_rules(_BLOCK, RobertaConfig.names),
        *head_rules("lm_head.", "dense", "layer_norm"),
    ),
    ignored=(
        _EMBED + "position_ids",  # a constant
        "roberta.pooler.dense.weight",  # of sentence tasks
        "roberta.pooler.dense.bias",
    ),
)
