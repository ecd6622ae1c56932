"""OLMo: Groeneveld et al. 2024. Llama with LayerNorms that have no parameters."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, {"vocab_size": 50304}, epsilon=1e-5)
    bias = reader.take("attention_bias", False)
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=2048),
        qkv_clip=reader.take("clip_qkv", None, float),
        qkv_bias=bias,
        out_bias=bias,
        norm_kind="layer",
        norm_scale=False,
    )


FAMILY = decoder_family("olmo", _read_config, norms={})
