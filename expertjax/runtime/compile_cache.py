"""Keeping compiled programs from one run to the next."""

import contextlib
import hashlib
import platform
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expertjax.runtime.user_cache import user_cache

# Of all machines and versions; the quick start needs a megabyte.
_MOST_BYTES = 2**30

# What JAX says; its entries are called <program>-<hash>-cache.
_UNREADABLE = re.compile(
    r"Error reading persistent compilation cache entry for '(.*?)'"
)
_UNWRITTEN = "Error writing persistent compilation cache entry"


def keep_compiled(folder: str | None) -> None:
    """Lets XLA's compilations be found again in later runs.

    Args:
      folder: of this kind of machine, local or `gs://`; "" for none; None for one in
        this user's cache folder, where it can be written and JAX has not been given
        another.
    """
    import jax

    config: Any = jax.config
    if folder == "":
        config.update("jax_enable_compilation_cache", False)
        return
    folder = folder or config.jax_compilation_cache_dir or _users_folder()
    if not folder:
        return
    mend_unreadable()
    config.update("jax_compilation_cache_dir", folder)
    # All of them, however small or quickly made.
    config.update("jax_persistent_cache_min_compile_time_secs", 0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _users_folder() -> str:
    """This machine's part of the user's cache; "" where none can be written.

    Entries that have not been read for longest go where all take too much room. JAX can
    do that too, but not once a process was killed between its two files of an entry.
    """
    folder = user_cache("compiled")
    if folder is None:
        return ""
    with contextlib.suppress(OSError):  # another process may do the same
        _prune(folder, _MOST_BYTES)
    return str(folder / _machine())


def _prune(folder: Path, most_bytes: int) -> None:
    entries = [(path, path.stat()) for path in folder.glob("*/*-cache")]
    entries.sort(key=lambda entry: max(entry[1].st_atime, entry[1].st_mtime))
    excess = sum(stat.st_size for _, stat in entries) - most_bytes
    for path, stat in entries:
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= stat.st_size


def _machine() -> str:
    """A name for processors that run the same code; homes are shared between them."""
    about = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):  # Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kinds = ("flags", "Features", "model name")
        about += "".join(sorted({line for line in lines if line.startswith(kinds)}))
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def mend_unreadable() -> None:
    """From now on, entries that cannot be read are removed, and so written anew.

    A killed process may leave half an entry. JAX would warn of it in every run: it
    compiles, but never replaces an entry that is there.
    """
    show = warnings.showwarning
    if not isinstance(show, _Mend):
        warnings.showwarning = _Mend(show)


class _Mend:
    """Shows warnings, but those of a damaged entry are seen to."""

    def __init__(self, show: Callable[..., None]) -> None:
        self._show, self._has_told = show, False

    def __call__(self, message: Warning | str, *more: Any, **named: Any) -> None:
        unreadable = _UNREADABLE.match(str(message))
        if unreadable and _remove(unreadable[1]):
            return
        if str(message).startswith(_UNWRITTEN):  # else once for each program
            if self._has_told:
                return
            self._has_told = True
        self._show(message, *more, **named)


def _remove(program: str) -> bool:
    """Removes a program's entries, of all shapes: which one it was is not said."""
    import jax
    from etils import epath

    # A file system may refuse, and a bucket in several ways.
    with contextlib.suppress(Exception):
        config: Any = jax.config
        folder = epath.Path(config.jax_compilation_cache_dir)
        entries = list(folder.glob(f"{program}-*-cache"))
        for entry in entries:
            entry.unlink(missing_ok=True)
        return bool(entries)
    return False
