"""What installing and importing the package costs, and what the README says."""

import importlib.metadata
import re
import statistics
import subprocess
import sys
import time

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
