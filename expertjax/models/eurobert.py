"""EuroBERT: Boizard et al. 2025. Llama whose tokens see all others."""

import dataclasses

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

_DEFAULTS = {
    "vocab_size": 128256,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "rms_norm_eps": 1e-5,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    # Tensor parallelism in training, names of special tokens, classifiers.
    reader.ignore("pretraining_tp", "bos_token", "eos_token", "pad_token", "mask_token")
    reader.ignore("mask_token_id", "classifier_pooling", "clf_pooling")
    reader.ignore("hidden_dropout")
    common = read_common(reader, _DEFAULTS)
    bias = reader.take("attention_bias", False)
    mlp_bias = reader.take("mlp_bias", False)
    has_bias = "lm_head.bias" in reader.keys
    return DecoderConfig(
        **common | {"lm_head": common["lm_head"] and has_bias == mlp_bias},
        rotary=read_flat_rotary(reader, common["head_width"], longest=8192),
        causal=False,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=mlp_bias,
        lm_head_bias=mlp_bias,  # as transformers has it
    )


_FAMILY = decoder_family("eurobert", _read_config, causal=False)
FAMILY = dataclasses.replace(
    _FAMILY,
    ignored=(*_FAMILY.ignored, "dense.weight", "dense.bias"),  # of classifiers
)
