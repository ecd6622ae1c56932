"""The options of `decoder.py`, and what its families' configs have in common."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from expertjax.models.configs import ConfigReader
from expertjax.models.experts import ExpertsConfig
from expertjax.models.layers import ACTIVATIONS, RMSNorm
from expertjax.models.rotary import RotaryConfig

Norms = Literal["pre", "post", "both"]


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

    # Some layers may see only the last tokens. They rotate as the others do
    # unless `local_rotary` says how.
    window: int | None = None
    sliding: tuple[bool, ...] = ()  # [L]; () if none does
    local_rotary: RotaryConfig | None = None

    qkv_bias: bool = False
    out_bias: bool = False  # of the attention's output projection
    mlp_bias: bool = False
    fused: bool = False  # q, k and v are one linear layer; so are gate and up
    qk_norm: Literal["head", "all", None] = None  # over each head, or all at once
    qkv_clip: float | None = None  # beyond which all three are cut off, after norms
    query_scale: float | None = None  # K ** -0.5 unless given

    norms: Norms = "pre"  # before attention and MLP, or on what they add
    norm_plus_one: bool = False  # see `RMSNorm`
    norm_cast_first: bool = True

    experts: ExpertsConfig | None = None  # in place of the MLP

    scale_embeddings: bool = False  # by sqrt(D)
    embedding_scale: float = 1.0
    residual_scale: float = 1.0  # of what attention and MLP add
    logits_scale: float = 1.0
    attention_softcap: float | None = None
    logits_softcap: float | None = None

    @property
    def max_positions(self) -> int | None:
        """The longest input whose rotations are known."""
        rotaries = (self.rotary, self.local_rotary or self.rotary)
        limits = [r.max_positions for r in rotaries if r.max_positions is not None]
        return min(limits, default=None)

    def norm(self, features: int) -> RMSNorm:
        """One of this model's norms."""
        return RMSNorm(
            features,
            self.norm_epsilon,
            plus_one=self.norm_plus_one,
            cast_first=self.norm_cast_first,
        )


def read_common(
    reader: ConfigReader, defaults: Mapping[str, Any], *, activation: str = "hidden_act"
) -> dict[str, Any]:
    """What every one of these configs says.

    Args:
      reader: of the config.
      defaults: Hugging Face's, by its names.
      activation: name of the attribute that holds it.

    Returns:
      fields of `DecoderConfig`.
    """
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
    tied = reader.take("tie_word_embeddings", defaults["tie_word_embeddings"])
    names = {
        "vocab_size": "vocab_size",
        "num_layers": "num_hidden_layers",
        "mlp_width": "intermediate_size",
        "norm_epsilon": "rms_norm_eps",
    }
    return {ours: reader.take(name, defaults[name]) for ours, name in names.items()} | {
        "width": width,
        "num_heads": num_heads,
        "num_kv_heads": kv_heads,
        "head_width": head_width,
        "activation": reader.choose(activation, defaults[activation], ACTIVATIONS),
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
