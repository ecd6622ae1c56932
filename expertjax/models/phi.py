"""Phi-1, 1.5 and 2: Gunasekar et al. 2023. GPT-J, rotated as GPT-NeoX is."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.decoder_names import Names
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 51200,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "hidden_act": "gelu_new",
}
_NAMES = Names(
    last_norm="final_layernorm",
    out="self_attn.dense",
    q_norm="self_attn.q_layernorm",
    k_norm="self_attn.k_layernorm",
    up="mlp.fc1",
    down="mlp.fc2",
)


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.ignore("resid_pdrop", "embd_pdrop")
    common = read_common(reader, _DEFAULTS, epsilon="layer_norm_eps", whole_heads=True)
    return DecoderConfig(
        **common | {"lm_head": "lm_head.bias" in reader.keys},
        rotary=read_flat_rotary(reader, common["head_width"], longest=2048, share=0.5),
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        gated=False,
        qk_norm="head" if reader.take("qk_layernorm", False) else None,
        norms="shared",
        norm_kind="layer",
        norm_bias=True,
        lm_head_bias=True,
        names=_NAMES,
    )


FAMILY = decoder_family(
    "phi",
    _read_config,
    norms={"input_layernorm": "attention_pre_norm"},
    names=_NAMES,
)
