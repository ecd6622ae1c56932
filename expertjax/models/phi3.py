"""Phi-3 and Phi-4: Abdin et al. 2024. Projections of one input are fused."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder import (
    IGNORED,
    Decoder,
    decoder_readout,
    decoder_rules,
    decoder_sites,
)
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.family import Family
from expertjax.models.rotary import KINDS, RotaryConfig, read_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
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
        fused=True,
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


FAMILY = Family(
    name="phi3",
    model_types=("phi3",),
    causal=True,
    read_config=_read_config,
    build=Decoder,
    sites=decoder_sites,
    readout=decoder_readout,
    prefix="model.",
    rules=decoder_rules(
        {
            "input_layernorm": "attention_pre_norm",
            "post_attention_layernorm": "mlp_pre_norm",
        }
    ),
    ignored=IGNORED,
)
