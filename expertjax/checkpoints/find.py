"""Where the checkpoint is that a user names."""

from pathlib import Path

from expertjax.checkpoints.gguf_file import SUFFIX, find_gguf
from expertjax.checkpoints.readers import PICKLE, has_weights
from expertjax.errors import InputError
from expertjax.home import user_path

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_PICKLES = [PICKLE, PICKLE.replace(".bin", "-*.bin")]


def find_checkpoint(model: str) -> Path:
    """The local folder (or GGUF file) of a checkpoint, downloading it if need be.

    Args:
      model: a folder, a `.gguf` file, or a hub id, which may end in "@revision".

    Raises:
      InputError: none of these, or one that cannot be had.
    """
    path = user_path(model)
    if path.is_dir():
        if not (path / "config.json").is_file() and find_gguf(path) is None:
            raise InputError(
                f"{path}: no config.json; expected a Hugging Face folder, one made by "
                f"convert_checkpoint, or one with a {SUFFIX} file"
            )
        return path
    if path.is_file():
        if path.suffix == SUFFIX:
            return path
        raise InputError(f"--model={model}: is a file; give the folder it lies in")
    repo, _, revision = model.partition("@")
    if repo.count("/") > 1 or repo.startswith((".", "/", "~")):
        raise InputError(f"--model={model}: no such folder")
    return _from_hub(repo, revision or None)


def checkpoint_name(model: str) -> str:
    """What a model is called unless the user says otherwise.

    That of its folder or file; of "org/repo@revision" "repo-revision".
    """
    path = user_path(model)
    if path.exists():
        return path.resolve().name.removesuffix(SUFFIX)
    repo, _, revision = model.partition("@")
    return repo.rpartition("/")[2] + (f"-{revision}" if revision else "")


def _from_hub(repo: str, revision: str | None) -> Path:
    """A snapshot in the hub's local cache, fetched where it is not there."""
    # Imported here: a local folder must not cost a second of imports.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    def fetch(patterns: list[str]) -> Path:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))

    try:
        folder = fetch(_WANTED)
        if not has_weights(folder):
            folder = fetch(_WANTED + _PICKLES)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        model = f"{repo}@{revision}" if revision else repo
        raise InputError(
            f"--model={model}: neither a local folder nor a model that the hub or "
            f"its local cache can give ({type(error).__name__}); check the "
            "spelling and the network"
        ) from error
    return folder
