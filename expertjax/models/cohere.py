"""Command R and R7B of Cohere, 2024: attention and MLP side by side behind one norm."""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_common, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.rotary import read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "tie_word_embeddings": True,
}
_THETAS = {"cohere": 5e5, "cohere2": 1e4}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    second = reader.model_type == "cohere2"
    common = read_common(
        reader, _DEFAULTS, epsilon="layer_norm_eps", whole_heads=second
    )
    rotary = read_flat_rotary(
        reader,
        common["head_width"],
        longest=8192,
        theta=_THETAS[reader.model_type],
        interleaved=True,
    )
    normed = not second and reader.take("use_qk_norm", False)
    bias = reader.take("attention_bias", False)
    return DecoderConfig(
        **common,
        **(_read_layers(reader, common["num_layers"]) if second else {}),
        rotary=rotary,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="each" if normed else None,
        norms="shared",
        norm_kind="layer",
        logits_scale=reader.take("logit_scale", 0.0625, float),
    )


def _read_layers(reader: ConfigReader, num_layers: int) -> dict[str, Any]:
    """Layers that see a window are rotated, the others know no positions."""
    # What the authors' configs say besides, at the values that transformers computes.
    period = reader.take("sliding_window_pattern", 4)
    reader.only("layer_switch", period)
    reader.only("order_of_interleaved_layers", "local_attn_first")
    reader.only("position_embedding_type", "rope_gptj")
    reader.only("rotary_pct", 1.0)
    for part in ("embedding_sharing", "gated_activation", "parallel_block"):
        reader.only(f"use_{part}", True)
    reader.only("use_qk_norm", False)
    reader.ignore("use_parallel_embedding", "_sliding_window_pattern")
    window = reader.take("sliding_window", 4096, nullable=True)
    by_default = tuple((layer + 1) % period != 0 for layer in range(num_layers))
    found = read_sliding(reader, window, by_default)
    sliding = found.get("sliding", (False,) * num_layers)
    return found | {"unrotated": tuple(not here for here in sliding)}


FAMILY = decoder_family(
    "cohere",
    _read_config,
    model_types=tuple(_THETAS),
    norms={"input_layernorm": "attention_pre_norm"},
)
