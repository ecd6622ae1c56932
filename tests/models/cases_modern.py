"""Parity cases of encoders with rotary positions beside ModernBERT."""

from tests.models.cases_decoders import SIZES, YARN, Cases, cases

_BERT = {k: v for k, v in SIZES.items() if k not in ("bos_token_id", "eos_token_id")}
_BERT |= {"vocab_size": 120, "tokenizer": "wordpiece"}

CASES: Cases = {
    **cases(
        "EuroBertForMaskedLM",
        {
            "eurobert": {},
            "eurobert-grouped-every-bias": {
                "num_key_value_heads": 2,
                "head_dim": 12,
                "attention_bias": True,
                "mlp_bias": True,
                "hidden_act": "gelu",
                "rms_norm_eps": 1e-2,
                "rope_parameters": YARN,
            },
        },
    ),
    **cases("NomicBertForMaskedLM", {"nomic_bert": {}}, _BERT),
    **cases(
        "NomicBertModel",
        {
            "nomic_bert-headless-wide-heads": {
                "head_dim": 12,
                "type_vocab_size": 1,
                "hidden_act": "gelu_new",
                "layer_norm_eps": 1e-2,
                "rope_parameters": {"rope_type": "default", "rope_theta": 20.0},
            },
        },
        _BERT,
    ),
}
