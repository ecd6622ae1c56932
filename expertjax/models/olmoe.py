"""OLMoE: Muennighoff et al. 2024 (arXiv 2409.02060)."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.experts import expert_rules, fused_experts, read_experts
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2048,
    "intermediate_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "rms_norm_eps": 1e-5,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.rename(num_local_experts="num_experts")
    common = read_common(reader, _DEFAULTS)
    bias = reader.take("attention_bias", False)
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=4096),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="all",
        qkv_clip=reader.take("clip_qkv", None, float),
        experts=read_experts(
            reader,
            "num_experts",
            (64, 8),
            width=common["mlp_width"],
            normalise=reader.take("norm_topk_prob", False),
        ),
    )


FAMILY = decoder_family(
    "olmoe",
    _read_config,
    more_rules=expert_rules("mlp", "gate"),
    fused=fused_experts("mlp", "mlp", ("gate_proj", "up_proj", "down_proj")),
)
