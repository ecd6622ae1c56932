"""Granite's mixtures of experts: IBM 2024, after PowerMoE (arXiv 2408.13359)."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder import (
    BLOCK,
    IGNORED,
    Decoder,
    decoder_readout,
    decoder_rules,
    decoder_sites,
)
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.experts import expert_rules, read_experts
from expertjax.models.family import Family
from expertjax.models.rotary import read_flat_rotary

_MODULE = "block_sparse_moe"
# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, _DEFAULTS)
    bias = reader.take("attention_bias", False)
    scaling = reader.take("logits_scaling", 1.0, float)
    reader.require(scaling > 0, f"logits_scaling={scaling!r} should be over 0")
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=2048),
        qkv_bias=bias,
        out_bias=bias,
        query_scale=reader.take("attention_multiplier", 1.0, float),
        embedding_scale=reader.take("embedding_multiplier", 1.0, float),
        residual_scale=reader.take("residual_multiplier", 1.0, float),
        logits_scale=1 / scaling if scaling > 0 else 1.0,
        experts=read_experts(
            reader,
            "num_local_experts",
            (8, 2),
            width=common["mlp_width"],
            normalise=True,
            module=_MODULE,
            router="router",
        ),
    )


FAMILY = Family(
    name="granitemoe",
    model_types=("granitemoe",),
    causal=True,
    read_config=_read_config,
    build=Decoder,
    sites=decoder_sites,
    readout=decoder_readout,
    prefix="model.",
    rules=(
        *decoder_rules(
            {
                "input_layernorm": "attention_pre_norm",
                "post_attention_layernorm": "mlp_pre_norm",
            }
        ),
        *expert_rules(BLOCK, _MODULE, "router"),
    ),
    # What checkpoints call them, and transformers 5 does.
    renamed=(
        (f".{_MODULE}.input_linear.weight", f".{_MODULE}.experts.gate_up_proj"),
        (f".{_MODULE}.output_linear.weight", f".{_MODULE}.experts.down_proj"),
        (f".{_MODULE}.router.layer.weight", f".{_MODULE}.router.weight"),
    ),
    ignored=IGNORED,
)
