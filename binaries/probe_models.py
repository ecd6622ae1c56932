"""Measures how well models generalize: linear probes and held-out perplexity.

python -m binaries.probe_models --model=FOLDER --tasks=FOLDER --text=FILE \\
    --out=OUT
"""

from collections.abc import Sequence

from absl import flags

from binaries.common_flags import (
    define_compile_cache_flag,
    define_ignore_config_flag,
    define_precision_flag,
    settings_from_flags,
)
from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Models and tasks")
define_paths(
    "model", None, "As in find_experts, series too; repeatable.", required=True
)
flags.DEFINE_multi_string(
    "model_name", [], "Name of each model; by default that of its folder."
)
define_paths(
    "tasks",
    None,
    "A concept folder (a task for each concept: does a sentence contain it?) or a .csv "
    "file with the columns text,label (one task); repeatable.",
    required=True,
)
define_path(
    "text",
    "",
    "Held-out text for causal models: a text file (a sentence a line), wordnet:FOLDER "
    "or brown:FOLDER.",
)
define_ignore_config_flag()
define_path(
    "out",
    None,
    "Folder of the tables, local or gs://.",
    required=True,
    writes="folder",
)
heading("Sentence vectors")
flags.DEFINE_enum(
    "representation",
    "mean",
    ["mean", "last", "first"],
    "A sentence's vector: mean over tokens of the last hidden states, or one token's.",
)
flags.DEFINE_enum(
    "special_tokens",
    "include",
    ["include", "exclude"],
    "Do CLS, SEP and BOS count as tokens of the sentence?",
)
flags.DEFINE_integer("seq_len", 128, "Tokens at which sentences are cut.")
heading("Probes")
flags.DEFINE_integer(
    "num_per_concept", 1000, "The most sentences of a label of a task."
)
flags.DEFINE_integer("data_seed", 1234, "Seed of drawing them.")
flags.DEFINE_float("validation", 0.2, "Share on which regularisation is chosen.")
flags.DEFINE_float("test", 0.2, "Share on which probes are judged.")
flags.DEFINE_integer("split_seed", 0, "Seed of dealing sentences out.")
flags.DEFINE_list(
    "l2", ["1e-4", "1e-3", "1e-2", "1e-1", "1", "10"], "Strengths to choose from."
)
heading("Computing")
flags.DEFINE_enum(
    "compute_dtype", "float32", ["float32", "bfloat16"], "Dtype of the model."
)
define_precision_flag()
flags.DEFINE_integer(
    "batch_tokens", 0, "Tokens of a batch, with padding; 0: what suits the devices."
)
flags.DEFINE_string("mesh", "", "E.g. data:4,model:2; default: all on data.")
flags.DEFINE_string(
    "shard_models",
    "",
    "i/n: only every n-th model from the i-th on, from 0; n jobs may share --out.",
)
define_compile_cache_flag()


def main(argv: Sequence[str]) -> None:
    """Runs the job and shows the models' scores."""
    del argv
    import expertjax as ej

    settings = settings_from_flags(ej.ProbeSettings, l2=_strengths())
    job = settings_from_flags(ej.FindSettings)
    results = ej.probe_models(
        FLAGS.model, FLAGS.tasks, FLAGS.out, settings, FLAGS.model_name, FLAGS.text, job
    )
    print(results.models.round(4).fillna("").to_string(index=False))
    print(f"tables and figure: {FLAGS.out}")


def _strengths() -> tuple[float, ...]:
    from expertjax.errors import InputError

    try:
        return tuple(map(float, FLAGS.l2))
    except ValueError:
        raise InputError(f"--l2={','.join(FLAGS.l2)}: expected numbers") from None


if __name__ == "__main__":
    run_main(main, goes_on=True)
