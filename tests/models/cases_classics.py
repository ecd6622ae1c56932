"""Cases of `test_parity`: GPT-NeoX, OPT, BLOOM, GPT, CTRL, XLM, XLNet."""

from typing import Any

_NEOX = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3}
_NEOX |= {"num_attention_heads": 4, "intermediate_size": 96}

_OPT = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "ffn_dim": 96}
_OPT |= {"num_attention_heads": 4, "max_position_embeddings": 64}

_BLOOM = {"vocab_size": 300, "hidden_size": 32, "n_layer": 3, "n_head": 4}

_GPT = {"vocab_size": 300, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}

_CTRL = {"vocab_size": 300, "n_embd": 32, "n_layer": 3, "n_head": 4, "dff": 96}
_CTRL |= {"n_positions": 64}

_XLM = {"vocab_size": 300, "emb_dim": 32, "n_layers": 3, "n_heads": 4}
_XLM |= {"max_position_embeddings": 64}

_XLNET = {"vocab_size": 300, "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 96}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt_neox": ("GPTNeoXForCausalLM", _NEOX),
    "gpt_neox-serial-half-rotary": (
        "GPTNeoXForCausalLM",
        _NEOX
        | {
            "use_parallel_residual": False,
            "rotary_pct": 0.5,
            "rotary_emb_base": 100,
            "layer_norm_eps": 1e-2,
            "num_attention_heads": 2,
        },
    ),
    "gpt_neox-tied-without-bias": (
        "GPTNeoXForCausalLM",
        _NEOX
        | {
            "tie_word_embeddings": True,
            "attention_bias": False,
            "rope_parameters": {
                "rope_type": "linear",
                "rope_theta": 500.0,
                "factor": 2.0,
                "partial_rotary_factor": 1.0,
            },
            "hidden_act": "gelu_fast",
        },
    ),
    "gpt_neox-headless": ("GPTNeoXModel", _NEOX | {"hidden_act": "relu"}),
    "opt": ("OPTForCausalLM", _OPT),
    "opt-post-norm-projected": (
        "OPTForCausalLM",
        _OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 20},
    ),
    "opt-projected-without-bias": (
        "OPTForCausalLM",
        _OPT
        | {
            "word_embed_proj_dim": 48,
            "enable_bias": False,
            "activation_function": "gelu",
            "tie_word_embeddings": False,
        },
    ),
    "opt-headless": (
        "OPTModel",
        _OPT | {"tie_word_embeddings": False, "num_attention_heads": 1},
    ),
    "bloom": ("BloomForCausalLM", _BLOOM),
    "bloom-twelve-heads": (
        "BloomForCausalLM",
        _BLOOM | {"hidden_size": 48, "n_head": 12, "layer_norm_epsilon": 1e-2},
    ),
    "bloom-normed-residual-untied": (
        "BloomForCausalLM",
        _BLOOM
        | {
            "apply_residual_connection_post_layernorm": True,
            "tie_word_embeddings": False,
            "n_head": 2,
            "pretraining_tp": 2,
        },
    ),
    "bloom-headless": (
        "BloomModel",
        _BLOOM | {"hidden_size": 36, "n_head": 6},
    ),
    "openai_gpt": ("OpenAIGPTLMHeadModel", _GPT),
    "openai_gpt-silu-epsilon": (
        "OpenAIGPTLMHeadModel",
        _GPT | {"afn": "swish", "layer_norm_epsilon": 1e-2, "n_head": 2},
    ),
    "openai_gpt-untied-relu": (
        "OpenAIGPTLMHeadModel",
        _GPT | {"afn": "relu", "tie_word_embeddings": False},
    ),
    "openai_gpt-headless": ("OpenAIGPTModel", _GPT | {"n_head": 1}),
    "ctrl": ("CTRLLMHeadModel", _CTRL),
    "ctrl-untied-epsilon": (
        "CTRLLMHeadModel",
        _CTRL | {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-1},
    ),
    "ctrl-one-head-headless": ("CTRLModel", _CTRL | {"n_head": 1}),
    "xlm": ("XLMWithLMHeadModel", _XLM),
    "xlm-causal-sinusoids": (
        "XLMWithLMHeadModel",
        _XLM | {"causal": True, "sinusoidal_embeddings": True, "n_heads": 2},
    ),
    "xlm-relu-untied-languages": (
        "XLMWithLMHeadModel",
        _XLM
        | {
            "gelu_activation": False,
            "tie_word_embeddings": False,
            "n_langs": 3,
            "use_lang_emb": False,
            "layer_norm_eps": 1e-2,
        },
    ),
    "xlm-headless": ("XLMModel", _XLM | {"n_heads": 1}),
    "xlnet": ("XLNetLMHeadModel", _XLNET),
    "xlnet-relu-untied-mems": (
        "XLNetLMHeadModel",
        _XLNET
        | {
            "ff_activation": "relu",
            "tie_word_embeddings": False,
            "mem_len": 4,
            "reuse_len": 2,
            "n_head": 2,
            "layer_norm_eps": 1e-2,
        },
    ),
    "xlnet-one-head-headless": ("XLNetModel", _XLNET | {"n_head": 1}),
}

# How torch has to be run, where it is not as usual.
OPTIONS: dict[str, dict[str, Any]] = {
    # ALiBi is of the attention mask: there are no position ids.
    **{name: {"explicit": False} for name in CASES if name.startswith("bloom")},
    # Positions are relative, and time is the first axis.
    **{
        name: {"explicit": False, "time_major": True}
        for name in CASES
        if name.startswith("xlnet")
    },
    "xlm-causal-sinusoids": {
        "sides": ("right",),
        "wrong": "causal attention sees the padding that stands before a sentence; "
        "compared where padding is on the right",
    },
}
