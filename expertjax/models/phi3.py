"""Phi-3 and Phi-4: Abdin et al. 2024. Projections of one input are fused."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import KINDS, RotaryConfig, read_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "rms_norm_eps": 1e-5,
}
# LongRoPE under the names that it had in turn.
_LONG = dict.fromkeys(("longrope", "su", "yarn"), KINDS["longrope"])
_KINDS = {"default": KINDS["default"]} | _LONG


def _read_config(reader: ConfigReader) -> DecoderConfig:
    # Options that the authors' own code has, at the values that everyone uses.
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):
        reader.only(name, False)
    for name in ("full_attn_mod", "interpolate_factor"):
        reader.only(name, 1)
    reader.ignore("embd_pdrop", "resid_pdrop")
    common = read_common(reader, _DEFAULTS)
    window = reader.take("sliding_window", None, int)
    by_default = (window is not None,) * common["num_layers"]
    reader.only("layer_types", None)
    return DecoderConfig(
        **common,
        **read_sliding(reader, window, by_default),
        rotary=_read_rotary(reader, common["head_width"]),
        qkv="side by side",
        fused_gates=True,
    )


def _read_rotary(reader: ConfigReader, head_width: int) -> RotaryConfig:
    rope = reader.nested("rope_parameters", "rope_scaling")
    share = reader.take("partial_rotary_factor", 1.0, float)
    share = rope.take("partial_rotary_factor", share, float)
    return read_rotary(
        rope,
        int(head_width * share),
        longest=reader.take("max_position_embeddings", 4096),
        theta=reader.take("rope_theta", 1e4, float),
        original=reader.take("original_max_position_embeddings", 4096),
        kinds=_KINDS,
    )


FAMILY = decoder_family("phi3", _read_config)
