"""A language model writes while a concept's units are edited.

python -m binaries.generate_text --model=FOLDER --expertise=OUT/<model_name>
  --concept=sense/football-1_04_00__ --prompt='Once upon a time' --num_units=0,10,50
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from binaries.common_flags import (
    define_generate_flags,
    load_writer_and_judge,
    settings_from_flags,
    whole_numbers,
)
from binaries.path_flags import define_path
from binaries.run_main import run_main

if TYPE_CHECKING:  # brings JAX, which --help does without
    import pandas as pd

    from expertjax.models.unit_edits import UnitEdit

FLAGS = flags.FLAGS
define_generate_flags(
    num_samples=1, max_new_tokens=20, temperature=0.8, top_p=0.9, top_k=0
)
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
flags.DEFINE_integer("select_seed", 0, "For --select=random.")
flags.DEFINE_enum(
    "edit",
    "force",
    ["force", "ablate", "damp", "aura", "gaussian", "transport"],
    "What is done to the units; see README.",
)
flags.DEFINE_string(
    "value", "on_p50", "What units are forced to: a metric or a number."
)
flags.DEFINE_float("strength", 1.0, "Of damp (the factor), gaussian and transport.")
flags.DEFINE_float("gamma", 0.9, "For --select=gamma.")
flags.DEFINE_list("words", [], "Of the concept, whose share is told.")
define_path("out", None, "CSV file; default: texts are only shown.", writes="file")
define_path(
    "figure",
    None,
    "PNG, SVG or PDF file: words, perplexity, Self-BLEU over k.",
    writes="file",
)
define_path("save_edit", None, "JSON file for the (last) edit.", writes="file")
define_path("load_edit", None, "Such a file, in place of --concept.")


def main(argv: Sequence[str]) -> None:
    """Writes the texts, shows them and what is to be said of them."""
    del argv
    import expertjax as ej
    from expertjax.generation.generate import generate
    from expertjax.generation.sweep import score_texts
    from expertjax.generation.table import selfcond_table

    _check_figure()
    settings = settings_from_flags(ej.GenerateSettings)
    edits = _edits()
    model, judge = load_writer_and_judge()
    seeds = range(FLAGS.seed, FLAGS.seed + FLAGS.num_samples)
    single = len(edits) * len(FLAGS.prompt) * len(seeds) == 1
    texts = generate(model, FLAGS.prompt, edits, seeds, settings, _show(single))
    texts["perplexity"] = ej.perplexity(judge or model, list(texts["sentence"]))
    scores = score_texts(texts, FLAGS.words)
    scores.insert(0, "num_units", [0 if e is None else len(e) for e in edits])
    if FLAGS.out:
        content = selfcond_table(texts, edits).to_csv(index=False)
        with _output(FLAGS.out) as path:
            path.write_text(content, "utf-8", newline="")
    if FLAGS.figure:
        from expertjax.concepts.names import short_name
        from expertjax.report.generation_figures import sweep_figure

        with _output(FLAGS.figure) as path:
            figure = sweep_figure(scores, short_name(FLAGS.concept or ""))
            figure.savefig(path, dpi=180, format=_figure_kind())
    if FLAGS.save_edit and edits[-1] is not None:
        with _output(FLAGS.save_edit) as path:
            edits[-1].save(path)
    _tell(texts["sentence"].head(20), scores, single)


def _tell(sentences: Iterable[str], scores: "pd.DataFrame", single: bool) -> None:
    """Shows what was written; a single text has been shown as it came."""
    if single:
        print()
    else:
        for sentence in sentences:
            print(repr(sentence))
    print(scores.drop(columns="edit").round(3).to_string(index=False))
    if FLAGS.out:
        print(f"texts: {FLAGS.out}")


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


def _edits() -> "list[UnitEdit | None]":
    """An edit for each number of units; None where nothing is edited."""
    import expertjax as ej
    from expertjax.errors import InputError
    from expertjax.generation.interventions import Intervention, make_edit

    if FLAGS.load_edit:
        return [ej.UnitEdit.load(FLAGS.load_edit)]
    if not FLAGS.concept:
        return [None]
    if not FLAGS.expertise:
        raise InputError("--concept needs --expertise=OUT/<model_name>")
    expertise = ej.Expertise.open(FLAGS.expertise)
    edits = []
    fields: dict[str, Any] = {name: FLAGS[name].value for name in _FIELDS}
    for k in whole_numbers("num_units"):
        intervention = Intervention(**fields, num_units=k)
        edit = make_edit(expertise, FLAGS.concept, intervention)
        edits.append(edit if k or FLAGS.select == "gamma" else None)
    return edits


_FIELDS = ("edit", "select", "band", "value", "strength", "gamma", "select_seed")


if __name__ == "__main__":
    run_main(main)
