"""What installing and importing the package costs, and what the README says."""

import importlib.metadata
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import expertjax
from tests.data import REPOSITORY


def installed_with(name: str) -> set[str]:
    """The packages that installing `name` brings, extras left out."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        package = waiting.pop()
        try:
            requires = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in requires:
            dependency = re.match(r"[\w.-]+", line)
            if "extra ==" in line or dependency is None:
                continue
            key = dependency[0].lower().replace("_", "-")
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found


def test_installing_brings_no_torch_tensorflow_or_jupyter() -> None:
    try:
        importlib.metadata.distribution("expertjax")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("expertjax is not installed: pip install -e .")
    brought = installed_with("expertjax")
    assert "jax" in brought
    unwanted = {"torch", "tensorflow", "jupyter", "notebook", "jupyterlab", "ipykernel"}
    assert not brought & unwanted


def test_importing_costs_little_more_than_jax() -> None:
    def seconds(statement: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True, cwd=REPOSITORY)
        return time.perf_counter() - start

    ratios = [
        seconds("import expertjax, jax") / seconds("import jax") for _ in range(5)
    ]
    print(f"import expertjax with jax / import jax: {sorted(ratios)}")
    assert statistics.median(ratios) <= 1.5


def test_importing_parses_no_flags_and_opens_no_connection() -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*args): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "import expertjax as ej\n"
        "for name in ej.__all__: getattr(ej, name)\n"
        "from absl import flags\n"
        "assert not flags.FLAGS.is_parsed()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


def test_every_public_name_is_there_and_documented() -> None:
    for name in expertjax.__all__:
        value = getattr(expertjax, name)
        if not name.isupper():
            assert value.__doc__, name
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = expertjax.nothing_like_it


def test_ci_runs_the_readmes_test_command() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    commands = re.findall(r"```bash\n(.*?)\n```", readme, re.S)
    test_commands = [c for c in commands if "pytest" in c]
    assert len(test_commands) == 1
    script = (REPOSITORY / ".ci" / "run").read_text("utf-8").replace("--quiet ", "")
    assert test_commands[0] in script


def test_ci_says_at_its_end_which_tests_were_not_run(tmp_path: Path) -> None:
    (tmp_path / "test_whole.py").write_text(
        "import pytest\npytest.importorskip('no_such_module')\n"
    )
    (tmp_path / "test_single.py").write_text(
        "import pytest\n"
        "@pytest.mark.skipif(True, reason='needs <Chromium>')\n"
        "def test_page(): pass\n"
        "@pytest.mark.xfail(reason='known')\n"
        "def test_wrong(): assert 0\n"
        "def test_run(): pass\n"
    )
    file = tmp_path / "tests.xml"
    command = [sys.executable, "-m", "pytest", tmp_path, f"--junitxml={file}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    command = [sys.executable, REPOSITORY / ".ci" / "not_run.py", file]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == [
        "Tests not run: 2",
        "  could not import 'no_such_module': No module named 'no_such_module'",
        "    test_whole",
        "  needs <Chromium>",
        "    test_single.test_page",
    ]
