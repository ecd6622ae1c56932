"""Opens results of other software here: makes OUT/<model_name> of them.

python -m binaries.import_expertise --results=ROOT/<model> --concepts=FOLDER \\
    --out=OUT
"""

from collections.abc import Sequence

from absl import flags

from binaries.common_flags import define_ignore_config_flag, settings_from_flags
from binaries.path_flags import define_path
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Results")
flags.DEFINE_enum(
    "format", "selfcond", ["selfcond"], "apple/ml-selfcond and its fork lang_neuron."
)
define_path(
    "results",
    None,
    "A model's folder, with <group>/<concept>/expertise/expertise.csv.",
    required=True,
)
define_path(
    "out", None, "The result goes to OUT/<model_name>.", required=True, writes="folder"
)
flags.DEFINE_string("model_name", "", "Default: the name of the --results folder.")
define_path(
    "model",
    "",
    "As in find_experts: puts units in its order, names their sites, and counts "
    "sentences over seq_len as dropped. No weights are read.",
)
define_ignore_config_flag()
heading("What was scored")
define_path("concepts", "", "The concept folder that was scored.")
flags.DEFINE_integer("n_pos", 0, "Without --concepts: positives of each concept.")
flags.DEFINE_integer("n_neg", 0, "Without --concepts: negatives of each concept.")
flags.DEFINE_integer(
    "num_per_concept",
    1000,
    "With --concepts: as it was computed with; lang_neuron's default is 10000.",
)
flags.DEFINE_integer("data_seed", 1234, "With --concepts: seed of drawing sentences.")
flags.DEFINE_integer(
    "seq_len", 128, "As it was computed with; lang_neuron's default is 256."
)


def main(argv: Sequence[str]) -> None:
    """Imports, and says what is there now."""
    del argv
    from expertjax.importing.importer import import_expertise
    from expertjax.importing.settings import ImportSettings

    settings = settings_from_flags(ImportSettings)
    folder = import_expertise(FLAGS.results, FLAGS.out, settings, FLAGS.format)
    run = folder.read_run()
    print(
        f"{run['score']['num_concepts']} concepts, {run['capture']['num_units']} "
        f"units; metrics: {', '.join(folder.metrics)}"
    )
    ignored = run["import"]["columns_ignored"]
    if ignored:
        print(f"columns that were not imported: {', '.join(ignored)}")
    print(f"expertise: {folder.expertise_path}")


if __name__ == "__main__":
    run_main(main)
