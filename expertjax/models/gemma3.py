"""Gemma 3, text only: Gemma Team 2025. Gemma 2 with other rotations in local layers."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, read_sliding
from expertjax.models.decoder_family import decoder_family
from expertjax.models.gemma2 import GEMMA_NORMS, read_gemma
from expertjax.models.rotary import read_rotaries

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
        **read_rotaries(
            reader,
            gemma["head_width"],
            longest=131072,
            theta=reader.take("rope_theta", 1e6, float),
            local_theta=reader.take("rope_local_base_freq", 1e4, float),
        ),
        qk_norm="head",
        logits_softcap=reader.take(
            "final_logit_softcapping", None, float, nullable=True
        ),
    )


FAMILY = decoder_family(
    "gemma3", _read_config, model_types=("gemma3_text",), norms=GEMMA_NORMS
)
