"""Only scores responses that were captured before.

python -m binaries.score_experts --responses=OUT/<model_name>
"""

from collections.abc import Sequence

from absl import flags

from binaries.common_flags import (
    define_process_flags,
    define_score_flags,
    settings_from_flags,
    start_processes,
)
from binaries.path_flags import define_path
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Responses and concepts")
define_path("responses", None, "A folder OUT/<model_name>.", required=True)
define_path(
    "concepts", None, "Concept folder over the same sentences; default: the capture's."
)
define_path(
    "out",
    None,
    "Results go to OUT/<model_name>; default: where the responses are.",
    writes="folder",
)
flags.DEFINE_integer("num_per_concept", 1000, "As in find_experts; with --concepts.")
flags.DEFINE_integer("data_seed", 1234, "As in find_experts; with --concepts.")
define_score_flags()
define_process_flags()


def main(argv: Sequence[str]) -> None:
    """Scores, and says where."""
    del argv
    import expertjax as ej
    from expertjax.runtime.processes import is_first
    from expertjax.stores.folder import ResultFolder
    from expertjax.stores.paths import as_path, resolved

    start_processes()
    concepts = None
    if FLAGS.concepts:
        concepts = ej.load_concepts(
            FLAGS.concepts,
            num_per_concept=FLAGS.num_per_concept,
            data_seed=FLAGS.data_seed,
            compat=ResultFolder(FLAGS.responses).compat,
        )
    name = resolved(as_path(FLAGS.responses)).name
    out = as_path(FLAGS.out) / name if FLAGS.out else None
    settings = settings_from_flags(ej.ScoreSettings)
    expertise = ej.score(FLAGS.responses, concepts, out, settings)
    if is_first():
        expertise.folder.succeed()
        print(f"expertise: {expertise.folder.expertise_path}")


if __name__ == "__main__":
    run_main(main, in_blocks=True)
