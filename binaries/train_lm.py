"""Trains small GPT-2s from scratch on plain text: one, or a ladder of sizes.

python -m binaries.train_lm --flagfile=configs/train_shipped.flags
python -m binaries.train_lm --flagfile=configs/ladder.flags
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from binaries.common_flags import settings_from_flags, whole_numbers
from binaries.path_flags import define_path, define_paths
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Text")
define_paths(
    "text",
    None,
    "A text file (a sentence a line), wordnet:FOLDER or brown:FOLDER; repeatable.",
    required=True,
)
define_path(
    "out", None, "Folder of the trained model.", required=True, writes="local folder"
)
heading("Model")
flags.DEFINE_integer("vocab_size", 4096, "Size of the BPE vocabulary.")
flags.DEFINE_list(
    "sizes",
    [],
    "Several models instead of one, each as layers x width x heads, e.g. "
    "2x64x2,4x128x4; they go to OUT/<size>.",
)
flags.DEFINE_list(
    "keep_steps",
    [],
    "Steps after which a model is kept, as OUT/step-<n>: a series for --model.",
)
flags.DEFINE_integer("width", 192, "Width of the residual stream.")
flags.DEFINE_integer("num_layers", 6, "Number of blocks.")
flags.DEFINE_integer("num_heads", 6, "Attention heads per block.")
heading("Training")
flags.DEFINE_integer("seq_len", 128, "Tokens per row; also the longest input.")
flags.DEFINE_integer("batch_size", 16, "Rows per step.")
flags.DEFINE_float("epochs", 3.0, "Passes over the text.")
flags.DEFINE_float("learning_rate", 1.5e-3, "Peak of the cosine schedule.")
flags.DEFINE_float("weight_decay", 0.1, "AdamW's decoupled decay.")
flags.DEFINE_float("warmup_share", 0.03, "Share of steps with rising rate.")
flags.DEFINE_float("heldout_share", 0.02, "Share of lines kept for evaluation.")
flags.DEFINE_integer("eval_every", 250, "Steps between evaluations and checkpoints.")
flags.DEFINE_integer("seed", 0, "Seed of initialisation and order.")


def main(argv: Sequence[str]) -> None:
    """Reads the text, trains, prints the held-out perplexities."""
    del argv
    from expertjax.building.corpora import read_texts
    from expertjax.training.ladder import train_ladder
    from expertjax.training.settings import TrainSettings

    settings = settings_from_flags(TrainSettings)
    lines = [line for source in FLAGS.text for line in read_texts(source)]
    steps = whole_numbers("keep_steps")
    runs = train_ladder(lines, Path(FLAGS.out), settings, FLAGS.sizes, steps)
    for folder, metrics in runs:
        for name in ("heldout", "bigram", "unigram"):
            value = metrics[name + "_perplexity"]
            print(f"{folder.name}: {name} perplexity: {value:.2f}")


if __name__ == "__main__":
    run_main(main, goes_on=True)
