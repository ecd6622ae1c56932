"""Writes the report of one or several results, and compares them.

python -m binaries.analyze_experts --results=OUT --gamma=0.9
python -m binaries.analyze_experts --results=OUT --gamma=0.9 --out=ALL \\
    --benchmark_csv=scores.csv --groups=wordnet:/usr/share/wordnet
"""

from collections.abc import Sequence

from absl import flags

from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Results and reports")
define_paths(
    "results", None, "OUT, or a folder OUT/<model_name>; repeatable.", required=True
)
define_path(
    "out",
    None,
    "Reports go to OUT/<model_name>, and the comparison of the results to OUT; "
    "default: reports into the results' report/, and no comparison.",
    writes="folder",
)
flags.DEFINE_float(
    "gamma",
    0.9,
    "AP from which a unit is called an expert.",
    lower_bound=0.0,
    upper_bound=1.0,
)
heading("Comparison")
define_paths(
    "benchmark_csv",
    [],
    "CSV file with the columns model,score by which models are ranked; repeatable.",
)
flags.DEFINE_integer(
    "top_k",
    50,
    "The best units of a concept of which others' are counted (co-learning).",
    lower_bound=1,
)
define_path(
    "groups",
    "",
    "Groups of concepts whose experts may be shared: wordnet:FOLDER, or a CSV file "
    "with the columns concept,group.",
)
flags.DEFINE_integer(
    "group_depth",
    0,
    "With wordnet:FOLDER: a concept's groups are its hypernyms so many steps below the "
    "top; 0: its lexicographer file.",
    lower_bound=0,
)
flags.DEFINE_bool(
    "above_surface",
    False,
    "Compare models by those experts alone that also beat what needs no model: the "
    "form of the sentences and their most telling word.",
)
flags.DEFINE_bool(
    "report", True, "Write the models' pages? If not, only their comparison."
)


def main(argv: Sequence[str]) -> None:
    """Writes the reports and the comparison, and says where."""
    del argv
    from binaries.best_units import best_units
    from expertjax.analysis.compare import CompareSettings, compare
    from expertjax.analysis.expertise import find_results
    from expertjax.errors import InputError
    from expertjax.report.build import build_comparison, build_report
    from expertjax.report.comparison import summary, write_comparison
    from expertjax.stores.paths import as_path, try_output

    if not FLAGS.out and (FLAGS.benchmark_csv or FLAGS.groups):
        raise InputError("--benchmark_csv and --groups need --out, for the comparison")
    if not FLAGS.out and not FLAGS.report:
        raise InputError("--noreport needs --out, for the comparison")
    results = find_results(FLAGS.results)
    for expertise in results if FLAGS.report and not FLAGS.out else ():
        try_output(expertise.folder.path / "report", "--results", "folder")
    if FLAGS.out:  # first, as it checks the benchmarks and groups
        settings = CompareSettings(
            gamma=FLAGS.gamma,
            top_k=FLAGS.top_k,
            benchmarks=tuple(FLAGS.benchmark_csv),
            groups=FLAGS.groups,
            group_depth=FLAGS.group_depth,
            above_surface=FLAGS.above_surface,
        )
        comparison = compare(results, settings)
        write_comparison(FLAGS.out, comparison)
    for expertise in results if FLAGS.report else ():
        folder = as_path(FLAGS.out) / expertise.folder.name if FLAGS.out else None
        path = build_report(expertise, FLAGS.gamma, folder, FLAGS.top_k)
        if folder is None:
            expertise.folder.succeed()
        print(f"\n{best_units(expertise, FLAGS.gamma)}\nreport: {path}")
    if FLAGS.out and FLAGS.report and len(results) > 1:
        page = build_comparison(results, FLAGS.out, comparison)
        print(f"report of all: {page}")
    if FLAGS.out:
        print(f"\n{summary(comparison)}\n\ncomparison: {FLAGS.out}")


if __name__ == "__main__":
    run_main(main)
