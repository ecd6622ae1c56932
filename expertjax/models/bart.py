"""BART: Lewis et al. 2020, as `transformers` defines it."""

import dataclasses
from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.decoder_names import Names
from expertjax.models.family import KeyRule
from expertjax.models.layers import ACTIVATIONS
from expertjax.models.rotary import NO_ROTATION
from expertjax.models.seq2seq import Seq2SeqConfig, read_start
from expertjax.models.seq2seq_family import seq2seq_family, stack_rules

_ENCODER = Names(
    prefix="model.encoder.", out="self_attn.out_proj", up="fc1", down="fc2"
)
_DECODER = dataclasses.replace(_ENCODER, prefix="model.decoder.")
_CROSS = dataclasses.replace(
    _DECODER,
    q="encoder_attn.q_proj",
    k="encoder_attn.k_proj",
    v="encoder_attn.v_proj",
    out="encoder_attn.out_proj",
)


def _read_config(reader: ConfigReader) -> Seq2SeqConfig:
    reader.rename(hidden_size="d_model", num_hidden_layers="encoder_layers")
    reader.rename(num_attention_heads="encoder_attention_heads")
    for name in ("add_bias_logits", "add_final_layer_norm", "normalize_before"):
        reader.only(name, False)
    reader.only("static_position_embeddings", False)
    reader.only("normalize_embedding", True)
    reader.only("extra_pos_embeddings", 2)
    # Training and generation.
    reader.ignore("dropout", "attention_dropout", "activation_dropout", "init_std")
    reader.ignore("encoder_layerdrop", "decoder_layerdrop", "classif_dropout")
    reader.ignore("force_bos_token_to_be_generated")
    width = reader.take("d_model", 1024)
    tied = reader.take("tie_word_embeddings", True)
    has_head = "final_logits_bias" in reader.keys or "lm_head.weight" in reader.keys
    encoder = DecoderConfig(
        vocab_size=reader.take("vocab_size", 50265),
        width=width,
        **_read_sizes(reader, "encoder", width),
        activation=reader.choose("activation_function", "gelu", ACTIVATIONS),
        gated=False,
        norm_epsilon=1e-5,
        norms="after",
        norm_kind="layer",
        norm_bias=True,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        rotary=NO_ROTATION,
        learned_positions=reader.take("max_position_embeddings", 1024),
        embedding_scale=width**0.5 if reader.take("scale_embedding", False) else 1.0,
        causal=False,
        tie_embeddings=tied or "lm_head.weight" not in reader.keys,
        lm_head=has_head,
        names=_ENCODER,
    )
    decoder = dataclasses.replace(
        encoder, causal=True, names=_DECODER, **_read_sizes(reader, "decoder", width)
    )
    return Seq2SeqConfig(
        encoder=encoder,
        decoder=decoder,
        cross=_CROSS,
        position_offset=2,
        embed_norm=True,
        last_norm=False,
        logits_bias="final_logits_bias" in reader.keys,
        **read_start(reader, 2),
    )


def _read_sizes(reader: ConfigReader, stack: str, width: int) -> dict[str, Any]:
    """The fields in which the stacks may differ."""
    heads = reader.take(f"{stack}_attention_heads", 16)
    reader.require(
        width % heads == 0,
        f"d_model={width} is not a multiple of {stack}_attention_heads={heads}",
    )
    return {
        "num_layers": reader.take(f"{stack}_layers", 12),
        "mlp_width": reader.take(f"{stack}_ffn_dim", 4096),
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_width": max(width // heads, 1),
    }


_NORMS = {
    "self_attn_layer_norm": "attention_post_norm",
    "final_layer_norm": "mlp_post_norm",
}
_MORE = {
    "embed_positions.weight": "position.embedding",
    "layernorm_embedding.weight": "embed_norm.scale",
    "layernorm_embedding.bias": "embed_norm.bias",
}
FAMILY = seq2seq_family(
    "bart",
    _read_config,
    (
        *stack_rules("encoder", _ENCODER, _NORMS, _MORE),
        *stack_rules(
            "decoder",
            _DECODER,
            _NORMS | {"encoder_attn_layer_norm": "cross_post_norm"},
            _MORE,
            _CROSS,
        ),
        KeyRule("final_logits_bias", "logits_bias", optional=True),
    ),
    prefix="model.",
    ignored=("model.encoder.version", "model.decoder.version"),
)
