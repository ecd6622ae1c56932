"""Only captures responses; flags as in find_experts.

python -m binaries.capture_responses --model=FOLDER --concepts=FOLDER \\
    --out=OUT
"""

import dataclasses
from collections.abc import Sequence

from absl import flags

from binaries.common_flags import (
    define_capture_flags,
    settings_from_flags,
    start_processes,
)
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
define_capture_flags()
heading("What is done")
flags.DEFINE_bool(
    "dry_run", False, "Only say what it would cost: tokens, operations, bytes, time."
)


def main(argv: Sequence[str]) -> None:
    """Captures, and says where."""
    del argv
    import expertjax as ej
    from expertjax.runtime.processes import is_first

    start_processes()
    settings = dataclasses.replace(
        settings_from_flags(ej.FindSettings),
        capture=settings_from_flags(ej.CaptureSettings),
        steps=("capture",),
    )
    if FLAGS.dry_run:
        costs = ej.capture_costs(
            FLAGS.model, FLAGS.concepts, settings, FLAGS.model_name
        )
        print(costs.T.to_string(header=False))
        return
    folders = ej.find_experts(
        FLAGS.model, FLAGS.concepts, FLAGS.out, settings, FLAGS.model_name
    )
    for folder in folders if is_first() else ():
        print(f"responses: {folder.responses_path}")


if __name__ == "__main__":
    run_main(main, in_blocks=True)
