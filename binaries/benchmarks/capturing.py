"""Capture beside its peers, on the same sentences and units, in one run.

Every measurement is a process of its own. Its time begins after the imports and after
the model is in memory; tokenising is in it for all sides, and for ours also the tables,
the fingerprints and finding what an earlier run has compiled. Sentences over `SEQ_LEN`
tokens are dropped for all.
"""

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from binaries.benchmarks import capturing_peers as peers
from binaries.benchmarks.loading import forget_peak, peak_bytes
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.concepts.files import read_concepts
from expertjax.concepts.pool import ConceptSet, build_concept_set
from expertjax.concepts.tokens import TokenizedPool, tokenize

GPT2_SMALL = "gpt2-small"  # stands for a GPT-2 small of random weights
SEQ_LEN = 128
TOLERANCE = 1e-4
_SIDES = ("ours", "torch", "reference")
_MATMULS = ("jnp", "torch")
_COMPARED = 64  # sentences
_REFERENCE_SENTENCES = 240
_MATMUL = 2048  # rows and columns


@dataclasses.dataclass(frozen=True)
class Job:
    """What all sides do.

    Attributes:
      model: Hugging Face folder.
      concepts: concept folder.
      num_sentences: drawn from the pool; 0: all.
      sites: torch module name and F, in the order of units.
      budget: tokens of torch's batches.
      seq_len: longer sentences are dropped.
    """

    model: str
    concepts: str
    num_sentences: int
    sites: tuple[tuple[str, int], ...]
    budget: int = 0
    seq_len: int = SEQ_LEN

    @property
    def concept_set(self) -> ConceptSet:
        """The sentences."""
        concepts = build_concept_set(read_concepts(Path(self.concepts)))
        if not self.num_sentences:
            return concepts
        random = np.random.default_rng(0)
        rows = random.permutation(len(concepts.sentences))[: self.num_sentences]
        return concepts.keep(np.sort(rows))


def capture_reports(
    models: Sequence[str], concepts: str, num_sentences: int, repeats: int
) -> Iterator[str]:
    """Measures ours and the peers by turns, on one model after the other.

    Args:
      models: Hugging Face folders, `.gguf` files or `GPT2_SMALL`.
      concepts: concept folder.
      num_sentences: drawn from the pool; 0: all.
      repeats: of each measurement; medians are shown.

    Yields:
      a heading and a table for each model; the heading says so where responses of
      ours and torch's differ by more than `TOLERANCE`.
    """
    for model in models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            path = huggingface_folder(model, folder)
            job = Job(str(path), concepts, num_sentences, sites_of(path))
            # A process of its own: what it allocates must not hide a peak.
            job = dataclasses.replace(job, **_in_a_process("budget", job, folder))
            turns, error = _measure_by_turns(job, folder, repeats)
            name = Path(model).name
            yield f"{_heading(name, job, turns, error)}\n{_table(turns)}\n"


def huggingface_folder(model: str, folder: Path) -> Path:
    """The model in the form that both sides can load."""
    from expertjax.api import EXAMPLE_MODEL
    from expertjax.checkpoints.load import load_model, save_huggingface

    if model == GPT2_SMALL:
        return peers.make_gpt2_small(folder / model, EXAMPLE_MODEL)
    if not model.endswith(".gguf"):
        return Path(model)
    path = folder / Path(model).stem
    save_huggingface(load_model(model), path)
    return path


def sites_of(path: Path) -> tuple[tuple[str, int], ...]:
    """Torch module name and F of every site, in the order of units."""
    from expertjax.checkpoints.load import load_model
    from expertjax.models.sites import UnitTable

    model = load_model(str(path))
    table = UnitTable.build(model.sites, model.num_layers)
    return tuple(
        (site.module_name(layer), site.features) for layer, site in table.segments
    )


def _measure_by_turns(
    job: Job, folder: Path, repeats: int
) -> tuple[list[dict[str, dict]], float]:
    """Each turn's measurements by side, and how far ours is from torch's."""
    turns: list[dict[str, dict]] = []
    first = _in_a_process("ours", job, folder)
    shutil.rmtree(folder / "ours")
    for _ in range(repeats):
        turn = {side: _in_a_process(side, job, folder) for side in _SIDES}
        turn |= {
            f"{name} matmul": _in_a_process(f"{name} matmul", job, folder)
            for name in _MATMULS
        }
        if not turns:
            error = _largest_error(job, folder)
        turns.append(turn | {"first": first})
        shutil.rmtree(folder / "ours")
        shutil.rmtree(folder / "reference")
    return turns, error


