"""StableLM 2: Bellagente et al. 2024. Llama with LayerNorms, partly rotated."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_key_value_heads": 32,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.ignore("hidden_dropout")
    reader.only("qk_layernorm", False)  # a LayerNorm of its own for each head
    common = read_common(reader, _DEFAULTS, epsilon="layer_norm_eps", whole_heads=True)
    parallel = reader.take("use_parallel_residual", False)
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=4096, share=0.25),
        qkv_bias=reader.take("use_qkv_bias", False),
        norms="shared" if parallel else "pre",
        norm_kind="layer",
        norm_bias=True,
    )


FAMILY = decoder_family("stablelm", _read_config)
