"""Llama and its like: Touvron et al. 2023, as `transformers` defines them.

Mistral (Jiang et al. 2023), Ministral (3), Qwen2, the language model of Qwen2.5-VL and
Qwen3 differ by options; SmolLM, TinyLlama and many others are Llamas by their configs.
"""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import AXES, TEMPERED, read_flat_rotary

_SHARED = {
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
}
_MISTRAL = {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
}
# Hugging Face's, by `model_type`.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "ministral": _MISTRAL,
    "ministral3": _MISTRAL
    | {
        "vocab_size": 131072,
        "num_hidden_layers": 34,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 262144,
    },
    "mistral": _MISTRAL,
    "qwen2_5_vl_text": {
        "vocab_size": 152064,
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 32768,
    },
    "qwen2": _SHARED | {"vocab_size": 151936},
    "qwen3": _SHARED | {"vocab_size": 151936, "head_dim": 128},
}
# Options of `read_flat_rotary`, by `model_type`.
_ROTARY: dict[str, dict[str, Any]] = {
    "ministral3": {
        "kinds": TEMPERED,
        "default": {
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 16.0,
            "original_max_position_embeddings": 16384,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
        },
    },
    "qwen2_5_vl_text": {"theta": 1e6, "kinds": AXES},
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    defaults = _DEFAULTS[reader.model_type]
    common = read_common(reader, defaults)
    rotary = read_flat_rotary(
        reader,
        common["head_width"],
        longest=defaults["max_position_embeddings"],
        **_ROTARY.get(reader.model_type, {}),
    )
    read_options = {
        "llama": _read_llama,
        "ministral": _read_mistral,
        "ministral3": _read_mistral,
        "mistral": _read_mistral,
        "qwen2": _read_qwen,
        "qwen2_5_vl_text": _read_qwen,
        "qwen3": _read_qwen,
    }[reader.model_type]
    options = read_options(reader, common["num_layers"])
    return DecoderConfig(**common, rotary=rotary, **options)


def _read_llama(reader: ConfigReader, num_layers: int) -> dict[str, Any]:
    # Tensor parallelism in training; a note of SmolLM's on itself.
    reader.ignore("pretraining_tp", "is_llama_config")
    reader.only("rope_interleaved", False)
    bias = reader.take("attention_bias", False)
    mlp_bias = reader.take("mlp_bias", False)
    return {"qkv_bias": bias, "out_bias": bias, "mlp_bias": mlp_bias}


def _read_mistral(reader: ConfigReader, num_layers: int) -> dict[str, Any]:
    default = None if reader.model_type == "ministral3" else 4096
    window = reader.take("sliding_window", default, int, nullable=True)
    if reader.model_type != "ministral":
        reader.only("layer_types", None)
    return read_sliding(reader, window, (window is not None,) * num_layers)


def _read_qwen(reader: ConfigReader, num_layers: int) -> dict[str, Any]:
    reader.only("use_mrope", False)  # positions in images
    window = reader.take("sliding_window", 4096, nullable=True)
    # A number of layers that, unlike a size, may be 0.
    sees = reader.model_type == "qwen2_5_vl_text"
    full_layers = reader.take("max_window_layers", 80 if sees else 28, float)
    if not reader.take("use_sliding_window", False):
        window = None
    by_default = tuple(
        window is not None and layer >= full_layers for layer in range(num_layers)
    )
    options = read_sliding(reader, window, by_default)
    if reader.model_type != "qwen3":
        return options | {"qkv_bias": True}
    bias = reader.take("attention_bias", False)
    return options | {"qkv_bias": bias, "out_bias": bias, "qk_norm": "head"}


FAMILY = decoder_family(
    "llama",
    _read_config,
    model_types=tuple(_DEFAULTS),
)
