"""Where tests find data that is not part of the project."""

import importlib.metadata
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


def data_folder(name: str) -> Path:
    """A folder of `$EXPERTJAX_DATA` or `../shared/data`; skips where absent."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("EXPERTJAX_DATA", default)) / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in $EXPERTJAX_DATA or ../shared/data")
    return folder


def package_folder(package: str, file: str = "config.json") -> Path:
    """The folder of a model that an installed package carries; skips if absent."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"package {package} is not installed")
    found = sorted(
        (Path(str(entry.locate())) for entry in files if entry.name == file),
        key=lambda path: len(path.parts),
    )
    if not found:
        pytest.skip(f"package {package} has no {file}")
    return found[0].parent
