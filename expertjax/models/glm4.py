"""GLM-4 of 2025 (0414): GLM Team. Norms on both sides, neighbours rotated in pairs."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 151552,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "rms_norm_eps": 1.5625e-7,
}
_NORMS = {
    "input_layernorm": "attention_pre_norm",
    "post_self_attn_layernorm": "attention_post_norm",
    "post_attention_layernorm": "mlp_pre_norm",
    "post_mlp_layernorm": "mlp_post_norm",
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, _DEFAULTS)
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(
            reader, common["head_width"], longest=131072, share=0.5, interleaved=True
        ),
        qkv_bias=reader.take("attention_bias", True),
        fused_gates=True,
        norms="both",
    )


FAMILY = decoder_family("glm4", _read_config, norms=_NORMS)
