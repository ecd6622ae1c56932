"""Parity cases of BERT's descendants and of ModernBERT."""

from typing import Any

SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 40,
    "tokenizer": "wordpiece",
}

_DISTILBERT = {
    "vocab_size": 120,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 96,
    "max_position_embeddings": 40,
    "tokenizer": "wordpiece",
}
_ELECTRA = SIZES | {"embedding_size": 24}
_ALBERT = SIZES | {"embedding_size": 24, "num_hidden_layers": 4}
# Its window of 4 lets a token see 2 on either side.
_MODERNBERT = SIZES | {"num_hidden_layers": 4, "local_attention": 4}
_MODERNBERT |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_MODERNBERT |= {"cls_token_id": 2, "sep_token_id": 3, "max_position_embeddings": 4096}
_YARN = {"rope_type": "yarn", "rope_theta": 300.0, "factor": 4.0}
_YARN |= {"original_max_position_embeddings": 1024}
_LLAMA3 = {"rope_type": "llama3", "rope_theta": 50.0, "factor": 4.0}
_LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3 |= {"original_max_position_embeddings": 16}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("RobertaForMaskedLM", SIZES),
    "roberta-untied-relu-pad-5": (
        "RobertaForMaskedLM",
        SIZES
        | {
            "tie_word_embeddings": False,
            "hidden_act": "relu",
            "pad_token_id": 5,
            "layer_norm_eps": 1e-2,
        },
    ),
    "roberta-classifier": ("RobertaForSequenceClassification", SIZES),
    "roberta-headless": (
        "RobertaModel",
        SIZES | {"pad_token_id": 0, "intermediate_size": 40, "type_vocab_size": 1},
    ),
    "xlm-roberta": (
        "XLMRobertaForMaskedLM",
        SIZES | {"type_vocab_size": 1, "num_attention_heads": 2},
    ),
    "xlm-roberta-headless": ("XLMRobertaModel", SIZES | {"hidden_act": "gelu_new"}),
    "distilbert": ("DistilBertForMaskedLM", _DISTILBERT),
    "distilbert-untied-relu-sinusoidal": (
        "DistilBertForMaskedLM",
        _DISTILBERT
        | {
            "tie_word_embeddings": False,
            "activation": "relu",
            "sinusoidal_pos_embds": True,
            "n_heads": 2,
        },
    ),
    "distilbert-classifier": (
        "DistilBertForSequenceClassification",
        _DISTILBERT | {"hidden_dim": 40},
    ),
    "distilbert-headless": ("DistilBertModel", _DISTILBERT),
    "electra-generator": ("ElectraForMaskedLM", _ELECTRA),
    "electra-generator-untied-relu": (
        "ElectraForMaskedLM",
        _ELECTRA | {"tie_word_embeddings": False, "hidden_act": "relu"},
    ),
    "electra-generator-one-width": (
        "ElectraForMaskedLM",
        _ELECTRA | {"embedding_size": 32, "layer_norm_eps": 1e-2},
    ),
    "electra-discriminator": (
        "ElectraForPreTraining",
        _ELECTRA | {"type_vocab_size": 1, "hidden_act": "gelu_new"},
    ),
    "electra-headless": ("ElectraModel", _ELECTRA),
    "albert": ("AlbertForMaskedLM", _ALBERT),
    "albert-untied-three-groups": (
        "AlbertForMaskedLM",
        _ALBERT
        | {
            "tie_word_embeddings": False,
            "num_hidden_groups": 3,
            "num_hidden_layers": 5,
            "hidden_act": "relu",
        },
    ),
    "albert-pretraining-one-width": (
        "AlbertForPreTraining",
        _ALBERT
        | {"embedding_size": 32, "num_hidden_groups": 2, "layer_norm_eps": 1e-2},
    ),
    "albert-headless": ("AlbertModel", _ALBERT | {"type_vocab_size": 1}),
    "mpnet": ("MPNetForMaskedLM", SIZES),
    "mpnet-untied-relu-one-head": (
        "MPNetForMaskedLM",
        SIZES
        | {
            "tie_word_embeddings": False,
            "hidden_act": "relu",
            "num_attention_heads": 1,
            "layer_norm_eps": 1e-2,
            "pad_token_id": 7,
        },
    ),
    "mpnet-headless": ("MPNetModel", SIZES | {"intermediate_size": 40}),
    "modernbert": ("ModernBertForMaskedLM", _MODERNBERT),
    "modernbert-untied-every-bias": (
        "ModernBertForMaskedLM",
        _MODERNBERT
        | {
            "tie_word_embeddings": False,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
            "decoder_bias": False,
            "hidden_activation": "silu",
            "classifier_activation": "relu",
            "norm_eps": 1e-2,
        },
    ),
    "modernbert-layer-types": (
        "ModernBertForMaskedLM",
        _MODERNBERT
        | {
            "layer_types": [
                "sliding_attention",
                "full_attention",
                "full_attention",
                "sliding_attention",
            ],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 20.0},
                "sliding_attention": {
                    "rope_type": "linear",
                    "rope_theta": 7.0,
                    "factor": 3.0,
                },
            },
            "num_attention_heads": 2,
            "local_attention": 5,
        },
    ),
    "modernbert-old-names": (
        "ModernBertModel",
        _MODERNBERT
        | {
            "global_attn_every_n_layers": 2,
            "global_rope_theta": 30.0,
            "local_rope_theta": 5.0,
        },
    ),
    "modernbert-classifier-scaled-rotary": (
        "ModernBertForSequenceClassification",
        _MODERNBERT
        | {
            "rope_parameters": {
                "full_attention": _YARN,
                "sliding_attention": _LLAMA3,
            },
        },
    ),
}

# How torch has to be run, where it is not as usual.
OPTIONS: dict[str, dict[str, Any]] = {
    name: {"explicit": False}  # they know padding by its token, also within a text
    for name in CASES
    if name.startswith(("roberta", "xlm-roberta", "mpnet"))
}
