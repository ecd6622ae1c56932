"""Flags that several programs share, and the settings they make."""

import dataclasses
from typing import Any, TypeVar

from absl import flags

from binaries.path_flags import define_path, define_paths
from binaries.usage import heading
from expertjax.errors import InputError

FLAGS = flags.FLAGS
Settings = TypeVar("Settings")
flags.disclaim_key_flags()  # --help of a program shows those that it defines here


def define_capture_flags() -> None:
    """Flags of the programs that run models; one for each capture setting."""
    heading("Models and sentences")
    define_paths(
        "model",
        None,
        "A Hugging Face folder, a hub id (name@revision), a .gguf file, a converted "
        "folder, or a folder of step-*/checkpoint-* folders; repeatable.",
        required=True,
    )
    flags.DEFINE_multi_string(
        "model_name", [], "Name of each model; by default that of its folder."
    )
    define_path("concepts", None, "Concept folder.", required=True)
    define_path(
        "out", None, "Results go to OUT/<model_name>.", required=True, writes="folder"
    )
    define_ignore_config_flag()
    flags.DEFINE_integer(
        "num_per_concept", 1000, "The most positives, and negatives, of a concept."
    )
    flags.DEFINE_integer("data_seed", 1234, "Seed of drawing sentences.")
    flags.DEFINE_integer("seq_len", 128, "The most tokens of a sentence.")
    flags.DEFINE_enum(
        "read_with",
        "",
        ["", "encoder", "decoder"],
        "Whose units are run, of encoder-decoders; the encoder's unless the checkpoint "
        "was converted for its decoder.",
    )
    flags.DEFINE_enum(
        "long", "drop", ["drop", "truncate"], "What happens to sentences over seq_len."
    )
    heading("Responses")
    flags.DEFINE_string(
        "sites", "", "Regular expression on torch module names; default: the family's."
    )
    flags.DEFINE_enum(
        "pooling", "max", ["max", "mean", "last"], "How tokens make a response."
    )
    flags.DEFINE_enum(
        "special_tokens",
        "include",
        ["include", "exclude"],
        "Do CLS, SEP and BOS take part in pooling?",
    )
    flags.DEFINE_integer(
        "skip_first",
        0,
        "So many tokens at the beginning of a sentence take no part in pooling.",
    )
    flags.DEFINE_enum(
        "compat",
        "",
        ["", "selfcond"],
        "selfcond: pad to seq_len and pool over the padding, as apple/ml-selfcond.",
    )
    flags.DEFINE_enum(
        "store_dtype",
        "",
        ["", "float32", "float16", "bfloat16"],
        "Dtype of responses.zarr; default: bfloat16 where that loses nothing (computed "
        "in it, and no mean), else float32.",
    )
    heading("Computing")
    flags.DEFINE_enum(
        "compute_dtype", "float32", ["float32", "bfloat16"], "Dtype of the model."
    )
    define_precision_flag()
    flags.DEFINE_integer(
        "batch_tokens", 0, "Tokens of a batch, with padding; 0: what suits the devices."
    )
    flags.DEFINE_integer("block_rows", 512, "The most sentences of a block on disk.")
    define_compile_cache_flag()
    heading("Devices and processes")
    flags.DEFINE_string("mesh", "", "E.g. data:4,model:2; default: all on data.")
    flags.DEFINE_string(
        "shard_models",
        "",
        "i/n: only every n-th model from the i-th on, from 0, for n independent jobs.",
    )
    define_process_flags()


def define_precision_flag() -> None:
    """How exactly a model multiplies, in every program that runs one."""
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "tensorfloat32", "bfloat16_3x"],
        "Of products of float32 matrices; the others are faster on some accelerators.",
    )


def define_compile_cache_flag() -> None:
    """Of every program that runs a model."""
    define_path(
        "compile_cache",
        None,
        "Folder in which compiled programs are kept for later runs; by default one in "
        "the user's cache folder, empty for none.",
    )


def define_ignore_config_flag() -> None:
    """The flag of every program that reads a model's config."""
    flags.DEFINE_multi_string(
        "ignore_config",
        [],
        "Attribute of config.json (or name in a .gguf file) that is passed over, at "
        "your own risk; recorded in run.json; repeatable.",
    )


