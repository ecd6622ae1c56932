"""Falcon: Almazrouei et al. 2023, with the forms that came before its 40B model."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig, Norms, read_common
from expertjax.models.decoder_family import PRE_NORMS, decoder_family
from expertjax.models.decoder_names import Names
from expertjax.models.rotary import NO_ROTATION, read_flat_rotary

# Hugging Face's.
_DEFAULTS = {
    "vocab_size": 65024,
    "hidden_size": 4544,
    "intermediate_size": None,
    "num_attention_heads": 71,
    "activation": "gelu",
    "tie_word_embeddings": True,
}
_NAMES = Names(
    prefix="transformer.",
    block="h.{layer}.",
    embed="word_embeddings",
    last_norm="ln_f",
    qkv="self_attention.query_key_value",
    out="self_attention.dense",
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
)
_SIDE_NORMS = {"ln_attn": "attention_side_norm", "ln_mlp": "mlp_side_norm"}


def _read_config(reader: ConfigReader) -> DecoderConfig:
    reader.rename(ffn_hidden_size="intermediate_size", n_embed="hidden_size")
    reader.rename(num_kv_heads="num_key_value_heads")
    reader.ignore("hidden_dropout")
    reader.only("apply_residual_connection_post_layernorm", False)
    common = read_common(
        reader,
        _DEFAULTS,
        activation="activation",
        epsilon="layer_norm_epsilon",
        whole_heads=True,
    )
    new = reader.take("new_decoder_architecture", False)
    if reader.take("multi_query", True) and not new:
        common["num_kv_heads"] = 1
    elif not new:
        common["num_kv_heads"] = common["num_heads"]
    alibi = reader.take("alibi", False)
    rotary = read_flat_rotary(reader, common["head_width"], longest=2048)
    bias = reader.take("bias", False)
    return DecoderConfig(
        **common,
        rotary=NO_ROTATION if alibi else rotary,
        alibi=alibi,
        qkv="by group",
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        gated=False,
        norms=_read_norms(reader, new),
        norm_kind="layer",
        norm_bias=True,
        names=_NAMES,
    )


def _read_norms(reader: ConfigReader, new: bool) -> Norms:
    parallel = reader.take("parallel_attn", True)
    count = reader.take("num_ln_in_parallel_attn", None, int) or (2 if new else 1)
    fits = (parallel or not new) and count in ((1, 2) if new else (1,))
    reader.require(
        fits,
        f"num_ln_in_parallel_attn={count}, parallel_attn={parallel} and "
        f"new_decoder_architecture={new} do not go together",
    )
    if not parallel:
        return "pre"
    return "parallel" if count == 2 else "shared"


FAMILY = decoder_family(
    "falcon", _read_config, norms=PRE_NORMS | _SIDE_NORMS, names=_NAMES
)
