"""A job of many blocks for a tiny model, and what one process makes of it."""

from pathlib import Path
from typing import Any

import pytest

from expertjax.building.write import write_concepts
from expertjax.concepts.files import Concept
from tests.capturing.tiny_concepts import random_sentences
from tests.programs import run_program
from tests.tiny_models import make_tiny_gpt2


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Flags of a job of over a hundred blocks of sentences and five of units."""
    folder = tmp_path_factory.mktemp("job")
    model = make_tiny_gpt2(folder / "tiny", n_embd=64, n_layer=4)
    # Of like length, so that little has to be compiled.
    texts = [
        text for text in random_sentences(6000, seed=0) if text.count(" ") in (3, 4, 5)
    ][:900]
    assert len(texts) == 900
    concepts = [
        Concept("sense", f"c{i}", tuple(texts[i:450:3]), tuple(texts[450 + i :: 3]))
        for i in range(3)
    ]
    write_concepts(concepts, folder / "concepts", "tests")
    return {
        "model": model,
        "concepts": folder / "concepts",
        "seq_len": 64,
        "block_rows": 8,
        "block_bytes": 1,
        "compile_cache": folder / "cache",
    }


@pytest.fixture(scope="session")
def alone(job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT/tiny of that job in one process. Do not change it."""
    out = tmp_path_factory.mktemp("alone")
    # What is kept by the others that run the job has to change nothing.
    run_program("find_experts", **job | {"compile_cache": ""}, out=out)
    return out / "tiny"
