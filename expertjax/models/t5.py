"""T5: Raffel et al. 2020; mT5: Xue et al. 2021; Flan-T5 is a T5 by its config."""

import dataclasses
from typing import Any

from flax import nnx

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.decoder_names import Names
from expertjax.models.edits import Tap
from expertjax.models.family import KeyRule
from expertjax.models.layers import ACTIVATIONS, activation
from expertjax.models.rotary import NO_ROTATION
from expertjax.models.seq2seq import Seq2SeqConfig, read_start
from expertjax.models.seq2seq_family import seq2seq_family, stack_rules
from expertjax.typing import Array


def _names(stack: str, attention: str, mlp: int, gated: bool = True) -> Names:
    dense = f"layer.{mlp}.DenseReluDense."
    return Names(
        prefix=f"{stack}.",
        block="block.{layer}.",
        last_norm="final_layer_norm",
        **{name: f"layer.{attention}.{name}" for name in ("q", "k", "v")},
        out=f"layer.{attention}.o",
        gate=dense + "wi_0",
        up=dense + ("wi_1" if gated else "wi"),
        down=dense + "wo",
    )


_SELF, _CROSS = "0.SelfAttention", "1.EncDecAttention"
# Hugging Face's, by `model_type`.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "t5": {"vocab_size": 32128, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
    | {"feed_forward_proj": "relu"},
    "mt5": {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6}
    | {"feed_forward_proj": "gated-gelu"},
}


@dataclasses.dataclass(frozen=True)
class T5Config(Seq2SeqConfig):
    """Architecture of one T5."""

    def mlp(self, stack: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> Any:
        """That without gates has a layer of its own name."""
        return None if stack.gated else DenseReluDense(stack, rngs, dtype)


class DenseReluDense(nnx.Module):
    """down(activation(wi(x)))."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f = config.width, config.mlp_width
        self.wi = nnx.Linear(d, f, use_bias=False, dtype=dtype, rngs=rngs)
        self.down_proj = nnx.Linear(f, d, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, x_BxTxD: Array, tap: Tap) -> Array:
        """[B, T, D]: what the MLP adds to the residual stream."""
        names = self.config.names
        hidden = tap(names.up, self.wi(x_BxTxD))
        hidden = activation(self.config.activation)(hidden)
        hidden = tap(f"{names.down}:input", hidden)
        return tap(names.down, self.down_proj(hidden))


def _read_config(reader: ConfigReader) -> T5Config:
    defaults = _DEFAULTS[reader.model_type]
    reader.rename(hidden_size="d_model", num_attention_heads="num_heads")
    reader.rename(num_hidden_layers="num_layers", head_dim="d_kv")
    # Training, the length it was done at, and what `feed_forward_proj` says already.
    reader.ignore("dropout_rate", "initializer_factor", "n_positions")
    reader.ignore("dense_act_fn", "is_gated_act")
    num_layers = reader.take("num_layers", defaults["num_layers"])
    num_heads = reader.take("num_heads", defaults["num_heads"])
    gated, bend = _read_mlp(reader, defaults["feed_forward_proj"])
    tied = reader.take("tie_word_embeddings", True)
    width = reader.take("d_model", 512)
    scaled = reader.take("scale_decoder_outputs", tied) and reader.model_type == "t5"
    encoder = DecoderConfig(
        vocab_size=reader.take("vocab_size", defaults["vocab_size"]),
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_width=reader.take("d_kv", 64),
        mlp_width=reader.take("d_ff", defaults["d_ff"]),
        activation=bend,
        gated=gated,
        norm_epsilon=reader.take("layer_norm_epsilon", 1e-6),
        rotary=NO_ROTATION,
        query_scale=1.0,
        causal=False,
        tie_embeddings=tied or "lm_head.weight" not in reader.keys,
        lm_head=True,
        logits_scale=width**-0.5 if scaled else 1.0,
        names=_names("encoder", _SELF, 1, gated),
    )
    decoder_layers = reader.take("num_decoder_layers", None, int)
    buckets = reader.take("relative_attention_num_buckets", 32)
    reader.require(buckets >= 4, f"relative_attention_num_buckets={buckets} is below 4")
    return T5Config(
        encoder=encoder,
        decoder=dataclasses.replace(
            encoder,
            num_layers=num_layers if decoder_layers is None else decoder_layers,
            causal=True,
            names=_names("decoder", _SELF, 2, gated),
        ),
        cross=_names("decoder", _CROSS, 2, gated),
        num_buckets=max(buckets, 4),
        max_distance=reader.take("relative_attention_max_distance", 128),
        **read_start(reader, 0),
    )


def _read_mlp(reader: ConfigReader, default: str) -> tuple[bool, str]:
    """Is it gated, and by which activation?"""
    said = reader.take("feed_forward_proj", default)
    bend = said.removeprefix("gated-")
    # transformers takes this one name for another function.
    bend = "gelu_new" if said == "gated-gelu" else bend
    if bend not in ACTIVATIONS:
        reader.require(False, f"feed_forward_proj={said!r} is not implemented")
        bend = "relu"
    return said.startswith("gated-"), bend


_BIAS = {
    f"block.0.layer.{_SELF}.relative_attention_bias.weight": "distance.embedding",
}


def _rules(stack: str, mlp: int) -> tuple[KeyRule, ...]:
    norms = {"layer.0.layer_norm": "attention_pre_norm"}
    norms |= {f"layer.{mlp}.layer_norm": "mlp_pre_norm"}
    if stack == "decoder":
        norms |= {"layer.1.layer_norm": "cross_pre_norm"}
    names = _names(stack, _SELF, mlp)
    cross = _names(stack, _CROSS, mlp) if stack == "decoder" else None
    wi = KeyRule(
        f"{names.blocks}layer.{mlp}.DenseReluDense.wi.weight",
        f"{stack}.blocks.mlp.wi.kernel",
        transpose=True,
        optional=stack == "decoder",
    )
    return (*stack_rules(stack, names, norms, _BIAS, cross), wi)


FAMILY = seq2seq_family(
    "t5",
    _read_config,
    (*_rules("encoder", 1), *_rules("decoder", 2)),
    model_types=("t5", "mt5"),
    task_prefix="transformer.",  # of classes of sentence tasks
    # Early checkpoints have it, and nothing has ever read it.
    ignored=(f"decoder.block.0.layer.{_CROSS}.relative_attention_bias.weight",),
)
