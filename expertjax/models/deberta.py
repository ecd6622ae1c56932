"""DeBERTa: He et al. 2020; versions 2 and 3 (He et al. 2021) as `deberta-v2`."""

import dataclasses
from typing import Any, ClassVar

from expertjax.models.configs import ConfigReader
from expertjax.models.disentangled import Disentangled, DisentangledConfig
from expertjax.models.encoder import Names
from expertjax.models.encoder_tables import (
    block_rules,
    embedding_rules,
    encoder_sites,
    head_rules,
    read_sizes,
)
from expertjax.models.family import Family, KeyRule, rules_for
from expertjax.models.layers import ACTIVATIONS
from expertjax.models.sites import Site, sites_of

_ENCODER = "deberta.encoder."
_BLOCK = _ENCODER + "layer.{layer}."
_EMBED = "deberta.embeddings."
# What `transformers` has by default, and what checkpoints of version 3 hold.
_HEAD, _LATER_HEAD = "cls.predictions.", "lm_predictions.lm_head."
_TERMS = ("c2p", "p2c")


@dataclasses.dataclass(frozen=True)
class DebertaConfig(DisentangledConfig):
    """Architecture of one DeBERTa of the first version."""

    fused: bool = True

    names: ClassVar[Names] = Names(query="attention.self.in_proj")


@dataclasses.dataclass(frozen=True)
class DebertaV2Config(DisentangledConfig):
    """Architecture of one DeBERTa of version 2 or 3."""

    vocab_size: int = 128100
    width: int = 1536
    embed_width: int = 1536
    num_layers: int = 24
    num_heads: int = 24
    mlp_width: int = 6144

    names: ClassVar[Names] = Names(
        query="attention.self.query_proj",
        key="attention.self.key_proj",
        value="attention.self.value_proj",
    )


def _read_config(reader: ConfigReader) -> DebertaConfig:
    reader.only("talking_head", False)
    defaults = DebertaConfig()
    shared = _read_shared(reader, defaults)
    return DebertaConfig(**shared, **_read_span(reader, shared["max_positions"], 0))


