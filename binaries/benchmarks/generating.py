"""Writing beside its peers: a sweep of edits, seeds by seeds, in one run.

Every measurement is a process of its own; time begins after imports and loading. All
sides write the same number of tokens from the same prompt with the same edits, at a
temperature of 1 and top-p of 0.9, and none of them ends a text before.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expertjax.models.unit_edits import UnitEdit

PROMPT = "Once upon a time"
_SIDES = ("ours", "ours, compiled", "torch", "reference")
_REFERENCE_TEXTS = 4  # its cost per text is constant


@dataclasses.dataclass(frozen=True)
class Job:
    """What all sides do.

    Attributes:
      model: Hugging Face folder.
      units: values of k; so many random units are forced.
      seeds: texts for each.
      new_tokens: of a text.
    """

    model: str
    units: tuple[int, ...] = (0, 1, 3, 10, 30, 60, 100, 300)
    seeds: int = 8
    new_tokens: int = 30

    @property
    def num_texts(self) -> int:
        """Of the sweep."""
        return len(self.units) * self.seeds


def generation_tables(models: Sequence[str], repeats: int) -> list[str]:
    """Measures the sides by turns, on one model after the other.

    Args:
      models: Hugging Face folders, `.gguf` files or "gpt2-small".
      repeats: of each measurement; medians are shown.

    Returns:
      a heading and a table for each model.
    """
    from binaries.benchmarks.capturing import huggingface_folder

    reports = []
    for model in models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            job = Job(str(huggingface_folder(model, folder)))
            turns = [
                {side: _in_a_process(side, job) for side in _SIDES}
                for _ in range(repeats)
            ]
            reports.append(
                f"{_heading(model, job)}\n{_table(turns).to_string(index=False)}\n"
            )
    return reports


def _heading(model: str, job: Job) -> str:
    return (
        f"{Path(model).name}: {len(job.units)} values of k x {job.seeds} seeds, "
        f"{job.new_tokens} tokens each; ours and torch in a batch of {job.num_texts}, "
        f"the reference one by one ({_REFERENCE_TEXTS} texts, with their perplexity)."
    )


def _table(turns: list[dict[str, float]]) -> pd.DataFrame:
    rows = []
    for side in _SIDES:
        rate = statistics.median(turn[side] for turn in turns)
        pairs = [turn["ours, compiled"] / turn[side] for turn in turns]
        rows.append(
            {
                "side": side,
                "tokens/s": round(rate, 1),
                "ours is faster": round(statistics.median(pairs), 2),
            }
        )
    return pd.DataFrame(rows)


def _in_a_process(side: str, job: Job) -> float:
    command = [sys.executable, "-m", "binaries.benchmarks.generating", side]
    done = subprocess.run(
        [*command, json.dumps(dataclasses.asdict(job))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout.splitlines()[-1])


def _edits(job: Job) -> list[UnitEdit | None]:
    """k random units forced to random values."""
    from expertjax.checkpoints.load import load_model
    from expertjax.models.sites import UnitTable

    model = load_model(job.model)
    table = UnitTable.build(model.sites, model.num_layers)
    edits: list[UnitEdit | None] = []
    for k in job.units:
        random = np.random.default_rng(k)
        units = random.choice(table.num_units, k, replace=False)
        edit = UnitEdit(
            site=[str(name) for name in table.site[units]],
            layer=table.layer[units],
            index=table.index[units],
            scale=np.zeros(k),
            shift=random.normal(0, 1, k),
            about={"modules": [str(name) for name in table.module[units]]},
        )
        edits.append(edit if k else None)
    return edits


def _ours(job: Job, *, twice: bool) -> float:
    from expertjax.checkpoints.load import load_model
    from expertjax.generation.generate import generate
    from expertjax.generation.settings import GenerateSettings

    edits = _edits(job)
    settings = GenerateSettings(
        max_new_tokens=job.new_tokens, temperature=1.0, stop_at_end=False
    )
    model = load_model(job.model)
    seconds = 0.0
    for _ in range(1 + twice):
        start = time.perf_counter()
        generate(model, [PROMPT], edits, range(job.seeds), settings)
        seconds = time.perf_counter() - start
    return job.num_texts * job.new_tokens / seconds


def _load_torch(job: Job) -> tuple[Any, Any]:
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count() or 1)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job.model, dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.model)
    return model, tokenizer


def _torch(job: Job) -> float:
    """`generate` on the whole sweep; hooks edit each text by its own k."""
    import torch

    model, tokenizer = _load_torch(job)
    modules = dict(model.named_modules())
    ids = torch.tensor([tokenizer(PROMPT).input_ids] * job.num_texts)
    # Module -> which texts, which unit, which value.
    changes: dict[str, list[tuple[int, int, float]]] = {}
    for number, edit in enumerate(_edits(job)):
        if edit is not None:
            for name, index, value in zip(
                edit.about["modules"], edit.index, edit.shift, strict=True
            ):
                changes.setdefault(name, []).append((number, int(index), float(value)))
    start = time.perf_counter()
    for name, some in changes.items():
        module = modules[name]
        texts = torch.tensor(
            [n * job.seeds + s for n, _, _ in some for s in range(job.seeds)]
        )
        units = torch.tensor([i for _, i, _ in some for _ in range(job.seeds)])
        values = torch.tensor([v for _, _, v in some for _ in range(job.seeds)])
        module.register_forward_hook(_set(texts, units, values))
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=job.new_tokens,
            min_new_tokens=job.new_tokens,
            do_sample=True,
            temperature=1.0,
            top_p=0.9,
            top_k=0,
            pad_token_id=0,
        )
    seconds = time.perf_counter() - start
    return out[:, ids.shape[1] :].numel() / seconds


def _set(texts: Any, units: Any, values: Any) -> Callable[[Any, Any, Any], Any]:
    def hook(module: Any, inputs: Any, z_BxTxF: Any) -> Any:
        z_BxTxF[texts, :, units] = values[:, None]
        return z_BxTxF

    return hook


def _reference(job: Job) -> float:
    """One text at a time, with a cache and hooks, then its perplexity (its way)."""
    import torch

    model, tokenizer = _load_torch(job)
    modules = dict(model.named_modules())
    edits = [edit for edit in _edits(job) if edit is not None]
    prompt = torch.tensor([tokenizer(PROMPT).input_ids])
    start = time.perf_counter()
    for number in range(_REFERENCE_TEXTS):
        edit = edits[number % len(edits)]
        by_module: dict[str, list[int]] = {}
        for i, name in enumerate(edit.about["modules"]):
            by_module.setdefault(name, []).append(i)
        handles = [
            modules[name].register_forward_hook(
                _set_all(torch.tensor(edit.index[rows]), torch.tensor(edit.shift[rows]))
            )
            for name, rows in by_module.items()
        ]
        torch.manual_seed(number)
        past, last, written = None, prompt, prompt
        with torch.no_grad():
            for _ in range(job.new_tokens):
                out = model(input_ids=last, past_key_values=past, use_cache=True)
                past = out.past_key_values
                logits = out.logits[0, -1]
                ordered, where = torch.sort(logits, descending=True)
                over = torch.softmax(ordered, -1).cumsum(-1) > 0.9
                over[1:], over[0] = over[:-1].clone(), False
                logits[where[over]] = -torch.inf
                last = torch.multinomial(torch.softmax(logits, -1), 1)[None]
                written = torch.cat([written, last], 1)
            for handle in handles:
                handle.remove()
            model(written, labels=written)
    seconds = time.perf_counter() - start
    return _REFERENCE_TEXTS * job.new_tokens / seconds


def _set_all(units: Any, values: Any) -> Callable[[Any, Any, Any], Any]:
    def hook(module: Any, inputs: Any, z: Any) -> Any:
        z[..., units] = values.to(z.dtype)
        return z

    return hook


_RUNS: dict[str, Callable[[Job], float]] = {
    "ours": lambda job: _ours(job, twice=False),
    "ours, compiled": lambda job: _ours(job, twice=True),
    "torch": _torch,
    "reference": _reference,
}


if __name__ == "__main__":
    fields = json.loads(sys.argv[2])
    print(_RUNS[sys.argv[1]](Job(**fields | {"units": tuple(fields["units"])})))
