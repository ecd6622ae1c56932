"""OLMo 2 and 3: OLMo Team 2024 and 2025. Norms stand behind attention and MLP."""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import POST_NORMS, decoder_family
from expertjax.models.rotary import read_flat_rotary, read_rotaries

_DEFAULTS = {"vocab_size": 50304, "rms_norm_eps": 1e-5}  # Hugging Face's


def _read_config(reader: ConfigReader) -> DecoderConfig:
    common = read_common(reader, _DEFAULTS)
    bias = reader.take("attention_bias", False)
    read_positions = _read_third if reader.model_type == "olmo3" else _read_second
    return DecoderConfig(
        **common,
        **read_positions(reader, common["head_width"], common["num_layers"]),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="all",
        norms="post",
        norm_cast_first=False,
    )


def _read_second(
    reader: ConfigReader, head_width: int, num_layers: int
) -> dict[str, Any]:
    return {"rotary": read_flat_rotary(reader, head_width, longest=2048)}


def _read_third(
    reader: ConfigReader, head_width: int, num_layers: int
) -> dict[str, Any]:
    """Three of four layers see a window; what stretches positions is for the others."""
    window = reader.take("sliding_window", 4096, nullable=True)
    by_default = tuple((layer + 1) % 4 != 0 for layer in range(num_layers))
    # Transformers would read another one for some of the layers only.
    reader.only("rope_theta", 5e5)
    return read_sliding(reader, window, by_default) | read_rotaries(
        reader, head_width, longest=2048, theta=5e5, local_theta=5e5
    )


FAMILY = decoder_family(
    "olmo2", _read_config, model_types=("olmo2", "olmo3"), norms=POST_NORMS
)
