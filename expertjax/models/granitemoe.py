"""Granite's mixtures of experts: IBM 2024, after PowerMoE (arXiv 2408.13359)."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.experts import expert_rules, read_experts
from expertjax.models.rotary import read_flat_rotary

_MODULE = "block_sparse_moe"


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, {})
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


FAMILY = decoder_family(
    "granitemoe",
    _read_config,
    more_rules=expert_rules(_MODULE, "router"),
    # What checkpoints call them, and transformers 5 does.
    renamed=(
        (f".{_MODULE}.input_linear.weight", f".{_MODULE}.experts.gate_up_proj"),
        (f".{_MODULE}.output_linear.weight", f".{_MODULE}.experts.down_proj"),
        (f".{_MODULE}.router.layer.weight", f".{_MODULE}.router.weight"),
    ),
)
