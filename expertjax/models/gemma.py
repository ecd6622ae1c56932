"""Gemma: Gemma Team 2024. Llama with wide heads, scaled embeddings and tanh's GELU."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.only("use_bidirectional_attention", None, False)
    # Some configs say by this name what they meant by the other.
    reader.only("hidden_activation", "gelu_pytorch_tanh", None)
    common = read_common(reader, _DEFAULTS)
    if common["activation"] == "gelu":  # of the first checkpoints, trained with tanh's
        common["activation"] = "gelu_pytorch_tanh"
    bias = reader.take("attention_bias", False)
    return DecoderConfig(
        **common,
        rotary=read_flat_rotary(reader, common["head_width"], longest=8192),
        qkv_bias=bias,
        out_bias=bias,
        norm_plus_one=True,
        norm_cast_first=False,
        embedding_scale=common["width"] ** 0.5,
    )


FAMILY = decoder_family("gemma", _read_config)