def define_score_flags() -> None:
    """Flags of the programs that score; one for each score setting."""
    heading("Scores")
    flags.DEFINE_string(
        "metrics",
        "",
        "Comma-separated, of ap, ap_neg, auroc, on_p50, on_p90, off_mean, off_p50, "
        "on_mean, on_std, off_std, accuracy; default: all. AP is always computed.",
    )
    flags.DEFINE_float(
        "holdout",
        0.0,
        "Share of each concept's sentences on which experts are tried afterwards.",
    )
    flags.DEFINE_integer("holdout_seed", 0, "Seed of drawing them.")
    flags.DEFINE_integer(
        "bootstrap_top", 10, "Best units per concept whose AP gets an interval."
    )
    flags.DEFINE_integer("bootstrap_resamples", 500, "Resamplings per interval.")
    flags.DEFINE_integer(
        "block_bytes",
        0,
        "Bytes of responses that are scored at a time; default: 128 MB, or 2 GB on "
        "accelerators.",
    )
    flags.DEFINE_float(
        "tie_tolerance",
        None,
        "Responses of a unit closer than so many of its standard deviations are tied; "
        "0: equal to the bit; default: 3e-5, with --compat=selfcond 0.",
    )
    flags.DEFINE_enum(
        "kernel",
        "auto",
        ["auto", "jax", "compiled"],
        "auto: compiled on CPUs, else jax.",
    )


def define_process_flags() -> None:
    """Flags of a job of several processes."""
    heading("Devices and processes")
    flags.DEFINE_string(
        "coordinator",
        "",
        "host:port of process 0 of a job of several; auto: found by JAX (TPU pods, "
        "Slurm).",
    )
    flags.DEFINE_integer("num_processes", 1, "Processes of the job.")
    flags.DEFINE_integer("process_id", 0, "The number of this one, from 0.")


def define_generate_flags(
    num_samples: int, max_new_tokens: int, temperature: float, top_p: float, top_k: int
) -> None:
    """Flags of the programs that write; one for each generation setting.

    Args:
      num_samples: the default, as are the others.
      max_new_tokens: of a text.
      temperature: of sampling.
      top_p: likewise.
      top_k: likewise.
    """
    heading("Models")
    define_path("model", None, "As in find_experts; causal.", required=True)
    define_path("perplexity_model", None, "Judges texts; default: --model.")
    define_ignore_config_flag()
    define_precision_flag()
    define_compile_cache_flag()
    heading("Texts")
    flags.DEFINE_integer("num_samples", num_samples, "Texts of a kind.")
    flags.DEFINE_integer("seed", 0, "Seed of the first of them; the others follow.")
    flags.DEFINE_integer(
        "max_new_tokens", max_new_tokens, "The most tokens after a prompt."
    )
    flags.DEFINE_float(
        "temperature", temperature, "Divides logits; 0: the likeliest token."
    )
    flags.DEFINE_float("top_p", top_p, "Only the likeliest tokens of this probability.")
    flags.DEFINE_integer("top_k", top_k, "Only so many likeliest tokens; 0: all.")
    flags.DEFINE_float("repetition_penalty", 1.0, "Of tokens that are there already.")
    flags.DEFINE_enum(
        "edit_tokens", "all", ["all", "new"], "Edit at all tokens or at new ones only."
    )
    flags.DEFINE_integer("batch_size", 64, "Texts that are written at a time.")
    flags.DEFINE_integer(
        "room", 0, "Tokens for which there is room after a prompt, if more than needed."
    )


def load_writer_and_judge() -> tuple[Any, Any]:
    """The model of `--model`, and that of `--perplexity_model` or None."""
    import expertjax as ej
    from expertjax.runtime.compile_cache import keep_compiled

    keep_compiled(FLAGS.compile_cache)

    paths = FLAGS.model, FLAGS.perplexity_model
    how = {"precision": FLAGS.precision, "ignore_config": FLAGS.ignore_config}
    return tuple(  # type: ignore[return-value]
        ej.load_model(path, **how) if path else None for path in paths
    )


def whole_numbers(flag: str) -> list[int]:
    """The numbers of a flag that is a list, such as `num_units`.

    Raises:
      InputError: one is none.
    """
    texts: list[str] = FLAGS[flag].value or []
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise InputError(
            f"--{flag}={','.join(texts)}: expected whole numbers"
        ) from None


def start_processes() -> None:
    """Joins the other processes that the flags tell of."""
    from expertjax.runtime import processes

    processes.start(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)


def settings_from_flags(cls: type[Settings], **given: Any) -> Settings:
    """A settings dataclass from the flags that have its fields' names.

    Args:
      cls: the dataclass.
      **given: fields that are not what their flag holds.
    """
    names = {field.name for field in dataclasses.fields(cls)} & set(FLAGS)  # type: ignore[arg-type]
    return cls(**{name: FLAGS[name].value for name in names} | given)
