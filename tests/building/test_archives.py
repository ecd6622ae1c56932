"""Folders and archives: the same files, never more than was asked for."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from expertjax.building.archives import read_files, read_notices
from expertjax.errors import InputError

FILES = {"top/b.txt": b"two", "top/a.txt": b"one", "top/c.bin": b"three"}
EXPECTED = [("top/a.txt", b"one"), ("top/b.txt", b"two")]


def _text(name: str) -> bool:
    return name.endswith(".txt")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tar.xz", "zip"])
def test_same_from_every_kind(tmp_path: Path, kind: str):
    path = tmp_path / f"data.{kind}"
    if kind == "folder":
        for name, content in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{kind.removeprefix('tar').lstrip('.')}") as archive:
            for name, content in FILES.items():
                _add(archive, name, content)
    before = sorted(tmp_path.rglob("*"))
    assert read_files(path, _text) == EXPECTED
    assert sorted(tmp_path.rglob("*")) == before  # nothing was extracted
    with pytest.raises(InputError, match="more than 0 MiB"):
        read_files(path, _text, limit=5)


def test_links_in_archives_are_passed_over(tmp_path: Path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            entry = tarfile.TarInfo("link.txt")
            entry.type, entry.linkname = kind, os.fspath(secret)
            archive.addfile(entry)
        _add(archive, "../out.txt", b"kept in memory")
    found = read_files(tmp_path / "a.tar", _text)
    assert found == [("../out.txt", b"kept in memory")]


def test_what_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder or file"):
        read_files(tmp_path / "none.tar", _text)
    (tmp_path / "odd.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(InputError, match=r"expected a folder, a \.tar"):
        read_files(tmp_path / "odd.tar", _text)
    with tarfile.open(tmp_path / "cut.tar.xz", "w:xz") as archive:
        _add(archive, "a.txt", os.urandom(5000))
    whole = (tmp_path / "cut.tar.xz").read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[:2000])
    with pytest.raises(InputError, match="that is whole"):
        read_files(tmp_path / "cut.tar.xz", _text)


def test_notices_are_those_at_the_top(tmp_path: Path):
    for name in ("LICENSE", "semcor.readme.txt", "deep/er/LICENSE", "licentious.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"caf\xe9\r\nmine")
    notices = read_notices(tmp_path)
    assert notices == {"LICENSE": "café\nmine\n", "semcor.readme.txt": "café\nmine\n"}
