"""GPT-J: Wang and Komatsuzaki 2021, as `transformers` defines it."""

from dataclasses import replace

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.decoder_names import Names
from expertjax.models.rotary import plain_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 50400,
    "intermediate_size": None,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
}
_NAMES = Names(
    prefix="transformer.",
    block="h.{layer}.",
    embed="wte",
    last_norm="ln_f",
    q="attn.q_proj",
    k="attn.k_proj",
    v="attn.v_proj",
    out="attn.out_proj",
    up="mlp.fc_in",
    down="mlp.fc_out",
)


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.rename(n_embd="hidden_size", n_layer="num_hidden_layers")
    reader.rename(n_head="num_attention_heads", n_inner="intermediate_size")
    reader.rename(n_positions="max_position_embeddings")
    reader.ignore("attn_pdrop", "embd_pdrop", "resid_pdrop")
    reader.only("rotary", True)
    reader.only("scale_attn_weights", True)
    reader.only("num_key_value_heads", None)
    common = read_common(
        reader,
        _DEFAULTS,
        activation="activation_function",
        epsilon="layer_norm_epsilon",
        whole_heads=True,
    )
    width = reader.take("rotary_dim", 64)
    reader.require(
        width % 2 == 0 and width <= common["head_width"],
        f"rotary_dim={width} is odd, or more than a head's {common['head_width']}",
    )
    rotary = plain_rotary(width, interleaved=True)
    longest = reader.take("max_position_embeddings", 2048)
    return DecoderConfig(
        **common | {"lm_head": "lm_head.bias" in reader.keys},
        rotary=replace(rotary, max_positions=longest),
        gated=False,
        mlp_bias=True,
        norms="shared",
        norm_kind="layer",
        norm_bias=True,
        lm_head_bias=True,
        names=_NAMES,
    )


FAMILY = decoder_family(
    "gptj",
    _read_config,
    norms={"ln_1": "attention_pre_norm"},
    names=_NAMES,
    ignored=("attn.bias", "attn.masked_bias"),
)
