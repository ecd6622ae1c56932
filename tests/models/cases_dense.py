"""Decoders beyond Llama's: what `test_parity.py` compares."""

from typing import Any

from tests.models.cases_decoders import SIZES, YARN, Cases, cases

_GPTJ = {
    "vocab_size": 270,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "rotary_dim": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_GPT_NEO = {
    "vocab_size": 270,
    "hidden_size": 32,
    "num_layers": 3,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1], [["local"], 1]],
    "max_position_embeddings": 64,
    "window_size": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_FALCON = {
    name: value
    for name, value in SIZES.items()
    if name not in ("intermediate_size", "pad_token_id")
}
_LINEAR = {"rope_type": "linear", "rope_theta": 50.0, "factor": 3.0}
_PARTLY = {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.75}

CASES: Cases = {
    **cases(
        "GemmaForCausalLM",
        {
            "gemma": {"head_dim": 16, "num_key_value_heads": 1},
            "gemma-untied-biases": {
                "head_dim": 6,
                "num_key_value_heads": 2,
                "tie_word_embeddings": False,
                "attention_bias": True,
                "hidden_act": "silu",
                "rms_norm_eps": 1e-2,
                "rope_parameters": _LINEAR,
            },
        },
    ),
    **cases(
        "OlmoForCausalLM",
        {
            # Low enough to cut off some.
            "olmo": {"clip_qkv": 0.8, "num_key_value_heads": 2},
            "olmo-tied-biases": {
                "attention_bias": True,
                "tie_word_embeddings": True,
                "hidden_act": "gelu",
                "rope_parameters": _LINEAR,
            },
        },
    ),
    **cases("OlmoModel", {"olmo-headless": {}}),
    **cases(
        "Olmo3ForCausalLM",
        {
            "olmo3": {"sliding_window": 4, "num_hidden_layers": 4},
            "olmo3-yarn-layer-types": {
                "sliding_window": 3,
                "num_key_value_heads": 2,
                "attention_bias": True,
                "tie_word_embeddings": True,
                "layer_types": [
                    "full_attention",
                    "sliding_attention",
                    "full_attention",
                ],
                "rope_parameters": {
                    "full_attention": YARN,
                    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
                },
            },
        },
    ),
    **cases(
        "GraniteForCausalLM",
        {
            "granite": {
                "embedding_multiplier": 12.0,
                "logits_scaling": 8,
                "residual_multiplier": 0.22,
                "attention_multiplier": 0.3,
                "num_key_value_heads": 2,
            },
            "granite-tied-biases": {
                "residual_multiplier": 1.5,
                "attention_multiplier": 0.125,
                "attention_bias": True,
                "mlp_bias": True,
                "tie_word_embeddings": True,
                "rope_parameters": _LINEAR,
            },
        },
    ),
    **cases(
        "SmolLM3ForCausalLM",
        {
            "smollm3": {"num_key_value_heads": 2, "no_rope_layer_interval": 2},
            "smollm3-window-untied-biases": {
                "no_rope_layers": [0, 1, 0],
                "use_sliding_window": True,
                "sliding_window": 4,
                "attention_bias": True,
                "mlp_bias": True,
                "tie_word_embeddings": False,
            },
        },
    ),
    **cases(
        "StableLmForCausalLM",
        {
            "stablelm": {"num_key_value_heads": 2, "use_qkv_bias": True},
            "stablelm-parallel-tied": {
                "num_key_value_heads": 4,
                "use_parallel_residual": True,
                "tie_word_embeddings": True,
                "layer_norm_eps": 1e-2,
                "rope_parameters": _PARTLY,
            },
        },
    ),
    **cases(
        "Starcoder2ForCausalLM",
        {
            "starcoder2": {"sliding_window": 4},
            "starcoder2-untied-unbiased": {
                "num_key_value_heads": 4,
                "use_bias": False,
                "tie_word_embeddings": False,
                "hidden_act": "relu",
                "norm_epsilon": 1e-2,
            },
        },
    ),
    **cases(
        "NemotronForCausalLM",
        {
            "nemotron": {"num_key_value_heads": 2},
            "nemotron-wide-tied-biases": {
                "head_dim": 16,
                "num_key_value_heads": 4,
                "attention_bias": True,
                "mlp_bias": True,
                "tie_word_embeddings": True,
                "hidden_act": "gelu",
                "norm_eps": 1e-2,
                "rope_parameters": _PARTLY,
            },
        },
    ),
    **cases(
        "Glm4ForCausalLM",
        {
            "glm4": {"head_dim": 16},
            "glm4-tied-unbiased": {
                "head_dim": 8,
                "num_key_value_heads": 4,
                "attention_bias": False,
                "tie_word_embeddings": True,
                "rms_norm_eps": 1e-2,
                "rope_parameters": _PARTLY | {"partial_rotary_factor": 1.0},
            },
        },
    ),
    **cases(
        "CohereForCausalLM",
        {
            "cohere": {"num_key_value_heads": 2, "use_qk_norm": True},
            "cohere-untied-biases": {
                "attention_bias": True,
                "tie_word_embeddings": False,
                "logit_scale": 0.5,
                "layer_norm_eps": 1e-2,
                "rope_parameters": _LINEAR,
            },
        },
    ),
    **cases(
        "Cohere2ForCausalLM",
        {
            "cohere2": {
                "num_key_value_heads": 2,
                "sliding_window": 4,
                "sliding_window_pattern": 2,
            },
            "cohere2-layer-types-biases": {
                "sliding_window": 3,
                "attention_bias": True,
                "logit_scale": 2.0,
                "tie_word_embeddings": False,
                "layer_types": [
                    "full_attention",
                    "full_attention",
                    "sliding_attention",
                ],
            },
        },
    ),
    **cases(
        "MinistralForCausalLM",
        {
            "ministral": {
                "sliding_window": 4,
                "num_key_value_heads": 2,
                "head_dim": 8,
            },
            "ministral-layer-types": {
                "sliding_window": 3,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "tie_word_embeddings": True,
                "layer_types": [
                    "full_attention",
                    "sliding_attention",
                    "full_attention",
                ],
            },
        },
    ),
    **cases(
        "Ministral3ForCausalLM",
        {
            "ministral3": {"num_key_value_heads": 2, "head_dim": 8},
            "ministral3-tied-window": {
                "num_key_value_heads": 1,
                "head_dim": 16,
                "sliding_window": 4,
                "tie_word_embeddings": True,
                "rope_parameters": YARN
                | {
                    "llama_4_scaling_beta": 0.5,
                    "mscale": 0.7,
                    "mscale_all_dim": 1.3,
                },
            },
        },
    ),
    **cases(
        "PhiForCausalLM",
        {
            "phi": {"num_key_value_heads": 2, "qk_layernorm": True},
            "phi-tied": {
                "tie_word_embeddings": True,
                "hidden_act": "gelu",
                "layer_norm_eps": 1e-2,
                "rope_parameters": _PARTLY,
            },
        },
    ),
    **cases("PhiModel", {"phi-headless": {}}),
    **cases(
        "GPTJForCausalLM",
        {
            "gptj": {},
            "gptj-tied-inner": {
                "rotary_dim": 8,
                "n_inner": 48,
                "activation_function": "relu",
                "tie_word_embeddings": True,
                "layer_norm_epsilon": 1e-2,
            },
        },
        _GPTJ,
    ),
    **cases(
        "GPTNeoForCausalLM",
        {
            "gpt_neo": {},
            "gpt_neo-untied-global": {
                "attention_types": [[["global"], 3]],
                "intermediate_size": 48,
                "activation_function": "relu",
                "tie_word_embeddings": False,
                "layer_norm_epsilon": 1e-2,
            },
        },
        _GPT_NEO,
    ),
    **cases(
        "FalconForCausalLM",
        {
            "falcon": {},
            "falcon-new": {
                "new_decoder_architecture": True,
                "num_kv_heads": 2,
                "ffn_hidden_size": 48,
                "tie_word_embeddings": False,
                "rope_parameters": _LINEAR,
            },
            "falcon-new-one-norm-biases": {
                "new_decoder_architecture": True,
                "num_ln_in_parallel_attn": 1,
                "num_kv_heads": 4,
                "bias": True,
                "activation": "relu",
            },
            "falcon-alibi": {
                "alibi": True,
                "multi_query": False,
                "parallel_attn": False,
                "bias": True,
                "num_attention_heads": 8,
            },
            "falcon-alibi-parallel": {
                "alibi": True,
                "layer_norm_epsilon": 1e-2,
                "hidden_size": 36,
                "num_attention_heads": 6,
            },
        },
        _FALCON,
    ),
    # Heads of classifiers and rewards, which change no unit.
    **cases(
        "GPT2ForSequenceClassification",
        {"gpt2-classifier": {"pad_token_id": 0}},
        {"vocab_size": 270, "n_embd": 32, "n_layer": 3, "n_head": 4},
    ),
    **cases(
        "Qwen3ForSequenceClassification",
        {"qwen3-reward": {"num_key_value_heads": 2, "head_dim": 8, "num_labels": 1}},
    ),
    **cases(
        "GemmaForSequenceClassification",
        {"gemma-classifier": {"num_key_value_heads": 2, "head_dim": 8}},
    ),
    **cases(
        "GPTNeoForSequenceClassification",
        {"gpt_neo-classifier": {"pad_token_id": 0}},
        _GPT_NEO,
    ),
}

_ONCE = {
    "loading": {"attn_implementation": "sdpa"},
    "wrong": "eager attention adds ALiBi's distances twice, once with its mask; "
    "compared with SDPA",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "falcon-alibi": _ONCE,
    "falcon-alibi-parallel": _ONCE,
}
