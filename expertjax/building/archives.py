"""Reads files out of a folder or an archive, in memory; nothing is ever extracted.

Links, devices and whatever else is no plain file are passed over, so that neither a
name nor a link of an archive can reach outside it.
"""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from expertjax.errors import InputError

# Far above any corpus of tagged sentences: an archive that unpacks to more is a slip
# or a bomb.
MAX_BYTES = 2 << 30
_BROKEN = (
    OSError,
    EOFError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # zipfile: a password is needed
    NotImplementedError,  # zipfile: a compression it does not know
)
_NOTICE = re.compile(
    r"(?:[\w-]+\.)*(?:licen[cs]e|copying|notice|readme|citation)[\w.-]*",
    re.IGNORECASE,
)
_MAX_NOTICE = 1 << 20


def read_files(
    path: str | Path, wanted: Callable[[str], bool], limit: int = MAX_BYTES
) -> list[tuple[str, bytes]]:
    """The files of `path` whose names are wanted, as (name, content), by name.

    Args:
      path: a folder, a `.tar` (also `.gz`, `.bz2`, `.xz`) or a `.zip`.
      wanted: whether to read the file of a name, which is relative to `path` and has
        `/` between its parts.
      limit: the most bytes to read in all.

    Raises:
      InputError: `path` is missing, damaged, of no known kind, or holds too much.
    """
    path = Path(path)
    if path.is_dir():
        read = _read_folder
    elif not path.is_file():
        raise InputError(f"--input={path}: no such folder or file")
    elif zipfile.is_zipfile(path):
        read = _read_zip
    else:
        read = _read_tar
    try:
        return sorted(read(path, wanted, _Budget(path, limit)))
    except _BROKEN as error:
        raise InputError(
            f"--input={path}: cannot be read ({error}); expected a folder, a .tar "
            "(.gz, .bz2, .xz) or a .zip that is whole"
        ) from error


def read_notices(path: str | Path) -> dict[str, str]:
    """Licence, notice and readme files at the top of `path`, name -> text.

    Raises:
      InputError: as `read_files`.
    """

    def at_the_top(name: str) -> bool:
        *folders, file = name.removeprefix("./").split("/")
        return len(folders) <= 1 and bool(_NOTICE.fullmatch(file))

    found = {}
    for name, content in read_files(path, at_the_top):
        if len(content) <= _MAX_NOTICE:
            text = decode(content)
            found[name.split("/")[-1]] = "\n".join(text.splitlines()) + "\n"
    return found


def decode(content: bytes) -> str:
    """UTF-8 where it is that, else latin-1, the other encoding of old corpora."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


class _Budget:
    """Counts bytes before they are read."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit, self.used = path, limit, 0

    def spend(self, size: int) -> int:
        self.used += size
        if self.used > self.limit:
            raise InputError(
                f"--input={self.path}: holds more than {self.limit >> 20} MiB to read; "
                "give the folder or archive of one corpus"
            )
        return size


def _read_folder(
    path: Path, wanted: Callable[[str], bool], budget: _Budget
) -> list[tuple[str, bytes]]:
    found = []
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if wanted(name) and file.is_file():
            budget.spend(file.stat().st_size)
            found.append((name, file.read_bytes()))
    return found


def _read_zip(
    path: Path, wanted: Callable[[str], bool], budget: _Budget
) -> list[tuple[str, bytes]]:
    found = []
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if wanted(entry.filename) and not entry.is_dir():
                # Reads no more than the size that the entry declares.
                budget.spend(entry.file_size)
                found.append((entry.filename, archive.read(entry)))
    return found


def _read_tar(
    path: Path, wanted: Callable[[str], bool], budget: _Budget
) -> list[tuple[str, bytes]]:
    found = []
    # As a stream: going back in a compressed archive would unpack it anew.
    with tarfile.open(path, "r|*") as archive:
        for entry in archive:
            if wanted(entry.name) and entry.isfile():
                budget.spend(entry.size)
                file = archive.extractfile(entry)
                assert file is not None  # which plain files never are
                found.append((entry.name, file.read()))
    return found
