"""The studio's measurement, in small: on the model that ships."""

import pytest


def test_a_crowd_is_answered_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio_client")
    from binaries.benchmarks import studio

    monkeypatch.setattr(studio, "_SIDE", 8)
    row = studio.studio_table([], repeats=1).iloc[0]
    assert row["answered"] >= 16 and row["answered"] + row["refused"] == 50
    assert row["first_token_s"] > 0 and row["tokens_s"] > 0
    assert 0 < row["found_s"] < 60
