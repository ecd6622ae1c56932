"""Granite 3 of IBM, 2024: Llama, scaled at four places."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, {})
    bias = reader.take("attention_bias", False)
    divisor = reader.take("logits_scaling", 1.0, float)
    reader.require(divisor != 0, "logits_scaling=0 divides the logits")
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=2048),
        query_scale=reader.take("attention_multiplier", 1.0, float),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=reader.take("mlp_bias", False),
        embedding_scale=reader.take("embedding_multiplier", 1.0, float),
        residual_scale=reader.take("residual_multiplier", 1.0, float),
        logits_scale=1 / (divisor or 1.0),
    )


FAMILY = decoder_family("granite", _read_config)
