"""Scoring beside its peers, on the same data, in one run.

A workload is written to disk once: a store as capture leaves it, and for the peers
each concept's responses [U, n] as they like them. Every measurement is a process of
its own. *Scoring* is the time from arrays in memory to scores; *whole* the time of the
process that reads, scores and writes, start and imports included, and for ours also
the null, the intervals and every table.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from binaries.benchmarks.loading import peak_bytes
from binaries.benchmarks.scoring_peers import PEERS

_SAMPLE = 64  # units that scikit-learn scores; its cost per unit is the same for all
_CHECKED = 16  # units whose AP is compared with scikit-learn's


@dataclasses.dataclass(frozen=True)
class Workload:
    """Random responses; in every other unit rounded, so that ties are frequent.

    Attributes:
      units: U.
      concepts: C.
      n_pos, n_neg: labelled sentences of each concept, the positives its own.
      negatives: size of the pool that all concepts draw negatives from; 0: each has
        its own.
      dtype: of the store.
      beside_peers: are the peers measured too?
    """

    units: int
    concepts: int
    n_pos: int
    n_neg: int
    negatives: int = 0
    dtype: str = "float32"
    beside_peers: bool = True

    @property
    def labelled(self) -> int:
        """Labelled sentences times units."""
        return self.concepts * (self.n_pos + self.n_neg) * self.units

    def rows(self, c: int) -> np.ndarray:
        """[n_pos + n_neg] rows of concept c, positives first."""
        own = self.n_pos + (0 if self.negatives else self.n_neg)
        rows = np.arange(c * own, (c + 1) * own)
        if self.negatives:
            random = np.random.default_rng(c)
            drawn = random.permutation(self.negatives)[: self.n_neg]
            rows = np.concatenate([rows, self.concepts * own + drawn])
        # As in a real pool, where concepts are mixed.
        return self._place[rows].astype(np.int32)

    @property
    def num_sentences(self) -> int:
        """N."""
        own = self.n_pos + (0 if self.negatives else self.n_neg)
        return self.concepts * own + self.negatives

    @property
    def _place(self) -> np.ndarray:
        return np.random.default_rng(0).permutation(self.num_sentences)

    @property
    def label(self) -> np.ndarray:
        """[n_pos + n_neg] int8."""
        return np.repeat(np.array([1, 0], np.int8), [self.n_pos, self.n_neg])


WORKLOADS = {
    "small": Workload(2048, 10, 200, 300),
    "paper": Workload(4096, 50, 700, 1000),
    "shared": Workload(1024, 100, 200, 1000, negatives=5000),
    "large": Workload(
        100_000, 300, 40, 400, negatives=8000, dtype="float16", beside_peers=False
    ),
}
_SCALING = {
    f"{concepts} concepts, {units:,} units": Workload(units, concepts, 700, 1000)
    for concepts, units in (
        (10, 1024), (50, 1024), (300, 1024), (10, 10_240), (10, 102_400),
    )
}  # fmt: skip


def scoring_table(workloads: Sequence[str], repeats: int) -> pd.DataFrame:
    """Measures ours and the peers by turns.

    Args:
      workloads: names in `WORKLOADS`.
      repeats: of each measurement; medians are shown.

    Returns:
      for each workload and side: ns per (unit x labelled sentence) of scoring, of the
      whole process, their ratios to ours, peak memory over the imported libraries,
      and the largest difference of AP from scikit-learn's.
    """
    rows = []
    for name in workloads:
        with tempfile.TemporaryDirectory() as folder:
            rows += _measure(name, Path(folder), repeats)
    return pd.DataFrame(rows)


def scaling_table(repeats: int) -> pd.DataFrame:
    """Our cost per (unit x labelled sentence) over numbers of concepts and units.

    Medians over the blocks of units of all repeats: a short disturbance of the machine
    costs a block, not the figure.
    """
    rows = []
    for name, workload in _SCALING.items():
        ns = [ns for _ in range(repeats) for ns in _score_made_up(workload)]
        rows.append({"workload": name, "ns": round(statistics.median(ns), 2)})
    table = pd.DataFrame(rows)
    return table.assign(ratio=(table["ns"] / table["ns"].min()).round(2))


def _measure(name: str, folder: Path, repeats: int) -> list[dict]:
    workload = WORKLOADS[name]
    _write(workload, folder)
    sides = ["ours", *(PEERS if workload.beside_peers else [])]
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            runs[side].append(_in_a_process(side, name, folder))
    exact = runs.get("scikit-learn", [{}])[0].get("ap")
    medians = {
        side: {
            what: statistics.median(run[what] for run in of_side)
            for what in ("scoring", "whole", "peak")
        }
        for side, of_side in runs.items()
    }
    rows = []
    for side, median in medians.items():
        row = {"workload": name, "side": side}
        for what in ("scoring", "whole"):
            row[f"{what} ns"] = round(median[what] / workload.labelled * 1e9, 2)
            row[f"{what} ratio"] = round(median[what] / medians["ours"][what], 1)
        row["peak MB"] = round(median["peak"] / 1e6)
        if exact is not None:
            difference = np.abs(np.array(runs[side][0]["ap"]) - np.array(exact))
            row["max |dAP|"] = f"{difference.max():.1e}"
        rows.append(row)
    return rows


def _in_a_process(side: str, name: str, folder: Path) -> dict:
    command = [sys.executable, "-m", "binaries.benchmarks.scoring", side, name]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, str(folder)], check=True, stdout=subprocess.PIPE, text=True
    )
    whole = time.perf_counter() - start
    run = json.loads(done.stdout.splitlines()[-1])
    # What was measured on top of the job, or only on a sample of it.
    return run | {"whole": whole + run["more"]}


def _responses(workload: Workload, start: int, stop: int) -> np.ndarray:
    """[N, units start to stop] float32: higher for the positives of some concepts."""
    random = np.random.default_rng(start)
    x = random.standard_normal((workload.num_sentences, stop - start), np.float32)
    x[:, ::2] = np.round(x[:, ::2], 2)
    return x


def _write(workload: Workload, folder: Path) -> None:
    """The store and the tables of a finished capture; the peers' arrays."""
    from expertjax.stores import arrays
    from expertjax.stores.folder import ResultFolder

    result = ResultFolder(folder / "model")
    result.claim("capture", {"weights_sha256": "", "tokens_sha256": ""})
    shape = workload.num_sentences, workload.units
    unit, sentence = np.arange(shape[1]), np.arange(shape[0])
    text = sentence.astype(str)
    result.write_table("units", pd.DataFrame({"unit": unit}))
    result.write_table(
        "sentences", pd.DataFrame({"sentence": sentence, "text": text, "sha256": text})
    )
    result.write_table("dropped", pd.DataFrame({"text": [], "sha256": []}))
    rows = [workload.rows(c) for c in range(workload.concepts)]
    keys = [f"made-up/{c}" for c in range(workload.concepts)]
    result.write_memberships(keys, rows, [workload.label] * workload.concepts)
    chunk = arrays.narrow_chunks(shape[0])
    layout = arrays.Layout(
        shape, workload.dtype, (512, shape[1]), ("sentence", "unit"), chunk
    )
    array = arrays.create_array(result.responses_path, layout)
    whole = np.memmap(
        folder / "responses", arrays.DTYPES[workload.dtype], "w+", shape=shape
    )
    for start in range(0, shape[1], chunk):
        stop = min(start + chunk, shape[1])
        x = _responses(workload, start, stop)
        whole[:, start:stop] = x
        if workload.beside_peers:
            for c in range(workload.concepts):
                with (folder / f"{c}.f32").open("ab") as file:
                    np.ascontiguousarray(x[rows[c]].T).tofile(file)
    for start in range(0, shape[0], 512):
        stop = min(start + 512, shape[0])
        array[start:stop].write(whole[start:stop]).result()
        result.responses_ledger.mark(start // 512, start, stop)
    result.responses_ledger.close(-(-shape[0] // 512))


def _run_ours(workload: Workload, folder: Path) -> dict:
    import shutil

    import jax

    import expertjax as ej
    from expertjax.scoring.blocks import make_scorer
    from expertjax.scoring.labels import load_memberships
    from expertjax.stores import arrays
    from expertjax.stores.folder import ResultFolder

    jax.devices()
    before = peak_bytes()
    folder = folder / "model"
    out = folder.parent / "scored"
    expertise = ej.score(folder, out=out)
    peak = peak_bytes() - before
    ap = [
        expertise.metric("ap", key)[:_CHECKED] for key in expertise.concepts["concept"]
    ]
    shutil.rmtree(out)
    # The same once more, from memory, block by block as the pass over a store does.
    start = time.perf_counter()
    source = ResultFolder(folder)
    scorer = make_scorer(load_memberships(source)[1])
    array = source.open_responses()
    width = max(1, 128 * 2**20 // (4 * array.shape[0]) // 16) * 16
    scoring = 0.0
    for first in range(0, min(array.shape[1], 40 * width), width):
        columns = slice(first, min(first + width, array.shape[1]))
        x = arrays.read(array, slice(0, array.shape[0]), columns)
        begin = time.perf_counter()
        scorer(x)
        scoring += time.perf_counter() - begin
        done = columns.stop
    scoring *= array.shape[1] / done
    more = start - time.perf_counter()
    return {"scoring": scoring, "peak": peak, "more": more, "ap": _plain(ap)}


def _run_peer(make: Callable, workload: Workload, folder: Path) -> dict:
    compute = make()
    units = _SAMPLE if make is PEERS["scikit-learn"] else workload.units
    shape = workload.units, workload.n_pos + workload.n_neg
    warm = np.zeros((units, shape[1]), np.float32)
    compute(warm, workload.label)
    before = peak_bytes()
    scoring, ap = 0.0, []
    for c in range(workload.concepts):
        x = np.fromfile(folder / f"{c}.f32", np.float32).reshape(shape)[:units]
        begin = time.perf_counter()
        ap.append(compute(x, workload.label))
        scoring += time.perf_counter() - begin
    np.save(folder / "peer.npy", np.stack(ap))
    peak = peak_bytes() - before
    factor = workload.units / units
    return {
        "scoring": scoring * factor,
        "peak": peak,
        "more": scoring * (factor - 1),
        "ap": _plain([of_concept[:_CHECKED] for of_concept in ap]),
    }


def _plain(ap: Sequence[np.ndarray]) -> list[list[float]]:
    return [[float(value) for value in of_concept] for of_concept in ap]


def _score_made_up(workload: Workload) -> list[float]:
    """ns per (unit x labelled sentence) of each block, made where it is needed."""
    from expertjax.concepts.pool import Membership
    from expertjax.scoring.blocks import make_scorer

    members = [
        Membership(workload.rows(c), workload.label) for c in range(workload.concepts)
    ]
    scorer = make_scorer(members)
    width = max(1, 128 * 2**20 // (4 * workload.num_sentences) // 16) * 16
    width = min(width, workload.units)
    x = _responses(workload, 0, width)
    scorer(x)  # the first block pays for compiled code and fresh memory
    ns = []
    for _ in range(max(workload.units // width, 5)):
        start = time.perf_counter()
        scorer(x)
        seconds = time.perf_counter() - start
        ns.append(seconds / (len(workload.label) * workload.concepts * width) * 1e9)
    return ns


def main(side: str, name: str, folder: str) -> None:
    """Measures one side and prints it as JSON."""
    workload = WORKLOADS[name]
    if side == "ours":
        run = _run_ours(workload, Path(folder))
    else:
        run = _run_peer(PEERS[side], workload, Path(folder))
    print(json.dumps(run))


if __name__ == "__main__":
    main(*sys.argv[1:])
