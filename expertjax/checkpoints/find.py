"""Where the checkpoint is that a user names."""

import os
from pathlib import Path

from expertjax.checkpoints.gguf_file import find_gguf
from expertjax.checkpoints.gguf_parts import SUFFIX, name_of
from expertjax.checkpoints.readers import PICKLE, has_weights
from expertjax.errors import InputError
from expertjax.home import user_path

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_CACHED = "models--"  # begins a repository's folder in the hub's cache
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
        path = snapshot_of(path)
        if not (path / "config.json").is_file() and find_gguf(path) is None:
            raise InputError(
                f"{path}: no config.json; expected a Hugging Face folder, one made by "
                f"convert_checkpoint, or one with a {SUFFIX} file{_cached_below(path)}"
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

    That of its folder or file, as the user writes it, wherever a link may lead; of a
    folder in the hub's cache that of the repository; of "org/repo@revision"
    "repo-revision".
    """
    path = user_path(model)
    if path.exists():
        path = Path(os.path.abspath(path))
        repository = _repository(path)
        return repository or (name_of(path) if path.suffix == SUFFIX else path.name)
    repo, _, revision = model.partition("@")
    name = repo.rpartition("/")[2] + (f"-{revision}" if revision else "")
    return name.replace("/", "-")  # revisions such as refs/pr/1


def snapshot_of(path: Path) -> Path:
    """The folder with the files, where one of the hub's cache around them is given.

    That one holds `snapshots/<commit>`, and in `refs` which commit a branch is at.

    Args:
      path: `models--org--repo`, or any other folder, which is returned as it is.

    Raises:
      InputError: there is no snapshot, or several and none is that of main.
    """
    if not (path.name.startswith(_CACHED) and (path / "snapshots").is_dir()):
        return path
    there = sorted(p for p in (path / "snapshots").iterdir() if p.is_dir())
    main = path / "refs" / "main"
    if main.is_file():
        commit = main.read_text("utf-8").strip()
        there = [p for p in there if p.name == commit] or there
    if len(there) != 1:
        names = ", ".join(p.name for p in there) or "none"
        raise InputError(
            f"{path}: which snapshot? There are {names}; give the path of one"
        )
    return there[0]


def _repository(path: Path) -> str:
    """The repository of a folder in the hub's cache, or of a snapshot; else ""."""
    in_snapshot = path.parent.name == "snapshots"
    folder = path.parents[1] if in_snapshot else path
    is_cached = folder.name.startswith(_CACHED) and (folder / "snapshots").is_dir()
    return folder.name.rpartition("--")[2] if is_cached else ""


def _cached_below(path: Path) -> str:
    """What to give in place of the hub's cache itself; "" for other folders."""
    found = sorted(p.name for p in path.glob(f"{_CACHED}*") if p.is_dir())
    shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    return f"; give one of the models in it: {shown}" if found else ""


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
