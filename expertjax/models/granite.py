"""Granite 3 of IBM, 2024: Llama, scaled at four places."""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary


def read_granite(reader: ConfigReader) -> dict[str, Any]:
    """What its configs say, with a mixture of experts or without one.

    Returns:
      fields of `DecoderConfig`.
    """
    common = read_common(reader, {})
    bias = reader.take("attention_bias", False)
    divisor = reader.take("logits_scaling", 1.0, float)
    reader.require(divisor != 0, f"logits_scaling={divisor} divides the logits")
    return common | {
        "rotary": read_flat_rotary(reader, common["head_width"], longest=2048),
        "query_scale": reader.take("attention_multiplier", 1.0, float),
        "qkv_bias": bias,
        "out_bias": bias,
        "embedding_scale": reader.take("embedding_multiplier", 1.0, float),
        "residual_scale": reader.take("residual_multiplier", 1.0, float),
        "logits_scale": 1 / (divisor or 1.0),
    }


def _read_config(reader: ConfigReader) -> DecoderConfig:
    bias = reader.take("mlp_bias", False)
    return DecoderConfig(**read_granite(reader), mlp_bias=bias)


FAMILY = decoder_family("granite", _read_config)
