"""Mixtures of experts: what `test_parity.py` compares."""

from typing import Any

_SIZES: dict[str, Any] = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_QWEN = {"moe_intermediate_size": 20, "num_experts": 5, "num_experts_per_tok": 2}
_QWEN2 = _QWEN | {"shared_expert_intermediate_size": 28}

Cases = dict[str, tuple[str, dict[str, Any]]]


def _cases(architecture: str, options: dict[str, dict[str, Any]]) -> Cases:
    return {name: (architecture, _SIZES | own) for name, own in options.items()}


CASES: Cases = {
    **_cases(
        "MixtralForCausalLM",
        {
            "mixtral": {"num_local_experts": 4},
            "mixtral-window-one-active": {
                "num_local_experts": 3,
                "num_experts_per_tok": 1,
                "sliding_window": 4,
                "head_dim": 16,
                "hidden_act": "gelu",
                "tie_word_embeddings": True,
                "rms_norm_eps": 1e-2,
                "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
    ),
    **_cases(
        "MixtralModel",
        {
            "mixtral-headless-all-active": {"num_local_experts": 3}
            | {"num_experts_per_tok": 3}
        },
    ),
    **_cases(
        "Qwen2MoeForCausalLM",
        {
            "qwen2_moe": _QWEN2,
            "qwen2_moe-normalised-window": _QWEN2
            | {
                "num_experts_per_tok": 3,
                "norm_topk_prob": True,
                "qkv_bias": False,
                "use_sliding_window": True,
                "sliding_window": 3,
                "max_window_layers": 2,
                "tie_word_embeddings": True,
            },
        },
    ),
    **_cases(
        "Qwen3MoeForCausalLM",
        {
            "qwen3_moe": _QWEN | {"head_dim": 16, "norm_topk_prob": True},
            "qwen3_moe-biases-window": _QWEN
            | {
                "num_experts_per_tok": 3,
                "head_dim": 8,
                "attention_bias": True,
                "use_sliding_window": True,
                "sliding_window": 4,
                "hidden_act": "relu",
            },
        },
    ),
    **_cases(
        "OlmoeForCausalLM",
        {
            "olmoe": {"num_experts": 6, "num_experts_per_tok": 2},
            "olmoe-normalised-clipped": {
                "num_experts": 4,
                "num_experts_per_tok": 3,
                "norm_topk_prob": True,
                "clip_qkv": 0.8,
                "attention_bias": True,
                "tie_word_embeddings": True,
            },
        },
    ),
    **_cases(
        "GraniteMoeForCausalLM",
        {
            "granitemoe": {"num_local_experts": 4, "attention_multiplier": 0.3},
            "granitemoe-scaled": {
                "num_local_experts": 5,
                "num_experts_per_tok": 3,
                "attention_multiplier": 0.2,
                "attention_bias": True,
                "embedding_multiplier": 3.0,
                "residual_multiplier": 0.5,
                "logits_scaling": 4.0,
                "tie_word_embeddings": True,
            },
        },
    ),
    **_cases(
        "GptOssForCausalLM",
        {
            "gpt_oss": {
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "head_dim": 16,
                "sliding_window": 3,
            },
            "gpt_oss-clamped-no-bias": {
                "num_local_experts": 4,
                "num_experts_per_tok": 3,
                "head_dim": 8,
                "attention_bias": False,
                "swiglu_alpha": 0.9,
                "swiglu_limit": 0.4,
                "sliding_window": 4,
                "layer_types": ["full_attention", *["sliding_attention"] * 2],
                "tie_word_embeddings": True,
                "rms_norm_eps": 1e-2,
                "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
    ),
}
