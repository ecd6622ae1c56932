"""A language model writes while a concept's units are edited.

python -m binaries.generate_text --model=FOLDER --expertise=OUT/<model_name>
  --concept=sense/football-1_04_00__ --prompt='Once upon a time' --num_units=0,10,50
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from binaries.common_flags import (
    define_generate_flags,
    settings_from_flags,
    whole_numbers,
)
from binaries.run_main import run_main

if TYPE_CHECKING:  # brings JAX, which --help does without
    from expertjax.models.unit_edits import UnitEdit

FLAGS = flags.FLAGS
define_generate_flags(
    num_samples=1, max_new_tokens=20, temperature=0.8, top_p=0.9, top_k=0
)
flags.DEFINE_string("expertise", None, "OUT/<model_name> of this model.")
flags.DEFINE_string("concept", None, "group/name; default: no edit.")
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
flags.DEFINE_string("out", None, "CSV file; default: texts are only shown.")
flags.DEFINE_string(
    "figure", None, "PNG or SVG file: words, perplexity, Self-BLEU over k."
)
flags.DEFINE_string("save_edit", None, "JSON file for the (last) edit.")
flags.DEFINE_string("load_edit", None, "Such a file, in place of --concept.")


def main(argv: Sequence[str]) -> None:
    """Writes the texts, shows them and what is to be said of them."""
    del argv
    import expertjax as ej
    from expertjax.generation.generate import generate
    from expertjax.generation.sweep import score_texts
    from expertjax.generation.table import selfcond_table
    from expertjax.stores.paths import as_path, write_atomically

    settings = settings_from_flags(ej.GenerateSettings)
    edits = _edits()
    ignore = {"ignore_config": FLAGS.ignore_config}
    model = ej.load_model(FLAGS.model, **ignore)
    seeds = range(FLAGS.seed, FLAGS.seed + FLAGS.num_samples)
    single = len(edits) * len(FLAGS.prompt) * len(seeds) == 1
    texts = generate(model, FLAGS.prompt, edits, seeds, settings, _show(single))
    judge = model
    if FLAGS.perplexity_model:
        judge = ej.load_model(FLAGS.perplexity_model, **ignore)
    texts["perplexity"] = ej.perplexity(judge, list(texts["sentence"]))
    scores = score_texts(texts, FLAGS.words)
    scores.insert(0, "num_units", [0 if e is None else len(e) for e in edits])
    if single:
        print()
    else:
        for sentence in texts["sentence"].head(20):
            print(repr(sentence))
    print(scores.drop(columns="edit").round(3).to_string(index=False))
    if FLAGS.out:
        content = selfcond_table(texts, edits).to_csv(index=False)
        write_atomically(as_path(FLAGS.out), content)
        print(f"texts: {FLAGS.out}")
    if FLAGS.figure:
        from expertjax.report.generation_figures import sweep_figure

        sweep_figure(scores, FLAGS.concept or "").savefig(FLAGS.figure, dpi=180)
    if FLAGS.save_edit and edits[-1] is not None:
        edits[-1].save(FLAGS.save_edit)


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
