"""Gemma 2: Gemma Team 2024. Norms on both sides, soft-caps, every other layer local."""

from collections.abc import Mapping
from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}
GEMMA_NORMS = {
    "input_layernorm": "attention_pre_norm",
    "post_attention_layernorm": "attention_post_norm",
    "pre_feedforward_layernorm": "mlp_pre_norm",
    "post_feedforward_layernorm": "mlp_post_norm",
}


def read_gemma(reader: ConfigReader, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What Gemma 2 and 3 have in common.

    Args:
      reader: of the config.
      defaults: Hugging Face's, by its names.

    Returns:
      fields of `DecoderConfig`.
    """
    reader.only("use_bidirectional_attention", None, False)
    # The activation is named by `hidden_activation`, whatever stands here.
    reader.ignore("hidden_act", "cache_implementation")
    bias = reader.take("attention_bias", False)
    divisor = reader.take("query_pre_attn_scalar", 256, float)
    reader.require(divisor > 0, f"query_pre_attn_scalar={divisor!r} is not positive")
    common = read_common(reader, defaults, activation="hidden_activation")
    return common | {
        "query_scale": max(divisor, 1e-9) ** -0.5,
        "qkv_bias": bias,
        "out_bias": bias,
        "norms": "both",
        "norm_plus_one": True,
        "norm_cast_first": False,
        "embedding_scale": common["width"] ** 0.5,
    }


def _read_config(reader: ConfigReader) -> DecoderConfig:
    gemma = read_gemma(reader, _DEFAULTS)
    window = reader.take("sliding_window", 4096, nullable=True)
    by_default = tuple(layer % 2 == 0 for layer in range(gemma["num_layers"]))
    return DecoderConfig(
        **gemma,
        **read_sliding(reader, window, by_default),
        rotary=read_flat_rotary(reader, gemma["head_width"], longest=8192),
        attention_softcap=reader.take(
            "attn_logit_softcapping", 50.0, float, nullable=True
        ),
        logits_softcap=reader.take(
            "final_logit_softcapping", 30.0, float, nullable=True
        ),
    )


FAMILY = decoder_family("gemma2", _read_config, norms=GEMMA_NORMS)
