"""Decoders with rotary positions and gated MLPs: what `test_parity.py` compares."""

from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
# Short contexts, so that the frequencies of tests are stretched too.
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 4.0,
}
_GEMMA = {
    "head_dim": 16,
    "num_key_value_heads": 2,
    "query_pre_attn_scalar": 64,
    "sliding_window": 4,
}

Cases = dict[str, tuple[str, dict[str, Any]]]


def cases(
    architecture: str,
    options: dict[str, dict[str, Any]],
    sizes: dict[str, Any] = SIZES,
) -> Cases:
    """Name -> class of transformers, and attributes of its config."""
    return {name: (architecture, sizes | own) for name, own in options.items()}


CASES: Cases = {
    **cases(
        "LlamaForCausalLM",
        {
            "llama": {},
            "llama-grouped-tied-biases": {
                "num_key_value_heads": 2,
                "tie_word_embeddings": True,
                "attention_bias": True,
                "mlp_bias": True,
                "rms_norm_eps": 1e-2,
            },
            "llama-one-kv-head-wide-llama3": {
                "num_key_value_heads": 1,
                "head_dim": 16,
                "hidden_act": "gelu",
                "rope_parameters": _LLAMA3,
            },
            "llama-linear": {
                "rope_parameters": {
                    "rope_type": "linear",
                    "rope_theta": 50.0,
                    "factor": 3.0,
                }
            },
            "llama-dynamic": {
                "rope_parameters": {
                    "rope_type": "dynamic",
                    "rope_theta": 50.0,
                    "factor": 3.0,
                }
            },
            "llama-yarn": {"rope_parameters": YARN, "head_dim": 16},
            "llama-yarn-mscale": {
                "rope_parameters": YARN
                | {"mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False}
            },
        },
    ),
    **cases("LlamaModel", {"llama-headless": {"num_key_value_heads": 2}}),
    **cases(
        "MistralForCausalLM",
        {
            "mistral-window": {"sliding_window": 4, "num_key_value_heads": 2},
            "mistral-no-window": {
                "sliding_window": None,
                "head_dim": 6,
                "num_key_value_heads": 4,
            },
        },
    ),
    **cases(
        "Qwen2ForCausalLM",
        {
            "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": True},
            "qwen2-window": {
                "num_key_value_heads": 4,
                "use_sliding_window": True,
                "sliding_window": 3,
                "max_window_layers": 1,
            },
            "qwen2-layer-types": {
                "num_key_value_heads": 2,
                "use_sliding_window": True,
                "sliding_window": 4,
                "layer_types": [
                    "sliding_attention",
                    "full_attention",
                    "sliding_attention",
                ],
            },
        },
    ),
    **cases(
        "Qwen3ForCausalLM",
        {
            "qwen3": {
                "num_key_value_heads": 2,
                "head_dim": 16,
                "tie_word_embeddings": True,
            },
            "qwen3-biases-window": {
                "num_key_value_heads": 1,
                "head_dim": 8,
                "attention_bias": True,
                "use_sliding_window": True,
                "sliding_window": 4,
                "max_window_layers": 0,
            },
        },
    ),
    **cases(
        "Olmo2ForCausalLM",
        {
            "olmo2": {"rms_norm_eps": 1e-2},
            "olmo2-grouped-tied-biases": {
                "num_key_value_heads": 2,
                "attention_bias": True,
                "tie_word_embeddings": True,
                "hidden_act": "relu",
                "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
    ),
    **cases("Olmo2Model", {"olmo2-headless": {}}),
    **cases(
        "Phi3ForCausalLM",
        {
            "phi3": {"num_key_value_heads": 2, "sliding_window": 4},
            "phi3-partial-tied": {
                "num_key_value_heads": 1,
                "tie_word_embeddings": True,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 50.0,
                    "partial_rotary_factor": 0.5,
                },
            },
            "phi3-longrope": {
                "num_key_value_heads": 2,
                "rms_norm_eps": 1e-2,
                "original_max_position_embeddings": 16,
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 50.0,
                    "partial_rotary_factor": 0.75,
                    "short_factor": [1.1, 1.9, 3.0],
                    "long_factor": [2.0, 4.0, 8.0],
                },
            },
        },
    ),
    **cases(
        "Gemma2ForCausalLM",
        {
            # The soft-caps are low enough to bend these scores and logits.
            "gemma2": _GEMMA
            | {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 2.0},
            "gemma2-uncapped-untied-biases": _GEMMA
            | {
                "attn_logit_softcapping": None,
                "final_logit_softcapping": None,
                "tie_word_embeddings": False,
                "attention_bias": True,
                "hidden_activation": "silu",
            },
            "gemma2-layer-types": _GEMMA
            | {
                "layer_types": [
                    "full_attention",
                    "sliding_attention",
                    "sliding_attention",
                ],
                "query_pre_attn_scalar": 100,
                "num_key_value_heads": 1,
                "sliding_window": 2,
            },
        },
    ),
    **cases("Gemma2Model", {"gemma2-headless": _GEMMA}),
    **cases(
        "Gemma3ForCausalLM",
        {
            "gemma3": _GEMMA | {"sliding_window_pattern": 2},
            "gemma3-capped-scaled": _GEMMA
            | {
                "query_pre_attn_scalar": 256,
                "final_logit_softcapping": 2.0,
                "rope_parameters": {
                    "full_attention": {
                        "rope_type": "linear",
                        "rope_theta": 100.0,
                        "factor": 8.0,
                    },
                    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
                },
                "layer_types": [
                    "sliding_attention",
                    "full_attention",
                    "sliding_attention",
                ],
            },
            "gemma3-untied-all-full": _GEMMA
            | {
                "tie_word_embeddings": False,
                "attention_bias": True,
                "layer_types": ["full_attention"] * 3,
            },
        },
    ),
}
