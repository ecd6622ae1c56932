"""Keeping compiled programs from one run to the next."""

import contextlib
import re
import warnings
from collections.abc import Callable
from typing import Any

# What JAX says; its entries are called <program>-<hash>-cache.
_UNREADABLE = re.compile(
    r"Error reading persistent compilation cache entry for '(.*?)'"
)
_UNWRITTEN = "Error writing persistent compilation cache entry"


def keep_compiled(folder: str) -> None:
    """Lets XLA's compilations be found again in later runs.

    Args:
      folder: of this kind of machine, local or `gs://`; "" for no cache.
    """
    if not folder:
        return
    import jax

    mend_unreadable()
    jax.config.update("jax_compilation_cache_dir", folder)
    # All of them, however small or quickly made.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


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
