"""Where results lie: local folders, or a bucket of Google Cloud Storage.

Everything that differs between the two is here. A path is a `pathlib.Path`, or for
`gs://bucket/...` an `epath.Path`, which has the same methods. In a bucket there are
no folders, only names with slashes in them, nothing to rename, and every object
appears whole or not at all.
"""

import contextlib
import functools
import io
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

from expertjax.errors import InputError
from expertjax.home import expand_home

_BUCKETS = "gs://"
# Two letters at least: C: is a drive.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def as_path(path: Path | str) -> Path:
    """A path from what a user gave; asks once whether its bucket can be reached.

    Raises:
      InputError: another scheme than gs://, packages for it that are not installed,
        or a bucket that cannot be reached; a home folder that is nobody's.
    """
    text = expand_home(os.fspath(path))
    if isinstance(path, Path) and re.match("gs:/[^/]", text):
        raise InputError(
            f"{text}: pathlib has made one slash of two; give a str, gs://bucket/..."
        )
    scheme = _SCHEME.match(text)
    if not scheme:
        return Path(text)
    bucket, key = _split(text)
    if not bucket:
        raise InputError(f"{text}: expected a local path or gs://bucket/...")
    _reach(bucket)
    from etils import epath

    # Buckets know no "..".
    key = posixpath.normpath("/" + key).lstrip("/")
    return cast(Path, epath.Path(f"{_BUCKETS}{bucket}/{key}"))


def _split(path: Path | str) -> tuple[str, str]:
    """Bucket and name in it; a local path has neither."""
    text = os.fspath(path)
    if not text.startswith(_BUCKETS):
        return "", ""
    bucket, _, key = text.removeprefix(_BUCKETS).partition("/")
    return bucket, key


def is_local(path: Path) -> bool:
    """Is it no bucket's?"""
    return isinstance(path, Path)


def absolute(path: Path) -> Path:
    """The path from the root on."""
    return path.absolute() if is_local(path) else path


def resolved(path: Path) -> Path:
    """The same, without links and ".."; equal for paths of the same place."""
    return path.resolve() if is_local(path) else path


def relative(path: Path, start: Path) -> str:
    """The way from a folder to a path, for `follow`; the whole path to elsewhere."""
    if _split(path)[0] != _split(start)[0]:
        return str(resolved(path))
    return os.path.relpath(path, start)


def follow(start: Path, way: str) -> Path:
    """Where `relative` leads from a folder."""
    return as_path(way if _SCHEME.match(way) else os.path.join(start, way))


def kvstore(path: Path) -> dict[str, str]:
    """TensorStore's key-value store at a path."""
    bucket, key = _split(path)
    if bucket:
        return {"driver": "gcs", "bucket": bucket, "path": key}
    # Resolved, because TensorStore takes no "..".
    return {"driver": "file", "path": str(path.resolve())}


def location(spec: dict[str, Any]) -> str:
    """The path of a key-value store, for messages."""
    bucket = spec.get("bucket")
    return f"{_BUCKETS}{bucket}/{spec['path']}" if bucket else spec["path"]


def make_folder(path: Path) -> None:
    """Makes a folder and its parents, where there are folders."""
    if is_local(path):
        path.mkdir(parents=True, exist_ok=True)


def try_output(
    path: Path | str, flag: str, kind: Literal["folder", "local folder", "file"]
) -> None:
    """Refuses an output that could not be written, before any work is done.

    Leaves nothing behind: missing folders are made by who writes.

    Args:
      path: of a folder, which may be there already, or a file, which is replaced.
      flag: that gave it, for errors.
      kind: what is to be written.

    Raises:
      InputError: it cannot be written; says why.
    """
    named, path = f"{flag}={path}", as_path(path)
    if not is_local(path):
        if kind == "local folder":
            raise InputError(f"{named}: expected a local folder")
        trial = path.with_name(f"{path.name}.trial-{os.getpid()}")
        with _explained(f"{named}: cannot be written", "check the permissions"):
            trial.write_bytes(b"")
            trial.unlink()
        return
    try:
        if path.exists() and path.is_dir() == (kind == "file"):
            found, wanted = ("folder", "file") if kind == "file" else ("file", "folder")
            raise InputError(f"{named}: is a {found}; expected the name of a {wanted}")
        place = path.absolute()
        place = place.parent if kind == "file" else place
        while not os.path.lexists(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(
            f"{named}: cannot be written ({error.strerror or error}); choose another "
            f"{flag} or mend it"
        ) from error


def names(folder: Path) -> set[str]:
    """The names in a folder; none if it is not there."""
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted."""
    if is_local(folder):
        return sorted(path.name for path in folder.iterdir() if path.is_dir())
    listed = _file_system().ls(str(folder), detail=True)
    return sorted(
        posixpath.basename(entry["name"])
        for entry in listed
        if entry["type"] == "directory"
    )


def readable(path: Path) -> Path | io.BytesIO:
    """A file as pandas takes it, which has ways of its own to buckets."""
    return path if is_local(path) else io.BytesIO(path.read_bytes())


def copy_file(source: Path, target: Path) -> None:
    """Copies a file."""
    if is_local(source) and is_local(target):
        shutil.copyfile(source, target)
    else:
        write_atomically(target, source.read_bytes())


def remove_folder(path: Path) -> None:
    """Removes a folder and what is in it, if it is there."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        cast(Any, path).rmtree(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a small file whole or not at all, and down to the disk.

    Its folder has to be there.
    """
    with aside(path) as temporary, temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """Puts a local file or folder into its place: at once, or a bucket's file by file.

    Raises:
      InputError: a bucket did not take it.
    """
    if is_local(target):
        source.replace(target)
        return
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    for file in files:
        if file.is_file():
            place = target / file.relative_to(source)
            with _explained(f"{place}: cannot be written", "run the same again"):
                _file_system().put_file(str(file), str(place))


@contextlib.contextmanager
def aside(path: Path, publish: Callable[[Path, Path], None] = move) -> Iterator[Path]:
    """A local path to write a file or folder to, published when all went well.

    Args:
      path: what it is to become.
      publish: brings what was written (first argument) to `path` (second).
    """
    with contextlib.ExitStack() as stack:
        if is_local(path):
            # In the same folder, so that moving is renaming.
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            stack.callback(_remove, temporary)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            temporary = Path(folder) / path.name
        yield temporary
        publish(temporary, path)


def _remove(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def _reach(bucket: str) -> None:
    """Asks for one name of the bucket."""
    try:
        file_system = _file_system()
    except ImportError as error:
        raise InputError(
            f"{_BUCKETS}{bucket}: needs packages that are not installed ({error}); "
            "pip install 'expertjax[gcs]'"
        ) from error
    advice = (
        "check the name and the credentials (gcloud auth application-default login, or "
        "GOOGLE_APPLICATION_CREDENTIALS)"
    )
    with _explained(f"{_BUCKETS}{bucket}: cannot be reached", advice):
        file_system.call("GET", "b/{}/o", bucket, maxResults=1)


@contextlib.contextmanager
def _explained(problem: str, advice: str) -> Iterator[None]:
    """Makes an InputError of what comes from the network."""
    try:
        yield
    except Exception as error:  # of four packages, without a class in common
        raise InputError(
            f"{problem} ({type(error).__name__}: {error}); {advice}"
        ) from error


@functools.cache
def _file_system() -> Any:
    """Gcsfs, as epath uses it."""
    import fsspec
    import gcsfs  # noqa: F401  # says what is missing in fewer words than fsspec

    # TensorStore and other processes write as well: what was listed once is no
    # longer true.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return fsspec.filesystem("gcs")
