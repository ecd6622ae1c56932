"""The options of `decoder.py`, and what its families' configs have in common."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from flax import nnx

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_names import LLAMA, Names
from expertjax.models.experts import ExpertsConfig
from expertjax.models.layers import ACTIVATIONS, LayerNorm, RMSNorm
from expertjax.models.rotary import RotaryConfig

# Before attention and MLP, on what they add, or both; or on the stream "after" it was
# added; or before the two side by side, which read the same stream ("parallel"), by one
# norm if it is "shared".
Norms = Literal["pre", "post", "both", "after", "parallel", "shared"]
QKV = Literal["apart", "kept together", "side by side", "by group"]

# Hugging Face's, of most of these families.
_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Architecture of one decoder; the defaults are Llama's choices."""

    vocab_size: int
    width: int  # D
    num_layers: int  # L
    num_heads: int  # H
    num_kv_heads: int  # G
    head_width: int  # K
    mlp_width: int
    activation: str
    norm_epsilon: float
    rotary: RotaryConfig
    tie_embeddings: bool
    lm_head: bool  # does the checkpoint have one, tied or its own?

    causal: bool = True  # a token sees none that stands behind it

    # Some layers may see only the last tokens. They rotate as the others do
    # unless `local_rotary` says how.
    window: int | None = None
    sliding: tuple[bool, ...] = ()  # [L]; () if none does
    local_rotary: RotaryConfig | None = None
    unrotated: tuple[bool, ...] = ()  # [L]: layers that know no positions; () if none
    alibi: bool = False  # distances as biases of the scores (Press et al. 2022)
    learned_positions: int | None = None  # how many are added to the embeddings

    qkv_bias: bool = False
    out_bias: bool = False  # of the attention's output projection
    mlp_bias: bool = False
    # Queries, keys and values are layers apart, whose weights checkpoints may keep
    # together, or one layer, whose outputs stand side by side, or group by group: the
    # queries that share a key, that key, its value.
    qkv: QKV = "apart"
    qkv_clip: float | None = None  # beyond which all three are cut off
    gated: bool = True  # or the MLP is down(activation(up(x)))
    fused_gates: bool = False  # gate and up are one linear layer
    experts: ExpertsConfig | None = None  # in place of the MLP
    # Over all heads at once, or each head, with one scale or "each" with its own.
    qk_norm: Literal["all", "head", "each", None] = None
    query_scale: float | None = None  # K ** -0.5 unless given
    sinks: bool = False  # a score of each head's own, for attending to nothing

    norms: Norms = "pre"
    norm_kind: Literal["rms", "layer"] = "rms"
    norm_scale: bool = True  # LayerNorms may do without
    norm_bias: bool = False
    norm_plus_one: bool = False  # see `RMSNorm`
    norm_cast_first: bool = True

    embedding_scale: float = 1.0
    residual_scale: float = 1.0  # of what attention and MLP add
    attention_softcap: float | None = None
    logits_softcap: float | None = None
    logits_scale: float = 1.0
    lm_head_bias: bool = False
    names: Names = LLAMA

    @property
    def has_post_norms(self) -> bool:
        """Are there norms on what attention and MLP add?"""
        return self.norms in ("post", "both")

    @property
    def shared_expert(self) -> "DecoderConfig | None":
        """The MLP beside the experts as one of these; None if there is none."""
        experts = self.experts
        if experts is None or experts.shared_width is None:
            return None
        parts = {n: f"{experts.shared}.{n}_proj" for n in ("gate", "up", "down")}
        names = dataclasses.replace(self.names, **parts)
        width = experts.shared_width
        return dataclasses.replace(self, experts=None, mlp_width=width, names=names)

    @property
    def max_positions(self) -> int | None:
        """The longest input whose positions are known."""
        rotaries = (self.rotary, self.local_rotary or self.rotary)
        limits = [*(r.max_positions for r in rotaries), self.learned_positions]
        return min((limit for limit in limits if limit is not None), default=None)

    def norm(self, *features: int) -> nnx.Module:
        """One of this model's norms, with a scale of that shape."""
        if self.norm_kind == "layer":
            return LayerNorm(
                features,
                self.norm_epsilon,
                use_scale=self.norm_scale,
                use_bias=self.norm_bias,
                plus_one=self.norm_plus_one,
            )
        return RMSNorm(
            features,
            self.norm_epsilon,
            plus_one=self.norm_plus_one,
            cast_first=self.norm_cast_first,
        )


