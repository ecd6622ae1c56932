"""Of many sentences, capture holds the text and the tokens, but no responses."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from expertjax.building.write import write_concepts
from expertjax.concepts.files import Concept
from tests.capturing.tiny_concepts import WORDS
from tests.data import REPOSITORY
from tests.tiny_models import make_tiny_gpt2

COUNTS = (2_000, 10_000, 50_000)
ROW = 4 * 9 * 64 * 4  # bytes of the responses to a sentence
MOST = ROW / 2  # bytes of memory for each sentence more: text, tokens, tables
CAPTURE = """
import json, sys, time
import expertjax as ej
from binaries.benchmarks.loading import peak_bytes

model, concepts, out = sys.argv[1:]
begin = time.perf_counter()
pool = ej.load_concepts(concepts, num_per_concept=10**6)
folder = ej.capture(ej.load_model(model), pool, out, ej.CaptureSettings(seq_len=16))
size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
seconds = time.perf_counter() - begin
print(json.dumps({"peak": peak_bytes(), "size": size, "seconds": seconds}))
"""


def capture(model: Path, count: int, folder: Path) -> dict[str, float]:
    """Peak memory, size of the result and time of one capture, in its own process."""
    random = np.random.default_rng(0)
    words = np.array(WORDS)[random.integers(0, len(WORDS), (count, 3))]
    texts = [f"{i} {' '.join(some[: 1 + i % 3])}" for i, some in enumerate(words)]
    half = count // 2
    write_concepts(
        [Concept("sense", "any", tuple(texts[:half]), tuple(texts[half:]))],
        folder / "concepts",
        "tests",
    )
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    environment.pop("XLA_FLAGS", None)
    done = subprocess.run(
        [sys.executable, "-c", CAPTURE, model, folder / "concepts", folder / "out"],
        cwd=REPOSITORY,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_memory_does_not_grow_with_the_responses(tmp_path: Path) -> None:
    model, peaks = make_tiny_gpt2(tmp_path / "tiny", n_embd=64, n_layer=4), []
    for count in COUNTS:
        begin = time.monotonic()
        found = capture(model, count, tmp_path / str(count))
        peaks.append(found["peak"])
        print(
            f"{count} sentences: peak {found['peak'] / 1e6:.0f} MB, result "
            f"{found['size'] / 1e6:.0f} MB, {found['seconds']:.1f} s "
            f"({time.monotonic() - begin:.1f} s in all)"
        )
        assert found["size"] > 0.8 * count * ROW
    few, some, many = peaks
    more = (many - few) / (COUNTS[2] - COUNTS[0])
    print(
        f"{COUNTS[2]} over {COUNTS[0]}: {many / few:.3f}; over {COUNTS[1]}: "
        f"{many / some:.3f}, {more:.0f} bytes a sentence, whose responses are {ROW}"
    )
    assert more <= MOST
