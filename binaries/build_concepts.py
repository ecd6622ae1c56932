"""Builds a concept folder out of a lexical source.

python -m binaries.build_concepts --flagfile=configs/build_wordnet_topics.flags
"""

from collections.abc import Sequence

from absl import flags

from binaries.run_main import run_main

FLAGS = flags.FLAGS
flags.DEFINE_enum("source", "wordnet", ["wordnet"], "What --input holds.")
flags.DEFINE_string(
    "input",
    None,
    "Folder of the WordNet 3.0 database files (Debian: /usr/share/wordnet).",
    required=True,
)
flags.DEFINE_string("out", None, "Concept folder to make.", required=True)
flags.DEFINE_multi_string(
    "roots",
    [],
    "Sense keys such as bird%1:05:00::, each a topic with all its hyponyms; "
    "repeatable, commas allowed. Default: every noun with enough texts.",
)
flags.DEFINE_enum("kinds", "sense", ["sense"], "Kind of concepts to build.")
flags.DEFINE_integer("min_positives", 100, "Refuse a root with fewer texts.")
flags.DEFINE_integer("max_positives", 1000, "Draw this many texts at most.")
flags.DEFINE_integer("num_negatives", 1000, "Negatives per concept, at most.")
flags.DEFINE_integer("min_words", 5, "Drop shorter texts.")
flags.DEFINE_integer("max_words", 30, "Drop longer texts.")
flags.DEFINE_integer("seed", 1234, "Seed of the draws.")
flags.DEFINE_bool("overwrite", False, "Replace the concept folder at --out.")


def main(argv: Sequence[str]) -> None:
    """Builds the concepts and prints how many there are."""
    del argv
    from expertjax.concepts.build_wordnet import build_folder
    from expertjax.concepts.wordnet_topics import BuildSettings

    settings = BuildSettings(
        min_positives=FLAGS.min_positives,
        max_positives=FLAGS.max_positives,
        num_negatives=FLAGS.num_negatives,
        min_words=FLAGS.min_words,
        max_words=FLAGS.max_words,
        seed=FLAGS.seed,
    )
    roots = [key.strip() for line in FLAGS.roots for key in line.split(",")]
    roots = [key for key in roots if key]
    concepts = build_folder(FLAGS.input, FLAGS.out, roots, settings, FLAGS.overwrite)
    print(f"{len(concepts)} concepts in {FLAGS.out}")


if __name__ == "__main__":
    run_main(main)
