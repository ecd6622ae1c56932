"""A language model writes while a concept's units are edited.

python -m binaries.generate_text --model=FOLDER --expertise=OUT/<model_name> \\
    --concept=sense/football-1_04_00__ --prompt='Once upon a time' \\
    --num_units=0,10,50
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from binaries.common_flags import (
    define_generate_flags,
    load_writer_and_judge,
    settings_from_flags,
    whole_numbers,
)
from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

if TYPE_CHECKING:  # brings JAX, which --help does without
    import pandas as pd

    import expertjax as ej
    from expertjax.checkpoints.load import Model
    from expertjax.generation.interventions import Intervention
    from expertjax.generation.sweep import Arm

FLAGS = flags.FLAGS
define_generate_flags(
    num_samples=1, max_new_tokens=20, temperature=0.8, top_p=0.9, top_k=0
)
heading("Units and edits")
define_path("expertise", None, "OUT/<model_name> of this model.")
flags.DEFINE_string(
    "concept", None, "group/name or a name of its own, such as bird; default: no edit."
)
flags.DEFINE_multi_string("prompt", ["Once upon a time"], "To go on from; repeatable.")
flags.DEFINE_list("num_units", ["50"], "How many units are edited; several: a sweep.")
flags.DEFINE_enum(
    "select", "top", ["top", "bottom", "random", "gamma"], "Which units, by AP."
)
flags.DEFINE_integer("band", 0, "Leaves out so many times num_units that come first.")
flags.DEFINE_integer("select_seed", 0, "For --select=random; the control's is next.")
flags.DEFINE_enum(
    "control",
    None,
    ["random", "none"],
    "Beside each number of units, as many at random with the same edit; default: "
    "random in a sweep, else none.",
)
flags.DEFINE_enum(
    "edit",
    "force",
    ["force", "ablate", "damp", "aura", "gaussian", "transport"],
    "What is done to the units; see docs/steering.md. gaussian and transport run the "
    "concept's sentences first.",
)
flags.DEFINE_string(
    "value", "on_p50", "What units are forced to: a metric or a number."
)
flags.DEFINE_float(
    "strength",
    None,
    "Of damp (the factor, which has to be given), gaussian and transport (default: 1; "
    "far above it, or with hundreds of units, text breaks down).",
)
flags.DEFINE_float("gamma", 0.9, "For --select=gamma.")
flags.DEFINE_list("words", [], "Of the concept, whose share is told.")
heading("Output")
define_path(
    "out",
    None,
    "CSV file of all texts; those of the control go to NAME.control.csv beside it. "
    "Default: a few texts are shown.",
    writes="file",
)
define_path(
    "figure",
    None,
    "PNG, SVG or PDF file: words, perplexity, Self-BLEU over k.",
    writes="file",
)
define_path(
    "report", None, "HTML file: all texts side by side, and the figure.", writes="file"
)
define_path("save_edit", None, "JSON file for the (last) edit.", writes="file")
define_paths(
    "load_edit",
    [],
    "Such a file, in place of --concept; repeatable, one of no unit edits nothing.",
)


def main(argv: Sequence[str]) -> None:
    """Writes the texts, shows some and what is to be said of all."""
    del argv
    import expertjax as ej
    from expertjax.generation.generate import generate
    from expertjax.generation.sweep import score_arms

    _check_figure()
    settings = settings_from_flags(ej.GenerateSettings)
    load = functools.cache(load_writer_and_judge)
    arms = _arms(lambda: load()[0])
    model, judge = load()
    seeds = range(FLAGS.seed, FLAGS.seed + FLAGS.num_samples)
    single = len(arms) * len(FLAGS.prompt) * len(seeds) == 1
    edits = [arm.edit for arm in arms]
    texts = generate(model, FLAGS.prompt, edits, seeds, settings, _show(single))
    texts["perplexity"] = ej.perplexity(judge or model, list(texts["sentence"]))
    scores = score_arms(texts, arms, FLAGS.words)
    names = {"model": model.name, "judge": (judge or model).name}
    _write(texts, scores, arms, names)
    _tell(texts, scores, single)


def _write(
    texts: "pd.DataFrame",
    scores: "pd.DataFrame",
    arms: "list[Arm]",
    names: dict[str, str],
) -> None:
    """The files that were asked for."""
    chosen = [arm.edit for arm in arms if not arm.is_control]
    if FLAGS.out:
        _write_tables(texts, arms)
    if FLAGS.figure:
        from expertjax.concepts.names import short_name
        from expertjax.report.generation_figures import sweep_figure

        with _output(FLAGS.figure) as path:
            figure = sweep_figure(scores, short_name(FLAGS.concept or ""))
            figure.savefig(path, dpi=180, format=_figure_kind())
    if FLAGS.report:
        from expertjax.generation.scores import find_words
        from expertjax.report.sweep_page import render_sweep

        found = find_words(list(texts["continuation"]), FLAGS.words)
        facts = names | _facts(arms)
        html = render_sweep(texts.assign(found=found), scores, facts)
        with _output(FLAGS.report) as path:
            path.write_text(html, "utf-8")
    if FLAGS.save_edit and chosen[-1] is not None:
        with _output(FLAGS.save_edit) as path:
            chosen[-1].save(path)


def _write_tables(texts: "pd.DataFrame", arms: "list[Arm]") -> None:
    """The reference's table; the control's apart, as its readers expect none."""
    from expertjax.generation.table import selfcond_table

    edits = [arm.edit for arm in arms]
    is_control = texts["edit"].map([arm.is_control for arm in arms].__getitem__)
    for name, rows in (
        (FLAGS.out, texts[~is_control]),
        (_control_name(), texts[is_control]),
    ):
        if len(rows):
            content = selfcond_table(rows, edits).to_csv(index=False)
            with _output(name) as path:
                path.write_text(content, "utf-8", newline="")


def _control_name() -> str:
    """`texts.control.csv` beside `texts.csv`."""
    stem, dot, kind = FLAGS.out.rpartition(".")
    if not dot or "/" in kind:
        return f"{FLAGS.out}.control"
    return f"{stem}.control.{kind}"


def _tell(texts: "pd.DataFrame", scores: "pd.DataFrame", single: bool) -> None:
    """Shows some of what was written; a single text has been shown as it came."""
    from expertjax.generation.sweep import some_texts

    if single:
        print()
    for row in () if single else scores.to_dict("records"):
        print(_heading(row))
        for sentence in some_texts(texts, row["edit"]):
            print(f"  {sentence!r}")
    print(scores.drop(columns="edit").round(3).to_string(index=False))
    for name in ("out", "report"):
        if FLAGS[name].value:
            print(f"{'texts' if name == 'out' else name}: {FLAGS[name].value}")


def _heading(row: dict[str, Any]) -> str:
    """What is said of an edit above its texts."""
    units = {"none": "nothing edited", "control": "units at random, the control"}
    which = units.get(row["units"], f"{row['units']} units")
    share = f"with a word {row['with_word']:.2f}, " if "with_word" in row else ""
    return f"k = {row['num_units']}, {which}: {share}perplexity {row['perplexity']:.1f}"


def _facts(arms: "list[Arm]") -> dict[str, str]:
    """What the page says of how its texts were written."""
    edits = [arm.edit for arm in arms if arm.edit is not None and not arm.is_control]
    about = edits[-1].about if edits else {}
    names = ("concept", "edit", "select")
    facts = {name: str(about[name]) for name in names if about.get(name)}
    if about.get("edit") == "force":
        facts["value"] = str(about["value"])
    if about.get("edit") in ("damp", "gaussian", "transport"):
        facts["strength"] = str(about["strength"])
    if FLAGS.words:
        facts["words"] = ", ".join(FLAGS.words)
    sampling = ("temperature", "top_p", "top_k", "max_new_tokens", "num_samples")
    return facts | {name: str(FLAGS[name].value) for name in sampling}


@contextlib.contextmanager
def _output(name: str) -> Iterator[Path]:
    """A path to write a file to; the file appears whole, its folder is made."""
    from expertjax.stores.paths import as_path, aside, make_folder

    path = as_path(name)
    make_folder(path.parent)
    with aside(path) as temporary:
        yield temporary


def _figure_kind() -> str:
    return FLAGS.figure.rpartition(".")[2].lower()


def _check_figure() -> None:
    from expertjax.errors import InputError

    if FLAGS.figure and _figure_kind() not in ("png", "svg", "pdf"):
        raise InputError(f"--figure={FLAGS.figure}: expected .png, .svg or .pdf")


def _show(single: bool) -> Callable[[str], None] | None:
    """A single text is shown as it is written."""
    if not single:
        return None
    print(FLAGS.prompt[0], end="", flush=True)
    return lambda text: print(text, end="", flush=True)


def _arms(load: "Callable[[], Model]") -> "list[Arm]":
    """An edit for each number of units, each followed by its control."""
    import expertjax as ej
    from expertjax.errors import InputError
    from expertjax.generation.sweep import Arm

    if FLAGS.control == "random" and (FLAGS.load_edit or not FLAGS.concept):
        raise InputError("--control=random needs --concept, and no --load_edit")
    if FLAGS.load_edit:
        edits = [ej.UnitEdit.load(path) for path in FLAGS.load_edit]
        return [Arm(edit if len(edit) else None) for edit in edits]
    if not FLAGS.concept:
        return [Arm(None)]
    if not FLAGS.expertise:
        raise InputError("--concept needs --expertise=OUT/<model_name>")
    expertise = ej.Expertise.open(FLAGS.expertise)
    interventions = _interventions(expertise)
    edits = expertise.edits(FLAGS.concept, [each for each, _ in interventions], load)
    return [
        Arm(edit if len(edit) or FLAGS.select == "gamma" else None, is_control)
        for edit, (_, is_control) in zip(edits, interventions, strict=True)
    ]


def _interventions(expertise: "ej.Expertise") -> "list[tuple[Intervention, bool]]":
    """What is done for each number of units, and whether it is the control."""
    from expertjax.generation.interventions import Intervention, units_at

    fields: dict[str, Any] = {name: FLAGS[name].value for name in _FIELDS}
    numbers = whole_numbers("num_units")
    is_sweep = len(numbers) > 1 and FLAGS.select != "random"
    control = FLAGS.control or ("random" if is_sweep else "none")
    interventions = []
    for k in numbers:
        chosen = Intervention(**fields, num_units=k)
        interventions.append((chosen, False))
        if FLAGS.select == "gamma":
            k = len(units_at(expertise, FLAGS.concept, FLAGS.gamma))
        if k and control == "random":
            seed = FLAGS.select_seed + 1
            others = dataclasses.replace(
                chosen, select="random", band=0, num_units=k, select_seed=seed
            )
            interventions.append((others, True))
    return interventions


_FIELDS = ("edit", "select", "band", "value", "strength", "gamma", "select_seed")


if __name__ == "__main__":
    run_main(main)
