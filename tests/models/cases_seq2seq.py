"""Parity cases of encoder-decoders, read with either."""

from typing import Any

from tests.models.cases_decoders import Cases

_T5 = {
    "vocab_size": 270,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 48,
    "num_layers": 3,
    "num_heads": 4,
    # So that sentences of 12 tokens reach the last buckets.
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 9,
    "decoder_start_token_id": 0,
}
_GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_BART = {
    "vocab_size": 270,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}

CASES: Cases = {
    "t5": (
        "T5ForConditionalGeneration",
        _T5 | {"feed_forward_proj": "gated-silu", "layer_norm_epsilon": 1e-2},
    ),
    "t5-decoder": ("T5ForConditionalGeneration", _T5 | {"num_decoder_layers": 2}),
    "t5-decoder-gated-unscaled": ("T5ForConditionalGeneration", _T5 | _GATED),
    "mt5": ("MT5EncoderModel", _T5 | {"num_heads": 2}),
    "mt5-decoder": ("MT5ForConditionalGeneration", _T5),
    "bart": ("BartModel", _BART | {"activation_function": "relu"}),
    "bart-decoder-scaled": (
        "BartForConditionalGeneration",
        _BART | {"scale_embedding": True, "decoder_start_token_id": 5},
    ),
}


def _options(name: str, architecture: str) -> dict[str, Any]:
    """Their models take no positions."""
    options: dict[str, Any] = {"explicit": False}
    if "Encoder" not in architecture:
        options["read_with"] = "decoder" if "decoder" in name else "encoder"
    if name.startswith("bart"):
        options["sides"] = ("right",)
        options["wrong"] = (
            "positions count from the row's beginning, and no others can be given; "
            "compared where padding is on the right"
        )
    return options


OPTIONS = {
    name: _options(name, architecture) for name, (architecture, _) in CASES.items()
}