def _read_config_v2(reader: ConfigReader) -> DebertaV2Config:
    shared = _read_shared(reader, DebertaV2Config())
    width, num_heads = shared["width"], shared["num_heads"]
    reader.only("attention_head_size", width // num_heads)
    buckets = _count(reader, "position_buckets")
    reader.require(buckets != 1, "position_buckets=1 is below 2")
    spread = reader.take("norm_rel_ebd", "none").lower()
    reader.require(
        spread in ("none", "layer_norm"),
        f"norm_rel_ebd={spread!r} is not implemented, only 'none' or 'layer_norm'",
    )
    conv_width = _count(reader, "conv_kernel_size")
    reader.require(
        conv_width == 0 or conv_width % 2 == 1,
        f"conv_kernel_size={conv_width} is not odd",
    )
    groups = reader.take("conv_groups", 1)
    reader.require(
        width % groups == 0,
        f"hidden_size={width} is not a multiple of conv_groups={groups}",
    )
    return DebertaV2Config(
        **shared,
        **_read_span(reader, shared["max_positions"], buckets),
        share_projections=reader.take("share_att_key", False),
        norm_distances=spread == "layer_norm",
        conv_width=conv_width,
        conv_groups=groups,
        conv_activation=reader.choose("conv_act", "tanh", ACTIVATIONS),
    )


def _read_shared(reader: ConfigReader, defaults: DisentangledConfig) -> dict[str, Any]:
    """What both say in the same way."""
    # Classifiers; which of two heads transformers makes.
    reader.ignore("pooler_dropout", "pooler_hidden_act", "pooler_hidden_size", "legacy")
    sizes = read_sizes(reader, defaults)
    embed_width = reader.take("embedding_size", sizes["width"])
    terms = reader.take("pos_att_type", None, object)
    if isinstance(terms, str):
        terms = [term.strip() for term in terms.lower().split("|")]
    terms = [] if terms is None else terms
    known = isinstance(terms, list) and set(terms) <= set(_TERMS)
    reader.require(
        known and len(set(terms)) == len(terms),
        f"pos_att_type={terms!r} is not implemented, only 'c2p' and 'p2c'",
    )
    has_head = f"{_HEAD}transform.dense.weight" in reader.keys
    later_head = f"{_LATER_HEAD}dense.weight" in reader.keys and not has_head
    return sizes | {
        "embed_width": embed_width,
        "project_embeddings": embed_width != sizes["width"],
        "max_positions": reader.take("max_position_embeddings", 512),
        "num_types": _count(reader, "type_vocab_size"),
        "position_biased_input": reader.take("position_biased_input", True),
        "terms": tuple(sorted(terms)) if known else (),
        "masked_lm_head": has_head or later_head,
        "later_head": later_head,
        "head_activation": sizes["activation"],
    }


def _read_span(reader: ConfigReader, positions: int, buckets: int) -> dict[str, Any]:
    """Which distances have embeddings; without buckets, all up to the longest."""
    longest = _count(reader, "max_relative_positions") or positions
    if not reader.take("relative_attention", False):
        return {}
    return {"span": buckets or longest, "longest": longest if buckets else None}


def _count(reader: ConfigReader, name: str) -> int:
    """A size that may also be 0 or -1, for none."""
    return max(int(reader.take(name, 0.0, float)), 0)


def _sites(config: DebertaConfig) -> tuple[Site, ...]:
    names = config.names
    apart = [s for s in encoder_sites(_BLOCK, config) if s.name != names.query]
    widths = {site.name: site.features for site in apart[2:]}
    return sites_of(_BLOCK, {names.query: 3 * config.width} | widths)


def _sites_v2(config: DebertaV2Config) -> tuple[Site, ...]:
    return encoder_sites(_BLOCK, config)


_SHARED_RULES = (
    *embedding_rules(_EMBED, "token_type"),
    KeyRule(_EMBED + "embed_proj.weight", "project.kernel", transpose=True),
    KeyRule(_ENCODER + "rel_embeddings.weight", "distance.embedding"),
    *head_rules(_HEAD, "transform.dense", "transform.LayerNorm"),
    KeyRule(_LATER_HEAD + "bias", "later_head.bias", optional=True),
    *(
        dataclasses.replace(rule, optional=True)
        for rule in rules_for(
            _LATER_HEAD,
            {
                "dense": ("later_head.dense", "linear"),
                "LayerNorm": ("later_head.norm", "norm"),
            },
        )
    ),
)
_ATTENTION = _BLOCK + "attention.self."
_SHARED: dict[str, Any] = {
    "causal": False,
    "build": Disentangled,
    "prefix": "deberta.",
    "ignored": (
        _EMBED + "position_ids",  # a constant
        # What classifiers pool by, and the loss of version 3 beside its own.
        "pooler.dense.weight",
        "pooler.dense.bias",
        *(
            f"mask_predictions.{module}.{tensor}"
            for module in ("dense", "LayerNorm", "classifier")
            for tensor in ("weight", "bias")
        ),
    ),
    "copies_alike": False,  # padding is set to zero
}
FAMILY = Family(
    name="deberta",
    model_types=("deberta",),
    read_config=_read_config,
    sites=_sites,
    rules=(
        *_SHARED_RULES,
        *(
            rule
            for rule in block_rules(_BLOCK, DebertaConfig.names)
            if not rule.path.startswith(("blocks.query", "blocks.key", "blocks.value"))
        ),
        KeyRule(_ATTENTION + "in_proj.weight", "blocks.qkv.kernel", transpose=True),
        KeyRule(_ATTENTION + "q_bias", "blocks.q_bias"),
        KeyRule(_ATTENTION + "v_bias", "blocks.v_bias"),
        *rules_for(_ATTENTION, {"pos_proj": ("blocks.distance_key", "linear")}),
        *rules_for(_ATTENTION, {"pos_q_proj": ("blocks.distance_query", "linear")}),
    ),
    **_SHARED,
)
FAMILY_V2 = Family(
    name="deberta-v2",
    model_types=("deberta-v2",),
    read_config=_read_config_v2,
    sites=_sites_v2,
    rules=(
        *_SHARED_RULES,
        *block_rules(_BLOCK, DebertaV2Config.names),
        *rules_for(_ATTENTION, {"pos_key_proj": ("blocks.distance_key", "linear")}),
        *rules_for(_ATTENTION, {"pos_query_proj": ("blocks.distance_query", "linear")}),
        *rules_for(
            _ENCODER,
            {
                "LayerNorm": ("distance_norm", "norm"),
                "conv.LayerNorm": ("conv.norm", "norm"),
            },
        ),
        KeyRule(_ENCODER + "conv.conv.weight", "conv.kernel"),
        KeyRule(_ENCODER + "conv.conv.bias", "conv.bias"),
    ),
    **_SHARED,
)
