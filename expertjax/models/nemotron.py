"""Nemotron-4 and Minitron: Parmar et al. 2024. LayerNorms about 1, squared ReLU."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "num_attention_heads": 48,
    "hidden_act": "relu2",
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, _DEFAULTS, epsilon="norm_eps")
    bias = reader.take("attention_bias", False)
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=4096, share=0.5),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=reader.take("mlp_bias", False),
        gated=False,
        norm_kind="layer",
        norm_bias=True,
        norm_plus_one=True,
    )


FAMILY = decoder_family("nemotron", _read_config)
