"""Writes the report of one or several results.

python -m binaries.analyze_experts --results=OUT --gamma=0.9
"""

from collections.abc import Sequence

from absl import flags

from binaries.run_main import run_main

FLAGS = flags.FLAGS
flags.DEFINE_multi_string(
    "results", None, "OUT, or a folder OUT/<model_name>; repeatable.", required=True
)
flags.DEFINE_string(
    "out", None, "Reports go to OUT/<model_name>; default: into the results' report/."
)
flags.DEFINE_float(
    "gamma",
    0.9,
    "AP from which a unit is called an expert.",
    lower_bound=0.0,
    upper_bound=1.0,
)


def main(argv: Sequence[str]) -> None:
    """Writes the reports, and says where."""
    del argv
    from expertjax.analysis.expertise import find_results
    from expertjax.report.build import build_report
    from expertjax.stores.paths import as_path

    for expertise in find_results(FLAGS.results):
        folder = as_path(FLAGS.out) / expertise.folder.name if FLAGS.out else None
        path = build_report(expertise, FLAGS.gamma, folder)
        if folder is None:
            expertise.folder.succeed()
        print(
            f"\n{expertise.folder.name}\n{expertise.summary(FLAGS.gamma).to_string()}"
        )
        print(f"report: {path}")


if __name__ == "__main__":
    run_main(main)
