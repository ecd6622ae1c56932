"""JSON objects in the folder of a checkpoint."""

import json
from pathlib import Path
from typing import Any

from expertjax.errors import InputError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
      InputError: no file, no JSON or no object.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes an object, its keys sorted."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
