"""What the families of `encoder.py` say about themselves in the same way."""

from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.encoder import EncoderConfig, Names
from expertjax.models.family import KeyRule, rules_for
from expertjax.models.layers import ACTIVATIONS
from expertjax.models.sites import Site, sites_of


def read_sizes(reader: ConfigReader, defaults: EncoderConfig) -> dict[str, Any]:
    """The fields that most of these families read from the same attributes.

    Args:
      reader: of the config.
      defaults: those of Hugging Face's config class.
    """
    reader.only("position_embedding_type", "absolute")
    reader.ignore("attention_probs_dropout_prob", "hidden_dropout_prob")
    width = reader.take("hidden_size", defaults.width)
    num_heads = reader.take("num_attention_heads", defaults.num_heads)
    reader.require(
        width % num_heads == 0,
        f"hidden_size={width} is not a multiple of num_attention_heads={num_heads}",
    )
    return {
        "vocab_size": reader.take("vocab_size", defaults.vocab_size),
        "width": width,
        "embed_width": width,
        "num_layers": reader.take("num_hidden_layers", defaults.num_layers),
        "num_heads": num_heads,
        "mlp_width": reader.take("intermediate_size", defaults.mlp_width),
        "activation": reader.choose("hidden_act", defaults.activation, ACTIVATIONS),
        "layer_norm_epsilon": reader.take(
            "layer_norm_eps", defaults.layer_norm_epsilon
        ),
        "tie_embeddings": reader.take("tie_word_embeddings", True),
    }


def read_positions(reader: ConfigReader, first: int) -> dict[str, Any]:
    """The fields of a position table whose first rows stand for no token.

    Args:
      reader: of the config.
      first: the row of a sentence's first token.
    """
    rows = reader.take("max_position_embeddings", 512)
    reader.require(
        rows > first,
        f"max_position_embeddings={rows} leaves no row for a sentence, whose first "
        f"token has row {first}",
    )
    return {"first_position": first, "max_positions": max(rows - first, 1)}


def encoder_sites(block: str, config: EncoderConfig) -> tuple[Site, ...]:
    """The sites of a block.

    Args:
      block: its torch module, as in `sites_of`.
      config: has their names and widths.
    """
    d, f, names = config.width, config.mlp_width, config.names
    widths = {
        names.query: d,
        names.key: d,
        names.value: d,
        names.attention_dense + ":input": d,
        names.attention_dense: d,
        names.intermediate_dense: f,
        names.output_dense + ":input": f,
        names.output_dense: d,
        ":residual": d,
    }
    return sites_of(block, widths, config.share)


def embedding_rules(prefix: str, *tables: str) -> tuple[KeyRule, ...]:
    """The rules of "word", "position" and, maybe, "token_type", and of the norm."""
    return (
        *(
            KeyRule(
                f"{prefix}{table}_embeddings.weight",
                f"{table.removeprefix('token_')}.embedding",
            )
            for table in ("word", "position", *tables)
        ),
        *rules_for(prefix, {"LayerNorm": ("norm", "norm")}),
    )


def block_rules(block: str, names: Names) -> tuple[KeyRule, ...]:
    """The rules of all layers of a block."""
    return rules_for(
        block,
        {
            module: (f"blocks.{ours}", "norm" if ours.endswith("_norm") else "linear")
            for ours, module in names._asdict().items()
        },
    )


def head_rules(
    prefix: str, dense: str = "dense", norm: str = "LayerNorm"
) -> tuple[KeyRule, ...]:
    """The rules of a masked language model head with `bias` and `decoder`.

    Args:
      prefix: of the head, with a dot.
      dense: torch module of the transform.
      norm: of its norm.
    """
    decoder = prefix + "decoder."
    return (
        *rules_for(prefix, {dense: ("head.dense", "linear")}),
        *rules_for(prefix, {norm: ("head.norm", "norm")}),
        # Without tying, torch leaves this one unused and has a second.
        KeyRule(prefix + "bias", "head.bias", optional=True),
        KeyRule(
            decoder + "bias", "head.decoder.bias", optional=True, equals="head.bias"
        ),
        tied_decoder(decoder + "weight"),
    )


def tied_decoder(key: str) -> KeyRule:
    """The rule of an output layer that may be the word embeddings again."""
    return KeyRule(
        key,
        "head.decoder.kernel",
        transpose=True,
        optional=True,
        equals="word.embedding",
    )
