"""Mixtral: Jiang et al. 2024 (arXiv 2401.04088). Mistral with a mixture for an MLP."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.experts import expert_rules, fused_experts, read_experts
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.ignore("router_jitter_noise")  # in training
    reader.rename(num_experts="num_local_experts")
    common = read_common(reader, _DEFAULTS)
    window = reader.take("sliding_window", None, int)
    is_local = (window is not None,) * common["num_layers"]
    return DecoderConfig(
        **common,
        **read_sliding(reader, window, is_local),
        rotary=read_flat_rotary(
            reader, common["head_width"], longest=131072, theta=1e6
        ),
        experts=read_experts(
            reader,
            "num_local_experts",
            (8, 2),
            width=common["mlp_width"],
            normalise=True,
        ),
    )


FAMILY = decoder_family(
    "mixtral",
    _read_config,
    more_rules=expert_rules("mlp", "gate"),
    fused=fused_experts("mlp", "block_sparse_moe", ("w1", "w3", "w2")),
    renamed=((".block_sparse_moe.gate.weight", ".mlp.gate.weight"),),
)
