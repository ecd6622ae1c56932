"""Loading time and peak memory of checkpoints, ours and torch's.

Each measurement is a process of its own, begun after the imports, so that neither
side pays for the other and neither for its libraries.
"""

import contextlib
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def loading_table(models: Sequence[str], repeats: int) -> pd.DataFrame:
    """Loads each model by turns with ours and torch's.

    Args:
      models: folders, or `.gguf` files.
      repeats: measurements of each; medians are shown.

    Returns:
      model, size on disk, seconds and peak growth of memory of both, and ratios.
    """
    rows = []
    for model in models:
        runs: dict[str, list[dict]] = {"ours": [], "torch": []}
        for _ in range(repeats):
            for side in runs:
                runs[side].append(_in_a_process(side, model))

        def median(side: str, what: str, runs: dict = runs) -> float:
            return statistics.median(run[what] for run in runs[side])

        rows.append(
            {
                "model": Path(model).name,
                "MB on disk": _size(Path(model)) / 1e6,
                "s": median("ours", "seconds"),
                "s torch": median("torch", "seconds"),
                "peak MB": median("ours", "peak") / 1e6,
                "peak MB torch": median("torch", "peak") / 1e6,
            }
        )
    table = pd.DataFrame(rows)
    table["s ratio"] = table["s"] / table["s torch"]
    table["peak ratio"] = table["peak MB"] / table["peak MB torch"]
    return table.round(2)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    weights = [*path.glob("*.safetensors"), *path.glob("*.gguf"), *path.glob("*.onnx")]
    return sum(file.stat().st_size for file in weights)


def _in_a_process(side: str, model: str) -> dict:
    command = [sys.executable, "-m", "binaries.benchmarks.loading", side, model]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _load_ours(model: str) -> object:
    import jax

    from expertjax.checkpoints.load import load_model

    jax.numpy.zeros(1).block_until_ready()  # the backend is not the checkpoint's cost

    def load() -> object:
        loaded = load_model(model)
        jax.block_until_ready(jax.tree.leaves(loaded.params))
        return loaded

    return load


def _load_torch(model: str) -> object:
    import torch
    import transformers

    path = Path(model)
    file = {"gguf_file": path.name} if path.is_file() else {}
    folder = path.parent if path.is_file() else path
    kind = transformers.AutoModelForCausalLM if file else transformers.AutoModel

    def load() -> object:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **file)
        with torch.no_grad():
            loaded = kind.from_pretrained(folder, dtype=torch.float32, **file)
            # Weights that are mapped from the file count once they are read.
            total = sum(float(p.sum()) for p in loaded.parameters())
        return tokenizer, loaded, total

    return load


def main(side: str, model: str) -> None:
    """Measures one loading and prints it as JSON."""
    load = {"ours": _load_ours, "torch": _load_torch}[side](model)
    before = peak_bytes()
    start = time.perf_counter()
    kept = load()  # type: ignore[operator]
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak": peak_bytes() - before}))
    del kept


def forget_peak() -> None:
    """Lets `peak_bytes` begin anew, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Peak resident memory of this program so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike rusage, this leaves out the process that started this one.
        peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) * 1024
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_kb if sys.platform == "darwin" else peak_kb * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
