"""Speed and memory beside peers, in one run.

python -m binaries.benchmark --what=loading --model=FOLDER --model=FILE.gguf
python -m binaries.benchmark --what=compiling
python -m binaries.benchmark --what=scoring --workload=paper
python -m binaries.benchmark --what=scaling
"""

from collections.abc import Sequence

from absl import flags

from binaries.run_main import run_main

FLAGS = flags.FLAGS
flags.DEFINE_enum(
    "what",
    None,
    ["loading", "compiling", "scoring", "scaling"],
    "scoring: beside scikit-learn, numpy and torch; scaling: over concepts and units.",
    required=True,
)
flags.DEFINE_multi_string("model", [], "For loading: a folder or file; repeatable.")
flags.DEFINE_multi_enum(
    "workload",
    ["small", "paper", "shared"],
    ["small", "paper", "shared", "large"],
    "For scoring; large is ours alone: 100,000 units, 300 concepts. Repeatable.",
)
flags.DEFINE_integer("repeats", 3, "Measurements of each; medians are printed.")


def main(argv: Sequence[str]) -> None:
    """Measures and prints a table."""
    del argv
    if FLAGS.what == "loading":
        from binaries.benchmarks.loading import loading_table

        table = loading_table(FLAGS.model, FLAGS.repeats)
    elif FLAGS.what == "scoring":
        from binaries.benchmarks.scoring import scoring_table

        table = scoring_table(FLAGS.workload, FLAGS.repeats)
    elif FLAGS.what == "scaling":
        from binaries.benchmarks.scoring import scaling_table

        table = scaling_table(FLAGS.repeats)
    else:
        from binaries.benchmarks.compiling import compile_table

        table = compile_table(FLAGS.repeats)
    print(table.to_string(index=False))


if __name__ == "__main__":
    run_main(main)
