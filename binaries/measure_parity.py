"""How many forced units make two sides' words equally likely, and at what cost.

python -m binaries.measure_parity --flagfile=configs/parity.flags \\
    --model=FOLDER --expertise=OUT/<model_name> --out=FOLDER
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from binaries.common_flags import (
    define_generate_flags,
    load_writer_and_judge,
    settings_from_flags,
    whole_numbers,
)
from binaries.path_flags import define_path
from binaries.run_main import run_main
from binaries.usage import heading

if TYPE_CHECKING:  # brings JAX, which --help does without
    from expertjax.generation.sweep import Side

FLAGS = flags.FLAGS
define_generate_flags(
    num_samples=20, max_new_tokens=15, temperature=1.0, top_p=1.0, top_k=10
)
heading("Sides and prompts")
define_path("expertise", None, "OUT/<model_name> of this model.", required=True)
flags.DEFINE_multi_string(
    "concept",
    None,
    "group/name, or a name of its own such as woman; two of them.",
    required=True,
)
flags.DEFINE_multi_string(
    "words", None, "Comma-separated words of each concept, in order.", required=True
)
flags.DEFINE_list(
    "num_units", ["0", "1", "3", "10", "30", "60", "100", "300"], "Values of k."
)
flags.DEFINE_enum(
    "size",
    "small",
    ["small", "medium", "full"],
    "Prompts: 17 templates with 1, 9 or all 51 occupations each.",
)
define_path("templates", None, "A file of templates with {}; default: ours.")
define_path("occupations", None, "A file of occupations; default: ours.")
define_path(
    "out", None, "Folder for tables and figure.", required=True, writes="folder"
)


def main(argv: Sequence[str]) -> None:
    """Runs the experiment, prints its tables and draws its figure."""
    del argv
    import expertjax as ej
    from expertjax.generation import sweep
    from expertjax.report.generation_figures import parity_figure
    from expertjax.stores import paths

    sides = _sides()
    model, judge = load_writer_and_judge()
    seeds = range(FLAGS.seed, FLAGS.seed + FLAGS.num_samples)
    settings = settings_from_flags(ej.GenerateSettings)
    table = sweep.parity(model, _prompts(), sides, seeds, settings, judge)
    points = sweep.parity_points(table)
    out = paths.as_path(FLAGS.out)
    paths.make_folder(out)
    for name, rows in (("parity", table), ("parity_points", points)):
        paths.write_atomically(out / f"{name}.csv", rows.to_csv(index=False))
    figure = parity_figure(table, points)
    for kind in ("png", "svg"):
        with paths.aside(out / f"parity.{kind}") as temporary:
            figure.savefig(temporary, dpi=180, format=kind)
    means = table.groupby(["forced", "num_units"], sort=False).mean(numeric_only=True)
    print(means.round(3).to_string())
    cost = sweep.at_parity(table, points)
    print(f"\nat parity:\n{cost.round(3).to_string(index=False)}")
    print(f"tables and figure: {out}")


def _sides() -> "list[Side]":
    import expertjax as ej
    from expertjax.errors import InputError
    from expertjax.generation.sweep import Side

    if len(FLAGS.concept) != 2 or len(FLAGS.words) != 2:
        raise InputError("--concept and --words: expected two of each")
    numbers = whole_numbers("num_units")
    expertise = ej.Expertise.open(FLAGS.expertise)
    return [
        Side(
            expertise.names[expertise.row(concept)],
            tuple(words.split(",")),
            {k: expertise.force(concept, k) if k else None for k in numbers},
        )
        for concept, words in zip(FLAGS.concept, FLAGS.words, strict=True)
    ]


def _prompts() -> list[str]:
    """Every template with some occupations, which come round."""
    import expertjax
    from expertjax.building.corpora import read_texts

    folder = Path(expertjax.__file__).parent / "assets" / "parity"
    templates, occupations = (
        read_texts(FLAGS[name].value or str(folder / f"{name}.txt"))
        for name in ("templates", "occupations")
    )
    count = {"small": 1, "medium": 9, "full": len(occupations)}[FLAGS.size]
    return [
        template.format(occupations[(i * 3 + j) % len(occupations)])
        for i, template in enumerate(templates)
        for j in range(count)
    ]


if __name__ == "__main__":
    run_main(main)
