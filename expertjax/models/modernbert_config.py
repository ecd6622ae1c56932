"""The config of ModernBERT, as `transformers` reads it."""

import dataclasses

from expertjax.models.configs import ConfigReader
from expertjax.models.layers import ACTIVATIONS
from expertjax.models.rotary import KINDS, RotaryConfig, read_rotary
from expertjax.models.task_heads import has_task_head

_LOCAL, _GLOBAL = "sliding_attention", "full_attention"
# Those whose frequencies do not depend on the length of the input.
_ROPE_KINDS = {name: KINDS[name] for name in ("default", "linear", "llama3", "yarn")}


@dataclasses.dataclass(frozen=True)
class ModernBertConfig:
    """Architecture of one ModernBERT."""

    vocab_size: int
    width: int  # D
    num_layers: int  # L
    num_heads: int  # H
    mlp_width: int  # after gating
    activation: str
    norm_epsilon: float
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool
    is_local: tuple[bool, ...]  # [L]: does the layer see a window only?
    window: int  # keys less than this many positions away
    local_rotary: RotaryConfig
    global_rotary: RotaryConfig
    masked_lm_head: bool
    head_activation: str
    head_bias: bool
    decoder_bias: bool
    tie_embeddings: bool


def read_modernbert_config(reader: ConfigReader) -> ModernBertConfig:
    """Reads it; see `Family`."""
    reader.ignore("attention_dropout", "embedding_dropout", "mlp_dropout")
    # How it is initialised and trained, and what its classifiers do.
    reader.ignore("initializer_cutoff_factor", "sparse_prediction", "cls_token_id")
    reader.ignore("sparse_pred_ignore_index", "classifier_pooling")
    reader.ignore("deterministic_flash_attn", "reference_compile")
    reader.ignore("repad_logits_with_grad")
    # Published configs have these two, which transformers does not read.
    reader.ignore("layer_norm_eps", "position_embedding_type")
    width = reader.take("hidden_size", 768)
    num_layers = reader.take("num_hidden_layers", 22)
    num_heads = reader.take("num_attention_heads", 12)
    reader.require(
        width % num_heads == 0,
        f"hidden_size={width} is not a multiple of num_attention_heads={num_heads}",
    )
    # Else no tensor would fill the norm that layer 0 lacks.
    reader.require(num_layers > 1, "num_hidden_layers=1 is not implemented")
    local, whole = _read_rotary(reader, width // num_heads)
    has_head = "head.dense.weight" in reader.keys
    return ModernBertConfig(
        vocab_size=reader.take("vocab_size", 50368),
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_width=reader.take("intermediate_size", 1152),
        activation=reader.choose("hidden_activation", "gelu", ACTIVATIONS),
        norm_epsilon=reader.take("norm_eps", 1e-5),
        norm_bias=reader.take("norm_bias", False),
        attention_bias=reader.take("attention_bias", False),
        mlp_bias=reader.take("mlp_bias", False),
        is_local=_read_locality(reader, num_layers),
        # Of the whole window half is on either side, its end included.
        window=reader.take("local_attention", 128) // 2 + 1,
        local_rotary=local,
        global_rotary=whole,
        # The heads of other tasks begin in the same way.
        masked_lm_head=has_head and not has_task_head(reader.keys),
        head_activation=reader.choose("classifier_activation", "gelu", ACTIVATIONS),
        head_bias=reader.take("classifier_bias", False),
        decoder_bias=reader.take("decoder_bias", True),
        tie_embeddings=reader.take("tie_word_embeddings", True),
    )


def _read_rotary(
    reader: ConfigReader, head_width: int
) -> tuple[RotaryConfig, RotaryConfig]:
    """Of local and of global layers."""
    longest = reader.take("max_position_embeddings", 8192)
    reader.only("rope_scaling", None)
    rope = reader.nested("rope_parameters")
    thetas = {
        _LOCAL: reader.take("local_rope_theta", 1e4),
        _GLOBAL: reader.take("global_rope_theta", 1.6e5),
    }
    local, whole = (
        read_rotary(
            rope.nested(kind),
            head_width,
            longest=longest,
            theta=theta,
            kinds=_ROPE_KINDS,
        )
        for kind, theta in thetas.items()
    )
    return local, whole


def _read_locality(reader: ConfigReader, num_layers: int) -> tuple[bool, ...]:
    """[L] from `layer_types` or, as it was said before, from a distance."""
    every = reader.take("global_attn_every_n_layers", 3)
    kinds = reader.take("layer_types", None, list)
    if kinds is None:
        return tuple(layer % every > 0 for layer in range(num_layers))
    known = len(kinds) == num_layers and set(kinds) <= {_LOCAL, _GLOBAL}
    reader.require(
        known,
        f"layer_types={kinds!r} should have {_LOCAL!r} or {_GLOBAL!r} for each of "
        f"{num_layers} layers",
    )
    return tuple(kind == _LOCAL for kind in kinds) if known else (False,) * num_layers
