"""Damaged entries of the compile cache are made anew, and said nothing of."""

import os
from pathlib import Path

import pytest

from expertjax.runtime import compile_cache
from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.programs import contents, finish, start


@pytest.mark.parametrize("by_variable", [False, True])
def test_damaged_entries_heal(
    tiny_gpt2_folder: Path,
    tmp_path: Path,
    by_variable: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    cache = tmp_path / "cache"
    flags = {"concepts": write_tiny_concepts(tmp_path / "concepts"), "seq_len": SEQ_LEN}
    flags |= {"model": tiny_gpt2_folder}
    if by_variable:  # JAX's own, where the flag is not given
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
        monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    else:
        flags["compile_cache"] = cache
    finish(start("capture_responses", **flags, out=tmp_path / "first"))
    whole = contents(cache, "*-cache")
    assert whole
    for number, name in enumerate(whole):  # as a killed process may leave them
        half = whole[name][: len(whole[name]) // 2 if number % 2 else 0]
        (cache / name).write_bytes(half)
    (said,) = finish(start("capture_responses", **flags, out=tmp_path / "second"))
    assert "cache" not in said.lower()
    healed = contents(cache, "*-cache")
    assert healed.keys() == whole.keys()
    assert all(len(healed[name]) > len(whole[name]) // 2 for name in whole)


def test_by_default_they_are_kept_in_the_users_cache(
    tiny_gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    flags = {"concepts": write_tiny_concepts(tmp_path / "concepts"), "seq_len": SEQ_LEN}
    flags |= {"model": tiny_gpt2_folder}
    compiled = tmp_path / "caches" / "expertjax" / "compiled"
    finish(start("capture_responses", **flags, out=tmp_path / "a", compile_cache=""))
    assert not compiled.exists()
    finish(start("capture_responses", **flags, out=tmp_path / "b"))
    kept = contents(compiled, "*/*-cache")
    assert kept
    finish(start("capture_responses", **flags, out=tmp_path / "c"))
    assert contents(compiled, "*/*-cache") == kept


def test_what_was_not_read_for_longest_goes_first(tmp_path: Path):
    for number, name in enumerate(["a/x-cache", "b/x-cache", "a/y-cache", "b/other"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"." * 100)
        os.utime(path, (1000 - number, 10))  # read, written
    # Names only: to read an entry is to use it.
    left = []
    for most_bytes in (300, 250, 99):
        compile_cache._prune(tmp_path, most_bytes)
        left.append({str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")})
    assert left == [
        {"a/x-cache", "a/y-cache", "b/x-cache", "b/other"},
        {"a/x-cache", "b/x-cache", "b/other"},
        {"b/other"},
    ]
