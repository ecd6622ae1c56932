"""Functions compiled by numba, whose code is kept for later runs where it can be."""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

from expertjax.runtime.user_cache import user_cache


def native(**options: Any) -> Callable[[Callable], Any]:
    """`numba.njit`, with the code in the user's cache folder, or in none.

    Args:
      **options: of `numba.njit`.
    """

    def wrap(function: Callable) -> Any:
        compiled = numba.njit(**options)(function)
        # RuntimeError: $NUMBA_CACHE_DIR is no folder to write in.
        with _cache_folder() as is_there, contextlib.suppress(RuntimeError):
            if is_there:
                # As its own `enable_caching` does, with another cache.
                compiled._cache = _Kept(function)
        return compiled

    return wrap


class _Kept(FunctionCache):
    """Goes on without what it cannot read or write."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged file, in which anything may fail
            with contextlib.suppress(OSError):
                self.flush()  # so that it is written anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:
            self.disable()


@contextlib.contextmanager
def _cache_folder() -> Iterator[bool]:
    """Caches that are made meanwhile lie in our folder; False where there is none."""
    config: Any = numba.config
    users = config.CACHE_DIR  # $NUMBA_CACHE_DIR has precedence
    folder = users or _folder()
    config.CACHE_DIR = str(folder or "")
    try:
        yield folder is not None and _can_be(Path(folder))
    finally:
        config.CACHE_DIR = users


def _can_be(folder: Path) -> bool:
    """Else numba would take the sources' own, and find code of older sources there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True


@functools.cache
def _folder() -> Path | None:
    """Another for other sources: numba looks at a function's own file only."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return user_cache(f"numba-{digest.hexdigest()[:16]}")