def read_common(
    reader: ConfigReader,
    defaults: Mapping[str, Any],
    *,
    activation: str = "hidden_act",
    epsilon: str | float = "rms_norm_eps",
    whole_heads: bool = False,
) -> dict[str, Any]:
    """What every one of these configs says.

    Args:
      reader: of the config.
      defaults: Hugging Face's, by its names, where they are not those of most.
      activation: name of the attribute that holds it.
      epsilon: name of the attribute that holds the norms', or their epsilon itself.
      whole_heads: all heads together are as wide as the stream, and `head_dim` may
        only say so.

    Returns:
      fields of `DecoderConfig`.
    """
    defaults = _DEFAULTS | dict(defaults)
    reader.ignore("attention_dropout")
    width = reader.take("hidden_size", defaults["hidden_size"])
    num_heads = reader.take("num_attention_heads", defaults["num_attention_heads"])
    kv_heads = reader.take("num_key_value_heads", defaults["num_key_value_heads"], int)
    kv_heads = num_heads if kv_heads is None else kv_heads
    reader.require(
        num_heads % kv_heads == 0,
        f"num_attention_heads={num_heads} is not a multiple of "
        f"num_key_value_heads={kv_heads}",
    )
    head_width = reader.take("head_dim", defaults["head_dim"], int)
    if head_width is None:
        reader.require(
            width % num_heads == 0,
            f"hidden_size={width} is not a multiple of num_attention_heads={num_heads}",
        )
        head_width = width // num_heads
    elif whole_heads:
        reader.require(
            head_width * num_heads == width,
            f"head_dim={head_width} is not hidden_size={width} divided by "
            f"num_attention_heads={num_heads}",
        )
    tied = reader.take("tie_word_embeddings", defaults["tie_word_embeddings"])
    mlp_width = reader.take("intermediate_size", defaults["intermediate_size"], int)
    return {
        "vocab_size": reader.take("vocab_size", defaults["vocab_size"]),
        "num_layers": reader.take("num_hidden_layers", defaults["num_hidden_layers"]),
        "mlp_width": 4 * width if mlp_width is None else mlp_width,
        "norm_epsilon": epsilon
        if isinstance(epsilon, float)
        else reader.take(epsilon, defaults.get(epsilon, 1e-5)),
        "width": width,
        "num_heads": num_heads,
        "num_kv_heads": kv_heads,
        "head_width": head_width,
        "activation": reader.choose(
            activation, defaults.get(activation, "gelu_new"), ACTIVATIONS
        ),
        "tie_embeddings": tied,
        "lm_head": tied or "lm_head.weight" in reader.keys,
    }


def read_sliding(
    reader: ConfigReader, window: int | None, by_default: tuple[bool, ...]
) -> dict[str, Any]:
    """Which layers see only a window.

    Args:
      reader: of the config, which may name the kind of each layer.
      window: its length.
      by_default: [L], where the config does not.

    Returns:
      fields of `DecoderConfig`.
    """
    kinds = ("full_attention", "sliding_attention")
    given = reader.take("layer_types", None, list)
    sliding = by_default
    if given is not None:
        sliding = tuple(kind == kinds[1] for kind in given)
        reader.require(
            len(given) == len(by_default) and all(kind in kinds for kind in given),
            f"layer_types={given!r} should name {' or '.join(kinds)} for each of the "
            f"{len(by_default)} layers",
        )
    if not any(sliding):
        return {}
    reader.require(window is not None, "layers slide, but there is no sliding_window")
    return {"window": window, "sliding": sliding}
