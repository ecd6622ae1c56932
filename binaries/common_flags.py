"""Flags that several programs share, and the settings they make."""

import dataclasses
from typing import TypeVar

from absl import flags

FLAGS = flags.FLAGS
Settings = TypeVar("Settings")


def define_capture_flags() -> None:
    """Flags of the programs that run models; one for each capture setting."""
    flags.DEFINE_multi_string(
        "model",
        None,
        "A Hugging Face folder, a hub id (name@revision), a .gguf file, a converted "
        "folder, or a folder of step-*/checkpoint-* folders; repeatable.",
        required=True,
    )
    flags.DEFINE_multi_string(
        "model_name", [], "Name of each model; by default that of its folder."
    )
    flags.DEFINE_string("concepts", None, "Concept folder.", required=True)
    flags.DEFINE_string("out", None, "Results go to OUT/<model_name>.", required=True)
    flags.DEFINE_integer("seq_len", 128, "The most tokens of a sentence.")
    flags.DEFINE_integer(
        "num_per_concept", 1000, "The most positives, and negatives, of a concept."
    )
    flags.DEFINE_integer("data_seed", 1234, "Seed of drawing sentences.")
    flags.DEFINE_enum(
        "pooling", "max", ["max", "mean", "last"], "How tokens make a response."
    )
    flags.DEFINE_enum(
        "special_tokens",
        "include",
        ["include", "exclude"],
        "Do CLS, SEP and BOS take part in pooling?",
    )
    flags.DEFINE_enum(
        "long", "drop", ["drop", "truncate"], "What happens to sentences over seq_len."
    )
    flags.DEFINE_string(
        "sites", "", "Regular expression on torch module names; default: the family's."
    )
    flags.DEFINE_enum(
        "compute_dtype", "float32", ["float32", "bfloat16"], "Dtype of the model."
    )
    flags.DEFINE_enum(
        "store_dtype",
        "float32",
        ["float32", "float16", "bfloat16"],
        "Dtype of responses.zarr.",
    )
    flags.DEFINE_integer("batch_tokens", 2048, "Tokens of a batch, with padding.")
    flags.DEFINE_integer("block_rows", 512, "The most sentences of a block on disk.")
    flags.DEFINE_enum(
        "compat",
        "",
        ["", "selfcond"],
        "selfcond: pad to seq_len and pool over the padding, as apple/ml-selfcond.",
    )
    flags.DEFINE_string("mesh", "", "E.g. data:4,model:2; default: all on data.")


def settings_from_flags(cls: type[Settings]) -> Settings:
    """A settings dataclass from the flags that have its fields' names."""
    names = {field.name for field in dataclasses.fields(cls)} & set(FLAGS)  # type: ignore[arg-type]
    return cls(**{name: FLAGS[name].value for name in names})
