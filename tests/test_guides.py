"""What the guides show runs: concepts of one's own, a family of one's own."""

import re
from pathlib import Path
from typing import Any

import pytest

from binaries import build_concepts
from expertjax.checkpoints.load import load_model
from expertjax.errors import InputError
from expertjax.models import registry
from expertjax.scoring.null import thresholds
from tests import bounds
from tests.data import REPOSITORY
from tests.models import parity
from tests.programs import finish, start

DOCS = REPOSITORY / "expertjax" / "docs"


def blocks(guide: str, language: str) -> list[str]:
    text = (DOCS / guide).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_index_names_every_guide() -> None:
    text = (DOCS / "index.md").read_text("utf-8")
    names = {path.name for path in DOCS.iterdir() if path.is_file()} - {"index.md"}
    assert names <= set(re.findall(r"\]\(([\w.]+)\)", text))


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        if not link.startswith("https://"):
            assert (path.parent / link).is_file(), link


def test_concepts_from_python_and_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in blocks("own_concepts.md", "python"):
        exec(block, namespace)
    assert (tmp_path / "concepts" / "mine" / "crow.json").is_file()


def test_concepts_from_a_table(tmp_path: Path) -> None:
    if "table" not in build_concepts.FLAGS["source"].parser.enum_values:
        pytest.skip("build_concepts does not read tables")
    (tmp_path / "texts.csv").write_text(blocks("own_concepts.md", "csv")[0])
    flags = {"input": tmp_path / "texts.csv", "out": tmp_path / "concepts"}
    job = start("build_concepts", source="table", min_positives=2, **flags)
    (said,) = finish(job)
    assert said.startswith("1 concepts")


def test_thresholds_that_the_guide_tells() -> None:
    text = (DOCS / "own_concepts.md").read_text("utf-8")
    told = re.findall(r"(0\.\d\d) for (\d+)\s+(?:positives )?and (\d+)", text)
    assert len(told) == 3
    shapes = [(int(n_pos), int(n_neg)) for _, n_pos, n_neg in told]
    found = [f"{ap:.2f}" for ap in thresholds(shapes, num_units=10_000)]
    assert found == [ap for ap, _, _ in told]


@pytest.fixture
def seed_oss(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The guide's family in the registry; its tiny configurations."""
    family: dict[str, Any] = {}
    cases: dict[str, Any] = {}
    for block, namespace in zip(
        blocks("own_family.md", "python"), (family, cases), strict=True
    ):
        exec(block, namespace)
    monkeypatch.setitem(registry._BY_MODEL_TYPE, "seed_oss", family["FAMILY"])
    return cases["CASES"]


@pytest.mark.parametrize("name", ["seed-oss", "seed-oss-biases-tied"])
def test_family_of_the_guide_is_that_of_torch(
    name: str,
    seed_oss: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    architecture, attributes = seed_oss[name]
    options = {"architecture": architecture} | attributes
    monkeypatch.setitem(parity.CASES, name, (parity.make_tiny, options))
    pytest.importorskip("torch")
    case = parity.make_case(name, tmp_path / "model")
    tokens, mask = parity.batch(case.model, "left")
    reference = case.reference("left", tokens, mask)
    found = parity.errors(case.forward(tokens, mask, None), reference, mask)
    assert len(found) > 20
    assert max(found.values()) <= bounds.of_model(case.model), found


def test_without_its_row_the_family_is_refused(
    tmp_path: Path, seed_oss: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, attributes = seed_oss["seed-oss"]
    folder = parity.make_tiny(tmp_path / "model", architecture, **attributes)
    monkeypatch.delitem(registry._BY_MODEL_TYPE, "seed_oss")
    with pytest.raises(InputError, match="model_type 'seed_oss' is not known; known"):
        load_model(str(folder))
