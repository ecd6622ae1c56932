"""ELECTRA: Clark et al. 2020, generator and discriminator; BERT's encoder."""

import dataclasses
from typing import ClassVar

from expertjax.models.configs import ConfigReader
from expertjax.models.encoder import Encoder, EncoderConfig
from expertjax.models.encoder_tables import (
    block_rules,
    embedding_rules,
    encoder_sites,
    read_positions,
    read_sizes,
    tied_decoder,
)
from expertjax.models.family import Family, KeyRule, rules_for
from expertjax.models.sites import Site

_BLOCK = "electra.encoder.layer.{layer}."
_EMBED = "electra.embeddings."


@dataclasses.dataclass(frozen=True)
class ElectraConfig(EncoderConfig):
    """Architecture; defaults are those of `google/electra-small-discriminator`."""

    embed_width: int = 128
    project_embeddings: bool = True
    width: int = 256
    num_heads: int = 4
    mlp_width: int = 1024

    one_head_bias: ClassVar[bool] = True


def _read_config(reader: ConfigReader) -> ElectraConfig:
    # How the heads of sentence tasks summarise.
    reader.ignore("summary_last_dropout")
    sizes = read_sizes(reader, ElectraConfig())
    sizes["embed_width"] = reader.take("embedding_size", 128)
    return ElectraConfig(
        **sizes,
        **read_positions(reader, 0),
        project_embeddings=sizes["embed_width"] != sizes["width"],
        num_types=reader.take("type_vocab_size", 2),
        # A discriminator's head says of each token whether it was replaced.
        masked_lm_head="generator_predictions.dense.weight" in reader.keys,
    )


def _sites(config: ElectraConfig) -> tuple[Site, ...]:
    return encoder_sites(_BLOCK, config)


FAMILY = Family(
    name="electra",
    model_types=("electra",),
    causal=False,
    read_config=_read_config,
    build=Encoder,
    sites=_sites,
    prefix="electra.",
    rules=(
        *embedding_rules(_EMBED, "token_type"),
        *rules_for("electra.", {"embeddings_project": ("project", "linear")}),
        *block_rules(_BLOCK, ElectraConfig.names),
        *rules_for(
            "generator_predictions.",
            {"dense": ("head.dense", "linear"), "LayerNorm": ("head.norm", "norm")},
        ),
        KeyRule("generator_lm_head.bias", "head.bias"),
        tied_decoder("generator_lm_head.weight"),
    ),
    ignored=(
        _EMBED + "position_ids",  # a constant
    ),
)
