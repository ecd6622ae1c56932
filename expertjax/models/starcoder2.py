"""StarCoder2: Lozhkov et al. 2024. LayerNorms, grouped queries and a plain MLP."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.decoder_names import Names
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 49152,
    "hidden_size": 3072,
    "intermediate_size": 12288,
    "num_hidden_layers": 30,
    "num_attention_heads": 24,
    "num_key_value_heads": 2,
    "hidden_act": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}
_NAMES = Names(up="mlp.c_fc", down="mlp.c_proj")


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.ignore("residual_dropout", "embedding_dropout")
    common = read_common(reader, _DEFAULTS, epsilon="norm_epsilon")
    window = reader.take("sliding_window", None, int)
    reader.only("layer_types", None)
    by_default = (window is not None,) * common["num_layers"]
    bias = reader.take("use_bias", True)
    return DecoderConfig(
        **common,
        **read_sliding(reader, window, by_default),
        rotary=read_flat_rotary(reader, common["head_width"], longest=4096),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        gated=False,
        norm_kind="layer",
        norm_bias=True,
        names=_NAMES,
    )


FAMILY = decoder_family("starcoder2", _read_config, names=_NAMES)
