"""Exports results to the reference's files, Parquet or CSV.

python -m binaries.export_expertise --results=OUT --out=FOLDER \\
    --format=selfcond
"""

from collections.abc import Sequence

from absl import flags

from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Results")
define_paths(
    "results", None, "OUT, or a folder OUT/<model_name>; repeatable.", required=True
)
define_path(
    "out", None, "Files go to OUT/<model_name>.", required=True, writes="folder"
)
flags.DEFINE_enum(
    "format", "selfcond", ["selfcond", "parquet", "csv"], "Form of the files."
)


def main(argv: Sequence[str]) -> None:
    """Exports, and says where."""
    del argv
    from expertjax.analysis.expertise import find_results
    from expertjax.analysis.export import export_expertise

    for expertise in find_results(FLAGS.results):
        print(export_expertise(expertise, FLAGS.out, FLAGS.format))


if __name__ == "__main__":
    run_main(main)
