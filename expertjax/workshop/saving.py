"""What reproduces what is on screen: edits, texts, a command line, a Python snippet."""

import shlex
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from expertjax.checkpoints.load import Model
from expertjax.models.unit_edits import UnitEdit
from expertjax.workshop.steer import ARMS, Wish

_NO_UNIT = UnitEdit((), np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))


def save(
    path: Path,
    model: Model,
    wish: Wish,
    edits: Sequence[UnitEdit | None],
    table: pd.DataFrame,
) -> None:
    """Writes a ZIP file: an edit for each text, `texts.csv`, `steer.py`, `steer.sh`.

    Args:
      path: of the file.
      model: that wrote.
      wish: what was asked for.
      edits: of the three texts.
      table: from `Steering.table`.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, edit in zip(ARMS, edits, strict=True):
            archive.writestr(f"{name}.json", (edit or _NO_UNIT).to_json())
        archive.writestr("texts.csv", table.to_csv(index=False))
        archive.writestr("steer.py", snippet(model, wish))
        archive.writestr("steer.sh", command(model, wish) + "\n")


def snippet(model: Model, wish: Wish) -> str:
    """Python that writes the same, beside the edits' files."""
    return "\n".join(
        [
            "from pathlib import Path",
            "",
            "import expertjax as ej",
            "",
            "here = Path(__file__).parent",
            f"lm = ej.load_model({_arguments(model)})",
            f"names = {ARMS!r}",
            'edits = [ej.UnitEdit.load(here / f"{name}.json") for name in names]',
            "texts = ej.generate(",
            f"    lm, {wish.prompt!r}, edits, seeds=[{wish.seed}],",
            *(f"    {name}={value!r}," for name, value in _settings(wish).items()),
            ")",
            'texts["perplexity"] = ej.perplexity(lm, list(texts["sentence"]))',
            'print(texts[["sentence", "perplexity"]].to_csv(index=False))',
            "",
        ]
    )


def command(model: Model, wish: Wish) -> str:
    """A command line that writes the same, in the folder of the edits' files."""
    flags = {"model": _path(model), "prompt": wish.prompt, "seed": wish.seed}
    more = {"precision": model.precision} if model.precision != "float32" else {}
    ignored = [f"--ignore_config={name}" for name in sorted(model.ignored_config)]
    words = [
        "expertjax",
        "steer",
        *(f"--{name}={value}" for name, value in (flags | more).items()),
        *ignored,
        *(f"--load_edit={name}.json" for name in ARMS),
        *(f"--{name}={value}" for name, value in _settings(wish).items()),
        "--out=again.csv",
    ]
    return " ".join(map(shlex.quote, words))


def _settings(wish: Wish) -> dict[str, int | float]:
    """Those of `generate` that count."""
    names = ("max_new_tokens", "temperature", "top_p", "batch_size", "room")
    return {name: getattr(wish.settings, name) for name in names}


def _arguments(model: Model) -> str:
    """How the model was loaded."""
    arguments = [repr(_path(model))]
    if model.dtype != "float32":
        arguments.append(f"dtype={model.dtype!r}")
    if model.precision != "float32":
        arguments.append(f"precision={model.precision!r}")
    if model.ignored_config:
        arguments.append(f"ignore_config={sorted(model.ignored_config)!r}")
    return ", ".join(arguments)


def _path(model: Model) -> str:
    """That of the model, from wherever it is asked for; a hub's id has none."""
    return str(model.path.resolve() if model.path.exists() else model.path)
