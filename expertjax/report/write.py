"""Writes a report into a folder: whole or not at all."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from expertjax.errors import InputError
from expertjax.report import page
from expertjax.report.data import ReportData
from expertjax.report.limits import limits_for
from expertjax.report.pictures import CONCEPT_PICTURES, Picture, pictures
from expertjax.stores import paths

_INDEX = "index.html"
TOP_K = 50  # units of a concept that are compared with those of others


def write_report(
    folder: Path | str,
    data: ReportData,
    top_k: int = TOP_K,
    drawn: Iterable[Picture] | None = None,
) -> Path:
    """Writes one model's `folder/index.html`, and its figures as files beside it.

    Args:
      folder: where to write; made if it is not there.
      data: one model's results.
      top_k: units of each concept that the co-learning map compares.
      drawn: its figures; drawn here if they are not given.

    Returns:
      The path of the page.

    Raises:
      InputError: `folder` is a file.
      OSError: it cannot be written, for instance because the disk is full.
    """
    limits = limits_for(len(data.concepts))
    parts = [page.model_part(data, limits, top_k)]
    return write_pages(
        folder, parts, pictures(data, limits) if drawn is None else drawn
    )


def write_pages(
    folder: Path | str,
    parts: Sequence[page.ModelPart],
    drawn: Iterable[Picture],
    comparison: dict[str, Any] | None = None,
) -> Path:
    """Writes `folder/index.html` of one model or several, and figures beside it.

    Everything is rendered and written under a temporary name first. A new folder
    then appears at once (in a bucket, file by file); in an existing one, `index.html`,
    which needs no other file, is replaced last, and files that are not the report's
    stay.

    Args:
      folder: as for `write_report`.
      parts: the models.
      drawn: figures.
      comparison: of several models.

    Returns:
      The path of the page.

    Raises:
      InputError: as for `write_report`.
      OSError: as for `write_report`.
    """
    folder = paths.as_path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the report")
    html = page.render(parts, comparison)
    with paths.aside(paths.absolute(folder), _publish) as aside:
        aside.mkdir(parents=True)
        for picture in drawn:
            (aside / f"{picture.name}.png").write_bytes(picture.png)
            (aside / f"{picture.name}.svg").write_bytes(picture.svg)
        (aside / _INDEX).write_text(html, encoding="utf-8")
    return folder / _INDEX


def _publish(aside: Path, folder: Path) -> None:
    """Moves the finished files into place, the page last."""
    if not folder.exists():
        paths.move(aside, folder)
        return
    names = sorted(path.name for path in aside.iterdir() if path.name != _INDEX)
    for name in [*names, _INDEX]:
        paths.move(aside / name, folder / name)
    for old in folder.glob(f"{CONCEPT_PICTURES}*.*"):
        if old.name not in names:
            old.unlink()
