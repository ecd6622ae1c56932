"""ALBERT: Lan et al. 2020; BERT's encoder, whose layers share their weights."""

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
from expertjax.models.family import Family, rules_for
from expertjax.models.sites import Site

_GROUP = "albert.encoder.albert_layer_groups."
_EMBED = "albert.embeddings."


@dataclasses.dataclass(frozen=True)
class AlbertConfig(EncoderConfig):
    """Architecture; defaults are those of `albert/albert-xxlarge-v2`."""

    vocab_size: int = 30000
    embed_width: int = 128
    project_embeddings: bool = True
    width: int = 4096
    num_groups: int = 1
    num_heads: int = 64
    mlp_width: int = 16384
    activation: str = "gelu_new"
    head_activation: str = "gelu_new"

    names: ClassVar[Names] = Names(
        query="attention.query",
        key="attention.key",
        value="attention.value",
        attention_dense="attention.dense",
        attention_norm="attention.LayerNorm",
        intermediate_dense="ffn",
        output_dense="ffn_output",
        output_norm="full_layer_layer_norm",
    )


def _read_config(reader: ConfigReader) -> AlbertConfig:
    # Several blocks in a group: no published checkpoint has that.
    reader.only("inner_group_num", 1)
    # What the first version's configs carry along; transformers reads none.
    reader.only("down_scale_factor", 1)
    for name in ("gap_size", "net_structure_type", "num_memory_blocks"):
        reader.only(name, 0)
    reader.ignore("classifier_dropout_prob")
    sizes = read_sizes(reader, AlbertConfig())
    sizes["embed_width"] = reader.take("embedding_size", 128)
    num_groups = reader.take("num_hidden_groups", 1)
    reader.require(
        num_groups <= sizes["num_layers"],
        f"num_hidden_groups={num_groups} is more than there are layers",
    )
    return AlbertConfig(
        **sizes,
        **read_positions(reader, 0),
        num_types=reader.take("type_vocab_size", 2),
        num_groups=num_groups,
        masked_lm_head="predictions.dense.weight" in reader.keys,
        head_activation=sizes["activation"],
    )


def _sites(config: AlbertConfig) -> tuple[Site, ...]:
    return encoder_sites(_GROUP + "{group}@{layer}.albert_layers.0.", config)


FAMILY = Family(
    name="albert",
    model_types=("albert",),
    causal=False,
    read_config=_read_config,
    build=Encoder,
    sites=_sites,
    prefix="albert.",
    rules=(
        *embedding_rules(_EMBED, "token_type"),
        *rules_for(
            "albert.encoder.", {"embedding_hidden_mapping_in": ("project", "linear")}
        ),
        # The parameters are stacked over groups, not over layers.
        *block_rules(_GROUP + "{layer}.albert_layers.0.", AlbertConfig.names),
        *head_rules("predictions."),
    ),
    ignored=(
        _EMBED + "position_ids",  # a constant
        "albert.pooler.weight",  # of the sentence order task
        "albert.pooler.bias",
    ),
)
