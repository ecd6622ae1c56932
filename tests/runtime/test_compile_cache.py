"""Damaged entries of the compile cache are made anew, and said nothing of."""

from pathlib import Path

import pytest

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
