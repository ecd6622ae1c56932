"""Speed and memory beside peers, in one run.

python -m binaries.benchmark --what=loading --model=FOLDER --model=FILE.gguf
python -m binaries.benchmark --what=compiling
"""

from collections.abc import Sequence

from absl import flags

from binaries.run_main import run_main

FLAGS = flags.FLAGS
flags.DEFINE_enum("what", None, ["loading", "compiling"], "See above.", required=True)
flags.DEFINE_multi_string("model", [], "For loading: a folder or file; repeatable.")
flags.DEFINE_integer("repeats", 3, "Measurements of each; medians are printed.")


def main(argv: Sequence[str]) -> None:
    """Measures and prints a table."""
    del argv
    if FLAGS.what == "loading":
        from binaries.benchmarks.loading import loading_table

        table = loading_table(FLAGS.model, FLAGS.repeats)
    else:
        from binaries.benchmarks.compiling import compile_table

        table = compile_table(FLAGS.repeats)
    print(table.to_string(index=False))


if __name__ == "__main__":
    run_main(main)
