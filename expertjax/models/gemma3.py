"""Gemma 3, text only: Gemma Team 2025. Gemma 2 with other rotations in local layers."""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder import IGNORED, Decoder, decoder_readout, decoder_sites
from expertjax.models.decoder_config import DecoderConfig, read_sliding
from expertjax.models.family import Family
from expertjax.models.gemma2 import GEMMA_RULES, read_gemma
from expertjax.models.rotary import read_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    # Transformers reads this one but does not apply it.
    reader.only("attn_logit_softcapping", None)
    gemma = read_gemma(reader, _DEFAULTS)
    window = reader.take("sliding_window", 4096, nullable=True)
    # Every sixth layer sees everything. Configs that name the kinds of the layers
    # may repeat the old attribute under a private name.
    reader.ignore("_sliding_window_pattern")
    period = reader.take("sliding_window_pattern", 6)
    by_default = tuple((i + 1) % period != 0 for i in range(gemma["num_layers"]))
    return DecoderConfig(
        **gemma,
        **read_sliding(reader, window, by_default),
        **_read_rotaries(reader, gemma["head_width"]),
        qk_norm="head",
        logits_softcap=reader.take(
            "final_logit_softcapping", None, float, nullable=True
        ),
    )


def _read_rotaries(reader: ConfigReader, head_width: int) -> dict[str, Any]:
    """Today's settings by kind of layer, or those of old, which scale one kind."""
    by_kind = reader.nested("rope_parameters")
    full, local = (
        by_kind.nested(name) for name in ("full_attention", "sliding_attention")
    )
    scaling = reader.nested("rope_scaling")
    # Where both say something, the one that is not read is reported.
    full = full if scaling.is_empty else scaling
    longest = reader.take("max_position_embeddings", 131072)
    theta = reader.take("rope_theta", 1e6, float)
    local_theta = reader.take("rope_local_base_freq", 1e4, float)
    return {
        "rotary": read_rotary(full, head_width, longest=longest, theta=theta),
        "local_rotary": read_rotary(
            local, head_width, longest=longest, theta=local_theta
        ),
    }


FAMILY = Family(
    name="gemma3",
    model_types=("gemma3_text",),
    causal=True,
    read_config=_read_config,
    build=Decoder,
    sites=decoder_sites,
    readout=decoder_readout,
    prefix="model.",
    rules=GEMMA_RULES,
    ignored=IGNORED,
)
