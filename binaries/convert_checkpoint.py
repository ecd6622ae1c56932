"""Converts a checkpoint to Orbax, with its config and tokenizer beside it.

python -m binaries.convert_checkpoint --model=FOLDER --out=FOLDER
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from binaries.common_flags import define_ignore_config_flag
from binaries.run_main import run_main

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "model", None, "A Hugging Face folder, a hub id or a .gguf file.", required=True
)
define_ignore_config_flag()
flags.DEFINE_string("out", None, "New folder for the converted form.", required=True)


def main(argv: Sequence[str]) -> None:
    """Loads, saves, and says where."""
    del argv
    from expertjax.checkpoints.load import load_model, save_converted

    model = load_model(FLAGS.model, ignore_config=FLAGS.ignore_config)
    save_converted(model, Path(FLAGS.out))
    print(f"converted: {FLAGS.out}")


if __name__ == "__main__":
    run_main(main)
