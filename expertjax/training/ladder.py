"""A ladder: models of several sizes and training lengths on the same text.

Such checkpoints differ in what they know and in nothing else: text, tokenizer and
order of the batches are the same. On them one can try whether experts tell how well a
model generalizes (Suau et al. 2020, section 4.2).
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expertjax.errors import InputError
from expertjax.training.loop import train
from expertjax.training.settings import TrainSettings

_SIZE = re.compile(r"(\d+)x(\d+)x(\d+)")


def train_ladder(
    lines: Sequence[str],
    out: Path,
    settings: TrainSettings,
    sizes: Sequence[str] = (),
    keep_steps: Sequence[int] = (),
) -> list[tuple[Path, dict[str, Any]]]:
    """Trains a model of each size, one after the other; finished ones are kept.

    Args:
      lines: as for `train`.
      out: a model of size "2x64x2" goes to `out/2x64x2`; without sizes the one
        model goes to `out` itself.
      settings: as for `train`; sizes take the place of its own.
      sizes: layers x width x heads.
      keep_steps: as for `train`, in each size.

    Returns:
      folder and metrics of each.

    Raises:
      InputError: a size is malformed or given twice; see `train`.
    """
    runs = [(out, settings)]
    if sizes:
        runs = [(out / size, _of_size(settings, size)) for size in sizes]
    if len({folder for folder, _ in runs}) < len(runs):
        raise InputError(f"--sizes={','.join(sizes)}: one is given twice")
    return [(folder, train(lines, folder, run, keep_steps)) for folder, run in runs]


def _of_size(settings: TrainSettings, size: str) -> TrainSettings:
    match = _SIZE.fullmatch(size)
    if not match:
        raise InputError(
            f"--sizes={size}: expected layers x width x heads, such as 4x128x4"
        )
    num_layers, width, num_heads = map(int, match.groups())
    return dataclasses.replace(
        settings, num_layers=num_layers, width=width, num_heads=num_heads
    )
