"""Builds a concept folder from a tagged corpus, WordNet, a table or other folders.

python -m binaries.build_concepts --flagfile=configs/semcor.flags
python -m binaries.build_concepts \\
    --flagfile=configs/build_wordnet_topics.flags
python -m binaries.build_concepts --source=table --input=texts.csv \\
    --out=FOLDER
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Source")
flags.DEFINE_enum(
    "source",
    "wordnet",
    ["semcor", "wordnet", "wsd", "table", "selfcond"],
    "What --input holds. semcor: SemCor's SGML (brown1, brown2). wordnet: WordNet "
    "3.0's database files (Debian: /usr/share/wordnet). wsd: the unified format of "
    "word sense evaluation, NAME.data.xml with NAME.gold.key.txt. table: .csv or "
    ".jsonl with text, concept and, where wanted, group and label (1 or 0). selfcond: "
    "concept folders, which are merged.",
)
define_paths(
    "input",
    None,
    "Folder, archive (.tar, .tar.gz, .tar.xz, .zip) or table; repeatable for "
    "--source=selfcond.",
    required=True,
)
define_path(
    "out", None, "Concept folder to make.", required=True, writes="local folder"
)
define_path(
    "wordnet",
    None,
    "WordNet's folder, to group the senses of semcor and wsd by synset; without it "
    "each sense key stands for itself.",
)
flags.DEFINE_multi_string(
    "roots",
    [],
    "Of wordnet: sense keys such as bird%1:05:00::, each a topic with all its "
    "hyponyms; repeatable, commas allowed. Default: every noun with enough texts.",
)
heading("Senses")
flags.DEFINE_list(
    "kinds",
    ["sense"],
    "sense: against sentences without it; homograph: against the same word in other "
    "senses (semcor, wsd).",
)
flags.DEFINE_list(
    "parts", ["noun"], "Of speech: noun, verb, adjective, adverb (semcor, wsd)."
)
flags.DEFINE_bool(
    "hyponyms", False, "A synset's concept has its hyponyms too (semcor, wsd)."
)
heading("Sentences")
flags.DEFINE_integer("min_positives", 100, "Leave out concepts with fewer.")
flags.DEFINE_integer("max_positives", 1000, "Draw this many at most.")
flags.DEFINE_integer("num_negatives", 1000, "Negatives per concept, at most.")
flags.DEFINE_integer("min_negatives", 1, "Leave out concepts with fewer.")
flags.DEFINE_enum(
    "negatives",
    "shared",
    ["shared", "own"],
    "shared: from one small pool, positives of other concepts first, so that few "
    "sentences serve many concepts; own: each concept draws by itself.",
)
flags.DEFINE_integer("negative_pool", 5000, "Sentences in the shared pool.")
flags.DEFINE_list(
    "match",
    ["length"],
    "Draw negatives that are like the positives in these features of form: length, "
    "digits, years, punctuation, capitals, quotes; empty: in none.",
)
flags.DEFINE_integer("min_words", 5, "Leave out shorter sentences.")
flags.DEFINE_integer("max_words", 60, "Leave out longer sentences.")
heading("Concepts")
flags.DEFINE_float(
    "max_jaccard",
    None,
    "Of two concepts of a group with a larger common share of positives (intersection "
    "over union), keep one, the one whose own words are tagged more often.",
)
flags.DEFINE_float(
    "max_share", 1.0, "Leave out concepts that a larger share of sentences contains."
)
flags.DEFINE_integer("num_concepts", None, "Draw exactly this many concepts.")
flags.DEFINE_float(
    "tasks_share", 0.0, "Share of the concepts that goes to --tasks_out instead."
)
define_path(
    "tasks_out",
    None,
    "A second folder for the concepts held out, as tasks for probes; these have as "
    "many negatives as positives.",
    writes="local folder",
)
heading("The folder")
flags.DEFINE_integer("seed", 1234, "Seed of the draws.")
flags.DEFINE_bool("report", True, "Write report.md: what the set holds and lacks.")
flags.DEFINE_bool("overwrite", False, "Replace the folders that are to be made.")

_SETTINGS = (
    *("min_positives", "max_positives", "num_negatives", "min_negatives"),
    *("negatives", "negative_pool", "min_words", "max_words"),
    *("max_jaccard", "max_share", "num_concepts", "tasks_share", "hyponyms", "seed"),
)
_LISTS = ("kinds", "parts", "match")


def main(argv: Sequence[str]) -> None:
    """Builds the concepts and prints how many there are."""
    del argv
    from expertjax.building.build import Source, build_folder
    from expertjax.building.settings import BuildSettings

    values: dict[str, Any] = {name: FLAGS[name].value for name in _SETTINGS}
    values |= {name: tuple(FLAGS[name].value or ()) for name in _LISTS}
    settings = BuildSettings(**values)
    roots = [key.strip() for line in FLAGS.roots for key in line.split(",")]
    roots = [key for key in roots if key]
    source = Source(FLAGS.source, tuple(FLAGS.input), FLAGS.wordnet, tuple(roots))
    concepts, tasks = build_folder(
        source, FLAGS.out, settings, FLAGS.tasks_out, FLAGS.overwrite, FLAGS.report
    )
    print(f"{len(concepts)} concepts in {FLAGS.out}")
    if tasks:
        print(f"{len(tasks)} tasks in {FLAGS.tasks_out}")


if __name__ == "__main__":
    run_main(main)
