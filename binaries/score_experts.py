"""Only scores responses that were captured before.

python -m binaries.score_experts --responses=OUT/<model_name>
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from binaries.run_main import run_main

FLAGS = flags.FLAGS
flags.DEFINE_string("responses", None, "A folder OUT/<model_name>.", required=True)
flags.DEFINE_string(
    "concepts", None, "Concept folder over the same sentences; default: the capture's."
)
flags.DEFINE_string(
    "out", None, "Results go to OUT/<model_name>; default: where the responses are."
)
flags.DEFINE_integer("num_per_concept", 1000, "As in find_experts; with --concepts.")
flags.DEFINE_integer("data_seed", 1234, "As in find_experts; with --concepts.")
flags.DEFINE_enum(
    "kernel", "auto", ["auto", "jax", "compiled"], "auto: compiled on CPUs, else jax."
)


def main(argv: Sequence[str]) -> None:
    """Scores, and says where."""
    del argv
    import expertjax as ej

    concepts = None
    if FLAGS.concepts:
        concepts = ej.load_concepts(
            FLAGS.concepts,
            num_per_concept=FLAGS.num_per_concept,
            data_seed=FLAGS.data_seed,
        )
    name = Path(FLAGS.responses).resolve().name
    out = Path(FLAGS.out) / name if FLAGS.out else None
    settings = ej.ScoreSettings(kernel=FLAGS.kernel)
    expertise = ej.score(FLAGS.responses, concepts, out, settings)
    print(f"expertise: {expertise.folder.expertise_path}")


if __name__ == "__main__":
    run_main(main)
