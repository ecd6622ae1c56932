"""What the README shows in Python runs as it stands."""

import re
from pathlib import Path

import matplotlib
import pytest

from tests.data import REPOSITORY


def test_the_readmes_python_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    (code,) = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), re.S
    )
    names: dict[str, object] = {}
    exec(code, names)
    said = capsys.readouterr().out
    for shown in ("best unit", "shrub", "promoted", "jaccard", "a kind of", "tall"):
        assert shown in said, shown
    expertise = names["expertise"]
    assert len(expertise.excited) and len(expertise.writes)  # type: ignore[attr-defined]
    assert (tmp_path / "out/example/gpt2_wordnet/report/index.html").is_file()