def _in_a_process(side: str, job: Job, folder: Path) -> dict:
    command = [sys.executable, "-m", "binaries.benchmarks.capturing", side]
    (folder / "job.json").write_text(json.dumps(dataclasses.asdict(job)))
    done = subprocess.run(
        [*command, str(folder)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _largest_error(job: Job, folder: Path) -> float:
    """Relative to the response, or to its site's root mean square if that is more."""
    from expertjax.stores.folder import ResultFolder

    result = ResultFolder(folder / "ours")
    texts = tokenized(job).concepts.sentences
    rows = np.unique(np.linspace(0, len(texts) - 1, _COMPARED).astype(int))
    row_of = {text: row for row, text in enumerate(result.read_table("sentences").text)}
    our_rows = [row_of[texts[row]] for row in rows]
    ours = np.asarray(result.open_responses().oindex[our_rows].read().result())
    theirs = np.load(folder / "torch.npy", mmap_mode="r")[rows]
    # Sums of the same terms in another order: off by a share of what the site's sums
    # are like, however small one of them may be.
    start, errors = 0, []
    for _, features in job.sites:
        units = slice(start, start := start + features)
        typical = np.sqrt(np.mean(theirs[:, units] ** 2))
        scale = np.maximum(np.abs(theirs[:, units]), typical)
        errors.append((np.abs(ours - theirs)[:, units] / scale).max())
    return float(max(errors))


def _heading(name: str, job: Job, turns: list[dict[str, dict]], error: float) -> str:
    work, first = turns[0]["torch"], turns[0]["first"]
    units = sum(features for _, features in job.sites)
    rates = " and ".join(
        f"{_best_matmul(turns, library):.0f} ({library})" for library in _MATMULS
    )
    verdict = "" if error <= TOLERANCE else f", MORE THAN {TOLERANCE:.0e}"
    return (
        f"{name}: {work['sentences']} sentences, {work['tokens']} tokens, {units} "
        f"units. Largest relative difference of ours from torch's: {error:.1e}"
        f"{verdict}.\n"
        f"A matmul reaches GFLOP/s of {rates}. Torch's batches have {job.budget} "
        f"tokens, the reference's {peers.REFERENCE_BATCH} sentences (timed on "
        f"{_REFERENCE_SENTENCES}).\n"
        f"Ours finds its {first['shapes']} shapes compiled; the first run, which "
        f"compiles them, takes {first['seconds']:.1f} s."
    )


def _best_matmul(turns: list[dict[str, dict]], library: str) -> float:
    return max(turn[f"{library} matmul"]["gflops"] for turn in turns)


def _table(turns: list[dict[str, dict]]) -> str:
    machine = max(_best_matmul(turns, library) for library in _MATMULS)
    work = turns[0]["torch"]
    rows = []
    for side in _SIDES:
        runs = [turn[side] for turn in turns]
        seconds = statistics.median(run["seconds"] for run in runs)
        gflops = work["flops"] / seconds / 1e9
        pairs = [turn[side]["seconds"] / turn["ours"]["seconds"] for turn in turns]
        rows.append(
            {
                "side": side,
                "s": round(seconds, 2),
                # Far below seconds x cores: other programs had the machine too.
                "CPU s": round(statistics.median(run["cpu"] for run in runs), 2),
                "sentences/s": round(work["sentences"] / seconds, 1),
                "tokens/s": round(work["tokens"] / seconds),
                "padding": f"{1 - work['tokens'] / runs[0]['computed']:.1%}",
                "peak MB": round(statistics.median(run["peak"] for run in runs) / 1e6),
                "GFLOP/s": round(gflops, 1),
                "of matmul": f"{gflops / machine:.0%}",
                "s ratio to ours": round(statistics.median(pairs), 2),
            }
        )
    return pd.DataFrame(rows).to_string(index=False)


def tokenized(job: Job) -> TokenizedPool:
    """The sentences' tokens, by ascending length."""
    attributes = json.loads((Path(job.model) / "config.json").read_text("utf-8"))
    tokenizer = load_tokenizer(Path(job.model), attributes)
    return tokenize(job.concept_set, tokenizer, seq_len=job.seq_len)


def _measure(run: Callable[[], object]) -> tuple[dict[str, float], object]:
    """Seconds, CPU seconds and peak growth of memory, and what the run gives."""
    forget_peak()  # that of loading
    before = peak_bytes()
    start, cpu_start = time.perf_counter(), time.process_time()
    result = run()
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu_start
    return {"seconds": seconds, "cpu": cpu, "peak": peak_bytes() - before}, result


def _run_ours(job: Job, folder: Path) -> dict:
    import jax

    from expertjax.capturing.capture import capture
    from expertjax.capturing.prepare import prepare
    from expertjax.capturing.settings import CaptureSettings
    from expertjax.checkpoints.load import load_model
    from expertjax.runtime.compile_cache import keep_compiled
    from expertjax.runtime.mesh import make_mesh

    keep_compiled(str(folder / "compiled"))
    model = load_model(job.model)
    jax.block_until_ready(jax.tree.leaves(model.params))
    concepts, settings = job.concept_set, CaptureSettings(seq_len=SEQ_LEN)
    measured, _ = _measure(lambda: capture(model, concepts, folder / "ours", settings))
    prepared = prepare(model, concepts, settings, make_mesh())
    plan = prepared.plan
    batches = [
        batch
        for start, stop in plan.spans()
        for batch in plan.batches(prepared.pool, start, stop)
    ]
    computed = sum(batch.tokens.size for batch in batches)
    return measured | {"computed": computed, "shapes": len(plan.shapes(plan.spans()))}


def _run_torch(job: Job, folder: Path) -> dict:
    model = peers.load_torch(job.model, job.sites)
    out = folder / "torch.npy"
    measured, computed = _measure(
        lambda: peers.capture_torch(model, tokenized(job), job.budget, out)
    )
    lengths = tokenized(job).lengths.astype(np.int64)
    config = model.module.config
    attention = 4 * config.num_hidden_layers * config.hidden_size * (lengths**2).sum()
    return measured | {
        "computed": computed,
        "sentences": len(lengths),
        "tokens": int(lengths.sum()),
        # A multiplication and an addition for each weight and token.
        "flops": int(2 * model.num_weights * lengths.sum() + attention),
    }


def _run_reference(job: Job, folder: Path) -> dict:
    """On some sentences: as all are padded alike, its cost for each is the same."""
    model = peers.load_torch(job.model, job.sites)
    out = folder / "reference"
    pool = tokenized(job)
    count = len(pool.tokens)
    rows = np.unique(np.linspace(0, count - 1, _REFERENCE_SENTENCES).astype(int))
    measured, _ = _measure(
        lambda: peers.capture_reference(model, pool.keep(rows), SEQ_LEN, out)
    )
    factor = count / len(rows)
    measured |= {what: measured[what] * factor for what in ("seconds", "cpu")}
    return measured | {"computed": count * SEQ_LEN}


def _find_budget(job: Job, folder: Path) -> dict:
    del folder
    model = peers.load_torch(job.model, job.sites)
    return {"budget": peers.best_budget(model, tokenized(job))}


def _jnp_matmul(size: int) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp

    x = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    return lambda: product(x, x).block_until_ready()


def _matmul_rate(multiply: Callable[[], object]) -> dict:
    """GFLOP/s, the best of several."""
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return {"gflops": 2 * _MATMUL**3 / min(seconds) / 1e9}


_RUNS: dict[str, Callable[[Job, Path], dict]] = {
    "ours": _run_ours,
    "torch": _run_torch,
    "reference": _run_reference,
    "budget": _find_budget,
    "jnp matmul": lambda job, folder: _matmul_rate(_jnp_matmul(_MATMUL)),
    "torch matmul": lambda job, folder: _matmul_rate(peers.torch_matmul(_MATMUL)),
}


def main(side: str, folder: str) -> None:
    """Measures one side and prints it as JSON."""
    job = Job(**json.loads((Path(folder) / "job.json").read_text()))
    print(json.dumps(_RUNS[side](job, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
