"""Writes a report into a folder: whole or not at all."""

from pathlib import Path

from expertjax.errors import InputError
from expertjax.report import page
from expertjax.report.data import ReportData
from expertjax.stores import paths

_INDEX = "index.html"


def write_report(folder: Path | str, data: ReportData) -> Path:
    """Writes `folder/index.html` and its figures as PNG files beside it.

    Everything is rendered and written under a temporary name first. A new folder
    then appears at once (in a bucket, file by file); in an existing one, `index.html`,
    which needs no other file, is replaced last, and files that are not the report's
    stay.

    Args:
      folder: where to write; made if it is not there.
      data: one model's results.

    Returns:
      The path of the page.

    Raises:
      InputError: `folder` is a file.
      OSError: it cannot be written, for instance because the disk is full.
    """
    folder = paths.as_path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the report")
    rendered = page.render(data)
    with paths.aside(paths.absolute(folder), _publish) as aside:
        aside.mkdir(parents=True)
        for picture in rendered.pictures:
            (aside / picture.file_name).write_bytes(picture.png)
        (aside / _INDEX).write_text(rendered.html, encoding="utf-8")
    return folder / _INDEX


def _publish(aside: Path, folder: Path) -> None:
    """Moves the finished files into place, the page last."""
    if not folder.exists():
        paths.move(aside, folder)
        return
    names = sorted(path.name for path in aside.iterdir() if path.name != _INDEX)
    for name in [*names, _INDEX]:
        paths.move(aside / name, folder / name)
    for old in folder.glob("ap_concept-*.png"):
        if old.name not in names:
            old.unlink()
