"""Finds the expert units of one or several models: capture, score, report.

python -m binaries.find_experts --model=FOLDER --concepts=FOLDER --out=OUT
"""

import dataclasses
from collections.abc import Sequence

from absl import flags

from binaries.common_flags import (
    define_capture_flags,
    define_score_flags,
    settings_from_flags,
    start_processes,
)
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
define_capture_flags()
define_score_flags()
heading("Results")
flags.DEFINE_float(
    "gamma",
    0.9,
    "AP from which the report calls a unit an expert.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_bool(
    "keep_responses",
    True,
    "Write responses.zarr? If not, concepts are captured and scored in memory, group "
    "by group.",
)
flags.DEFINE_integer(
    "memory_bytes",
    0,
    "The most that responses take that are not kept, in --store_dtype; 0: 4 GiB, or "
    "on accelerators a third of their free memory.",
)
flags.DEFINE_integer(
    "excited_sentences",
    8,
    "Sentences of each of the best units that are kept with the token at which it is "
    "maximal, if responses are kept; 0: none.",
)
flags.DEFINE_bool(
    "report",
    True,
    "Write reports? For a series of many models one report of all, by "
    "analyze_experts, may do.",
)


def main(argv: Sequence[str]) -> None:
    """Runs the main job and says what was found."""
    del argv
    import expertjax as ej
    from binaries.best_units import best_units
    from expertjax.runtime.processes import is_first

    start_processes()
    settings = dataclasses.replace(
        settings_from_flags(ej.FindSettings),
        capture=settings_from_flags(ej.CaptureSettings),
        score=settings_from_flags(ej.ScoreSettings),
        steps=("capture", "score", "report") if FLAGS.report else ("capture", "score"),
    )
    folders = ej.find_experts(
        FLAGS.model, FLAGS.concepts, FLAGS.out, settings, FLAGS.model_name
    )
    for folder in folders if is_first() else ():
        print(f"\n{best_units(ej.Expertise(folder), FLAGS.gamma)}")
        if FLAGS.report:
            print(f"report: {folder.path / 'report' / 'index.html'}")


if __name__ == "__main__":
    run_main(main, in_blocks=True)
