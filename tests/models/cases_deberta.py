"""Parity cases of encoders with disentangled attention."""

from tests.models.cases_decoders import Cases
from tests.models.cases_encoders import SIZES

_SIZES = SIZES | {"type_vocab_size": 0, "relative_attention": True}
# Of version 3; its buckets are fewer than its distances.
_THREE = _SIZES | {
    "position_buckets": 6,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
}

CASES: Cases = {
    "deberta-v2": ("DebertaV2ForMaskedLM", _THREE | {"legacy": False}),
    "deberta-v2-convolution-own-projections": (
        "DebertaV2ForMaskedLM",
        _SIZES
        | {
            "type_vocab_size": 2,
            "pos_att_type": ["c2p", "p2c"],
            "max_relative_positions": 4,
            "embedding_size": 24,
            "conv_kernel_size": 3,
            "conv_groups": 2,
            "conv_act": "gelu",
            "layer_norm_eps": 1e-2,
            "tie_word_embeddings": False,
        },
    ),
    "deberta-v2-headless-c2p": (
        "DebertaV2Model",
        _THREE | {"norm_rel_ebd": "none", "pos_att_type": ["c2p"]},
    ),
    "deberta": (
        "DebertaForMaskedLM",
        _SIZES | {"pos_att_type": "c2p|p2c", "position_biased_input": False},
    ),
    "deberta-classifier-no-distances": (
        "DebertaForSequenceClassification",
        SIZES | {"hidden_act": "relu", "pos_att_type": ["p2c"]},
    ),
}
