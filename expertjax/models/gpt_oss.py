"""gpt-oss: OpenAI 2025 (arXiv 2508.10925). A mixture, and attention with sinks."""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.decoder_names import LLAMA
from expertjax.models.experts import ClampedGates, expert_rules, read_experts
from expertjax.models.family import KeyRule
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS: dict[str, Any] = {
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "rms_norm_eps": 1e-5,
}
_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.rename(
        num_experts="num_local_experts", experts_per_token="num_experts_per_tok"
    )
    reader.ignore("initial_context_length")  # said again by the rotation
    reader.only("hidden_act", "silu")  # which the experts' gates are not
    common = read_common(reader, _DEFAULTS)
    window = reader.take("sliding_window", 128, int, nullable=True)
    by_default = tuple(layer % 2 == 0 for layer in range(common["num_layers"]))
    bias = reader.take("attention_bias", True)
    gates = ClampedGates(
        alpha=reader.take("swiglu_alpha", 1.702, float),
        limit=reader.take("swiglu_limit", 7.0, float),
    )
    reader.require(gates.limit > 0, f"swiglu_limit={gates.limit} should be positive")
    return DecoderConfig(
        **common,
        **read_sliding(reader, window, by_default),
        rotary=read_flat_rotary(
            reader, common["head_width"], longest=131072, theta=1.5e5, default=_YARN
        ),
        qkv_bias=bias,
        out_bias=bias,
        sinks=True,
        norm_cast_first=False,
        experts=read_experts(
            reader,
            "num_local_experts",
            (128, 4),
            width=common["mlp_width"],
            normalise=True,
            router="router",
            bias=True,
            clamped=gates,
        ),
    )


FAMILY = decoder_family(
    "gpt_oss",
    _read_config,
    more_rules=(
        KeyRule(f"{LLAMA.blocks}self_attn.sinks", "blocks.attention.sinks"),
        *expert_rules("mlp", "router", transpose=False),
    ),
)
