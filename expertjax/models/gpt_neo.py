"""GPT-Neo: Black et al. 2021. Learned positions, every other layer local."""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.decoder_names import Names
from expertjax.models.rotary import NO_ROTATION

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 50257,
    "hidden_size": 2048,
    "intermediate_size": None,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "tie_word_embeddings": True,
}
_NAMES = Names(
    prefix="transformer.",
    block="h.{layer}.",
    embed="wte",
    last_norm="ln_f",
    q="attn.attention.q_proj",
    k="attn.attention.k_proj",
    v="attn.attention.v_proj",
    out="attn.attention.out_proj",
    up="mlp.c_fc",
    down="mlp.c_proj",
)


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.rename(num_layers="num_hidden_layers", num_heads="num_attention_heads")
    reader.ignore("resid_dropout", "embed_dropout")
    reader.only("num_key_value_heads", None)
    common = read_common(
        reader,
        _DEFAULTS,
        activation="activation_function",
        epsilon="layer_norm_epsilon",
        whole_heads=True,
    )
    window = reader.take("window_size", 256)
    sliding = _read_kinds(reader, common["num_layers"])
    return DecoderConfig(
        **common,
        rotary=NO_ROTATION,
        learned_positions=reader.take("max_position_embeddings", 2048),
        window=window if any(sliding) else None,
        sliding=sliding if any(sliding) else (),
        query_scale=1.0,
        out_bias=True,
        gated=False,
        mlp_bias=True,
        norm_kind="layer",
        norm_bias=True,
        names=_NAMES,
    )


def _read_kinds(reader: ConfigReader, num_layers: int) -> tuple[bool, ...]:
    """Which layers are local, of pairs [kinds of some layers, how often they come]."""
    pairs: Any = reader.take("attention_types", [[["global", "local"], 12]], list)
    try:
        kinds = [kind for block, times in pairs for kind in list(block) * times]
    except (TypeError, ValueError):
        kinds = []
    reader.require(
        len(kinds) == num_layers and {*kinds} <= {"global", "local"},
        f"attention_types={pairs!r} should name global or local for each of "
        f"{num_layers} layers",
    )
    reader.only("attention_layers", kinds)
    return tuple(kind == "local" for kind in kinds)


FAMILY = decoder_family(
    "gpt_neo",
    _read_config,
    norms={"ln_1": "attention_pre_norm", "ln_2": "mlp_pre_norm"},
    names=_NAMES,
    ignored=("attn.attention.bias", "attn.attention.masked_bias"),
)
