"""Speed and memory beside peers, in one run.

python -m binaries.benchmark --what=loading --model=FOLDER --model=FILE.gguf
python -m binaries.benchmark --what=compiling
python -m binaries.benchmark --what=experts
python -m binaries.benchmark --what=capture --model=gpt2-small --concepts=X
python -m binaries.benchmark --what=scoring --workload=paper
python -m binaries.benchmark --what=scaling
python -m binaries.benchmark --what=agreement --model=FOLDER --concepts=FOLDER
python -m binaries.benchmark --what=generation --model=FOLDER
python -m binaries.benchmark --what=accelerator
python -m binaries.benchmark --what=without_devices
python -m binaries.benchmark --what=quickstart
python -m binaries.benchmark --what=studio --model=FOLDER
"""

from collections.abc import Sequence

from absl import flags

from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("What is measured")
flags.DEFINE_enum(
    "what",
    None,
    [
        "loading",
        "compiling",
        "experts",
        "capture",
        "scoring",
        "scaling",
        "generation",
        "agreement",
        "accelerator",
        "without_devices",
        "quickstart",
        "studio",
    ],
    "experts: a mixture beside dense MLPs; capture: beside torch and the reference's "
    "way; scoring: beside scikit-learn, numpy and torch; scaling: over concepts and "
    "units; agreement: of several ways of running one model, and of float64; "
    "accelerator: all of it on the devices that are there, in a few minutes; "
    "without_devices: programs compiled for a GPU and a TPU that are not there; "
    "quickstart: what its time goes to; studio: how long its page is waited for, and "
    "what a crowd gets.",
    required=True,
)
define_paths(
    "model",
    [],
    "For loading, capture, generation and agreement: a folder or GGUF file, or "
    "gpt2-small, of random weights; for studio: a folder or GGUF file. Repeatable.",
)
define_path("concepts", None, "For capture and agreement: concept folder.")
flags.DEFINE_integer(
    "num_sentences", 0, "For capture: drawn from those of the concepts; 0: all."
)
flags.DEFINE_string(
    "ways", "", "For agreement: regular expression on their names; default: all."
)
flags.DEFINE_multi_enum(
    "workload",
    ["small", "paper", "shared"],
    ["small", "paper", "shared", "large"],
    "For scoring; large is ours alone: 100,000 units, 300 concepts. Repeatable.",
)
flags.DEFINE_integer("repeats", 3, "Measurements of each; medians are printed.")
flags.register_multi_flags_validator(
    ["what", "model", "concepts"],
    lambda given: (
        given["what"] not in ("capture", "agreement")
        or (given["model"] and given["concepts"])
    ),
    "--what=capture and --what=agreement need --model and --concepts",
)


def main(argv: Sequence[str]) -> None:
    """Measures and prints a table."""
    del argv
    if FLAGS.what == "capture":
        from binaries.benchmarks.capturing import capture_reports

        for report in capture_reports(
            FLAGS.model, FLAGS.concepts, FLAGS.num_sentences, FLAGS.repeats
        ):
            print(report, flush=True)
        return
    if FLAGS.what == "agreement":
        from binaries.benchmarks.agreement import agreement_reports

        for report in agreement_reports(FLAGS.model, FLAGS.concepts, FLAGS.ways):
            print(report, flush=True)
        return
    if FLAGS.what == "generation":
        from binaries.benchmarks.generating import generation_tables

        print("\n".join(generation_tables(FLAGS.model, FLAGS.repeats)))
        return
    if FLAGS.what == "loading":
        from binaries.benchmarks.loading import loading_table

        table = loading_table(FLAGS.model, FLAGS.repeats)
    elif FLAGS.what == "scoring":
        from binaries.benchmarks.scoring import scoring_table

        table = scoring_table(FLAGS.workload, FLAGS.repeats)
    elif FLAGS.what == "scaling":
        from binaries.benchmarks.scoring import scaling_table

        table = scaling_table(FLAGS.repeats)
    elif FLAGS.what == "accelerator":
        from binaries.benchmarks.accelerator import accelerator_table

        table = accelerator_table()
    elif FLAGS.what == "without_devices":
        from binaries.benchmarks.without_devices import compiled_table

        table = compiled_table()
    elif FLAGS.what == "quickstart":
        from binaries.benchmarks.quickstart import phases_table

        table = phases_table()
    elif FLAGS.what == "studio":
        from binaries.benchmarks.studio import studio_table

        table = studio_table(FLAGS.model, FLAGS.repeats)
    elif FLAGS.what == "experts":
        from binaries.benchmarks.experts import experts_table

        table = experts_table(FLAGS.repeats)
    else:
        from binaries.benchmarks.compiling import compile_table

        table = compile_table(FLAGS.repeats)
    print(table.to_string(index=False))


if __name__ == "__main__":
    run_main(main)
