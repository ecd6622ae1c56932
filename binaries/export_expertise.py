"""Exports results to the reference's files, Parquet, CSV or dashboards.

python -m binaries.export_expertise --results=OUT --out=FOLDER \\
    --format=selfcond
python -m binaries.export_expertise --results=OUT/<model_name> --out=FOLDER \\
    --format=neuronpedia --model=MODEL
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from binaries.common_flags import settings_from_flags
from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

if TYPE_CHECKING:  # brings JAX, which --help does without
    from expertjax.checkpoints.load import Model
    from expertjax.stores.folder import ResultFolder

FLAGS = flags.FLAGS
heading("Results")
define_paths(
    "results", None, "OUT, or a folder OUT/<model_name>; repeatable.", required=True
)
define_path(
    "out", None, "Files go to OUT/<model_name>.", required=True, writes="folder"
)
flags.DEFINE_enum(
    "format",
    "selfcond",
    ["selfcond", "parquet", "csv", "saedashboard", "neuronpedia"],
    "Form of the files; see docs/dashboards.md for the last two.",
)
heading("Dashboards (saedashboard, neuronpedia)")
define_path(
    "model", None, "That of the result, to run the sentences that excite its units."
)
flags.DEFINE_string(
    "model_id", "", "What Neuronpedia calls the model; default: the result's name."
)
flags.DEFINE_string("source_set", "expertjax", "Sources are LAYER-SOURCE_SET-SITE.")
flags.DEFINE_string("release", "expertjax", "That the sources belong to.")
flags.DEFINE_string("creator", "expertjax", "Who is named as having made them.")
flags.DEFINE_string(
    "creator_id",
    "clkht01d40000jv08hvalcvly",
    "Account of the database that imports them; the default is in every new one.",
)


def main(argv: Sequence[str]) -> None:
    """Exports, and says where."""
    del argv
    import expertjax as ej
    from expertjax.analysis.expertise import find_results

    found = find_results(FLAGS.results)
    if FLAGS.model and len(found) > 1:
        raise ej.InputError(
            f"--model: is that of one result, but --results holds {len(found)}; "
            "export them one by one"
        )
    settings = settings_from_flags(ej.DashboardSettings)
    for result in found:
        expertise = ej.Expertise(result.folder)
        load = functools.partial(_load, result.folder) if FLAGS.model else None
        print(expertise.export(FLAGS.out, FLAGS.format, load, settings))


def _load(folder: "ResultFolder") -> "Model":
    """The model as the capture had it."""
    import expertjax as ej
    from expertjax.capturing.again import captured_settings

    settings = captured_settings(folder)
    return ej.load_model(
        FLAGS.model,
        dtype=settings.compute_dtype,
        precision=settings.precision,
        ignore_config=folder.read_run()["capture"].get("ignored_config", ()),
        read_with=settings.read_with,
    )


if __name__ == "__main__":
    run_main(main)
