"""SmolLM3 of Hugging Face, 2025: every fourth layer of a Llama knows no positions."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.ignore("max_window_layers", "pretraining_tp")
    common = read_common(reader, _DEFAULTS)
    unrotated = _read_unrotated(reader, common["num_layers"])
    window = reader.take("sliding_window", None, int)
    if not reader.take("use_sliding_window", False):
        window = None
    by_default = tuple(window is not None and here for here in unrotated)
    bias = reader.take("attention_bias", False)
    return DecoderConfig(
        **common,
        **read_sliding(reader, window, by_default),
        rotary=read_flat_rotary(reader, common["head_width"], longest=32768, theta=2e6),
        unrotated=unrotated,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=reader.take("mlp_bias", False),
    )


def _read_unrotated(reader: ConfigReader, num_layers: int) -> tuple[bool, ...]:
    period = reader.take("no_rope_layer_interval", 4)
    rotated = reader.take("no_rope_layers", None, list)
    if rotated is None:
        return tuple((layer + 1) % period == 0 for layer in range(num_layers))
    reader.require(
        len(rotated) >= num_layers and all(each in (0, 1) for each in rotated),
        f"no_rope_layers={rotated!r} should be 0 or 1 for each of {num_layers} layers",
    )
    return tuple(not each for each in rotated[:num_layers])


FAMILY = decoder_family("smollm3", _read_config)
