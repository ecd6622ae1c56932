"""Converts a checkpoint to Orbax, with its config and tokenizer beside it.

python -m binaries.convert_checkpoint --model=FOLDER --out=FOLDER
"""

from collections.abc import Sequence

from absl import flags

from binaries.common_flags import define_ignore_config_flag
from binaries.path_flags import define_path
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Checkpoint")
define_path(
    "model", None, "A Hugging Face folder, a hub id or a .gguf file.", required=True
)
define_ignore_config_flag()
flags.DEFINE_enum(
    "read_with",
    "",
    ["", "encoder", "decoder"],
    "What is kept of encoder-decoders: the encoder, or with it the decoder, whose "
    "units are then run.",
)
define_path(
    "out",
    None,
    "New folder for the converted form.",
    required=True,
    writes="local folder",
)


def main(argv: Sequence[str]) -> None:
    """Loads, saves, and says where."""
    del argv
    from expertjax.checkpoints.load import load_model, save_converted
    from expertjax.errors import InputError
    from expertjax.stores.paths import absolute, as_path, aside, make_folder

    out = absolute(as_path(FLAGS.out))
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out={out}: exists and is not empty; choose another")
    model = load_model(
        FLAGS.model, ignore_config=FLAGS.ignore_config, read_with=FLAGS.read_with
    )
    make_folder(out.parent)
    with aside(out) as temporary:  # so that it can be interrupted and begin again
        save_converted(model, temporary)
    print(f"converted: {FLAGS.out}")


if __name__ == "__main__":
    run_main(main)
