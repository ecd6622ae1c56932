"""Every product of matrices asks for its precision, in all that runs a model.

CPUs multiply float32 as float32 whatever they are asked for, GPUs and TPUs do not; so
the programs are looked at as they go to the compiler.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.data import REPOSITORY

JOB = """
import sys
import expertjax as ej

precision, folder, out = sys.argv[1:]
lm = ej.load_model(ej.EXAMPLE_MODEL, precision=precision)
concepts = ej.load_concepts(folder)
settings = ej.CaptureSettings(seq_len={seq_len}, precision=precision)
found = ej.FindSettings(capture=settings)
[result] = ej.find_experts([str(ej.EXAMPLE_MODEL)], folder, out, found)
ej.token_activations(lm, "A crane flew.", [3])
edit = ej.Expertise(result).force("sense/tiny-0", k=3)
written = ej.generate(lm, "A crane", [None, edit], seeds=[0], max_new_tokens=3)
ej.perplexity(lm, list(written["sentence"]))
ej.bits_per_byte(lm, ["A crane flew."])
probes = ej.ProbeSettings(precision=precision)
ej.probe_models([str(ej.EXAMPLE_MODEL)], [folder], out + "/probes", probes)
"""
TRAIN = """
import sys
from pathlib import Path
from expertjax.training.loop import train
from expertjax.training.settings import TrainSettings

lines = [f"the crane flew over {n} rivers and {n + 1} fields ." for n in range(300)]
train(lines, Path(sys.argv[1]), TrainSettings(
    width=8, num_layers=1, num_heads=1, seq_len=16, batch_size=4, epochs=1,
    vocab_size=270, heldout_share=0.1, eval_every=9999))
"""
ASKED = {
    "float32": "precision = [HIGHEST, HIGHEST]",
    "bfloat16_3x": "num_primitive_operations = 3",
}


def programs(folder: Path, script: str, *args: object) -> dict[str, str]:
    """The text of every program that a script compiles, as StableHLO."""
    environment = dict(os.environ, JAX_DUMP_IR_TO=str(folder), JAX_PLATFORMS="cpu")
    subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        check=True,
        cwd=REPOSITORY,
        env=environment,
        timeout=300,
    )
    return {path.name: path.read_text() for path in sorted(folder.glob("*.mlir"))}


def products(texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(program, product): every `dot_general` of them."""
    for name, text in texts.items():
        for line in re.findall(r"stablehlo\.dot_general[^\n]*", text):
            yield name, line


@pytest.mark.parametrize("precision", ["float32", "bfloat16_3x"])
def test_every_program_asks_for_the_precision_that_was_chosen(
    tmp_path: Path, precision: str
) -> None:
    concepts = write_tiny_concepts(tmp_path / "concepts")
    script = JOB.format(seq_len=SEQ_LEN)
    out = tmp_path / "out"
    texts = programs(tmp_path / "ir", script, precision, concepts, out)
    # Probes themselves are fitted in float32 whatever the model computes in.
    found = [line for line in products(texts) if "fit_tasks" not in line[0]]
    programs_with_products = {name.split("_compile")[0] for name, _ in found}
    assert len(programs_with_products) >= 5, programs_with_products
    wrong = [line for line in found if ASKED[precision] not in line[1]]
    assert not wrong, wrong[:3]
    probes = [line for line in products(texts) if "fit_tasks" in line[0]]
    assert probes and all(ASKED["float32"] in line for _, line in probes)


def test_training_multiplies_float32(tmp_path: Path) -> None:
    found = list(products(programs(tmp_path / "ir", TRAIN, tmp_path / "lm")))
    assert len(found) > 10  # forward and backward
    assert all(ASKED["float32"] in line for _, line in found)
