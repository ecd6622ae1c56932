"""OLMo 2: OLMo Team 2024. Norms stand behind attention and MLP, not before them."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder import (
    IGNORED,
    Decoder,
    decoder_readout,
    decoder_rules,
    decoder_sites,
)
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.family import Family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, _DEFAULTS)
    bias = reader.take("attention_bias", False)
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=2048),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="all",
        norms="post",
        norm_cast_first=False,
    )


FAMILY = Family(
    name="olmo2",
    model_types=("olmo2",),
    causal=True,
    read_config=_read_config,
    build=Decoder,
    sites=decoder_sites,
    readout=decoder_readout,
    prefix="model.",
    rules=decoder_rules(
        {
            "post_attention_layernorm": "attention_post_norm",
            "post_feedforward_layernorm": "mlp_post_norm",
        }
    ),
    ignored=IGNORED,
)
