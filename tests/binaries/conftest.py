"""A result of the real program, over concepts whose names have combining marks."""

import dataclasses
import unicodedata
from pathlib import Path

import pytest

from tests.capturing.tiny_concepts import tiny_concepts, write_tiny_concepts
from tests.programs import run_program

NAMES = ("हिन्दी", "ไทย", unicodedata.normalize("NFD", "música"))
SHORT = 40  # tokens; some sentences are longer


@dataclasses.dataclass(frozen=True)
class Found:
    """What find_experts has made.

    Attributes:
      flags: model, concepts and seq_len that it was given.
      folder: OUT/<model_name>.
      said: on the screen.
    """

    flags: dict[str, object]
    folder: Path
    said: str


@pytest.fixture(scope="session")
def found(tiny_gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Do not change it."""
    folder = tmp_path_factory.mktemp("found")
    concepts = [
        dataclasses.replace(concept, group="भाषा", name=name)
        for concept, name in zip(tiny_concepts(), NAMES, strict=True)
    ]
    write_tiny_concepts(folder / "concepts", concepts)
    flags = {"model": tiny_gpt2_folder, "seq_len": SHORT}
    flags["concepts"] = folder / "concepts"
    said = run_program("find_experts", **flags, out=folder / "out")
    return Found(flags, folder / "out" / tiny_gpt2_folder.name, said)
