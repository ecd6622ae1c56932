"""Qwen's mixtures of experts: Yang et al. 2024 (arXiv 2407.10671), and 2025.

Qwen2's have an expert beside the others that all tokens run.
"""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.experts import expert_rules, fused_experts, read_experts
from expertjax.models.rotary import read_flat_rotary

_SHARED = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "num_hidden_layers": 24,
}
# Hugging Face's, by `model_type`.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen2_moe": _SHARED
    | {
        "intermediate_size": 5632,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    },
    "qwen3_moe": _SHARED
    | {
        "intermediate_size": 6144,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
    },
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.rename(num_local_experts="num_experts")
    # Blocks without experts among the others would be of another shape.
    reader.only("decoder_sparse_step", 1)
    reader.only("mlp_only_layers", [])
    common = read_common(reader, _DEFAULTS[reader.model_type])
    is_qwen2 = reader.model_type == "qwen2_moe"
    read_options = _read_qwen2 if is_qwen2 else _read_qwen3
    shared = {}
    if is_qwen2:
        shared["shared_width"] = reader.take("shared_expert_intermediate_size", 5632)
    experts = read_experts(
        reader,
        "num_experts",
        (60, 4) if is_qwen2 else (128, 8),
        width=reader.take("moe_intermediate_size", 1408 if is_qwen2 else 768),
        normalise=reader.take("norm_topk_prob", False),
        **shared,
    )
    return DecoderConfig(
        **common,
        **read_options(reader, _window(reader), common["num_layers"]),
        rotary=read_flat_rotary(reader, common["head_width"], longest=32768),
        experts=experts,
    )


def _window(reader: ConfigReader) -> int | None:
    # 0, as null, where there is none.
    window = reader.take("sliding_window", 4096, float, nullable=True)
    return int(window) if reader.take("use_sliding_window", False) and window else None


def _read_qwen2(
    reader: ConfigReader, window: int | None, num_layers: int
) -> dict[str, Any]:
    """Every other layer slides, below some layer."""
    lowest = reader.take("max_window_layers", 28, float)
    by_default = tuple(
        window is not None and layer % 2 == 0 and layer < lowest
        for layer in range(num_layers)
    )
    options = read_sliding(reader, window, by_default)
    return options | {"qkv_bias": reader.take("qkv_bias", True)}


def _read_qwen3(
    reader: ConfigReader, window: int | None, num_layers: int
) -> dict[str, Any]:
    reader.ignore("max_window_layers")  # transformers' Qwen3 mixtures do not ask
    reader.only("layer_types", None)
    bias = reader.take("attention_bias", False)
    options = read_sliding(reader, window, (window is not None,) * num_layers)
    return options | {"qkv_bias": bias, "out_bias": bias, "qk_norm": "head"}


FAMILY = decoder_family(
    "qwen_moe",
    _read_config,
    model_types=tuple(_DEFAULTS),
    more_rules=expert_rules("mlp", "gate"),
    fused=fused_experts("mlp", "mlp", ("gate_proj", "up_proj", "down_proj")),
)
