"""This user's folder for what can be made again, such as compiled code."""

import os
import sys
import tempfile
from pathlib import Path


def user_cache(name: str) -> Path | None:
    """A folder of that name in the user's cache folder; None where none can be written.

    There is no other place then: what a folder that others may write to holds would be
    run as this user.

    Args:
      name: of what is kept, one for each kind.
    """
    try:
        folder = _caches() / "expertjax" / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: nobody has a home here
        return None


def _caches() -> Path:
    """Where this system's programs keep such things."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
