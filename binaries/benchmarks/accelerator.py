"""What the engine does on the devices that are there, in one call of a few minutes.

Models are of random weights, sentences those of the shipped concepts, numbered so that
there are as many as wanted. Each section is a process of its own, so that none finds
the other's memory taken. Torch's own ways stand beside ours where torch is installed
and has the same kind of device.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from binaries.benchmarks import accelerator_peers
from binaries.benchmarks.made_up import numbered_concepts, random_model


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
      models: names in `made_up.SHAPES`, the first of which is captured whole.
      dtype: in which they compute.
      sentences: of the steps and the captures.
      concepts, labelled, rows, units: of scoring: each concept has so many of the rows.
      matmul: rows and columns of the product that shares are of.
      texts: written side by side.
    """

    models: tuple[str, ...]
    dtype: str
    sentences: int
    concepts: int
    labelled: int
    rows: int
    units: int
    matmul: int
    texts: tuple[int, ...]


LARGE = Sizes(
    ("GPT-2 medium", "Llama of 1B"), "bfloat16", 16384, 50, 1700, 17000, 65536, 8192,
    (64, 256),
)  # fmt: skip
SMALL = Sizes(("small GPT-2",), "float32", 256, 4, 200, 800, 512, 512, (4,))


def accelerator_table(is_small: bool | None = None) -> pd.DataFrame:
    """Measures every section.

    Args:
      is_small: seconds instead of minutes; by default where the devices are CPUs.

    Returns:
      `section`, `what`, `value`, `unit`, in the order in which they were measured;
      the first row says on which devices.
    """
    size = {None: "auto", True: "small", False: "large"}[is_small]
    rows = []
    for section in SECTIONS:
        command = [sys.executable, "-m", "binaries.benchmarks.accelerator"]
        done = subprocess.run(
            [*command, section, size], check=True, stdout=subprocess.PIPE, text=True
        )
        for what, value, unit in json.loads(done.stdout.splitlines()[-1]):
            rows.append((section, what, value, unit))
    return pd.DataFrame(rows, columns=["section", "what", "value", "unit"])


Row = tuple[str, float | str, str]


def _seconds(run: Callable[[], Any], repeats: int = 3) -> float:
    """The best of several, after one that compiles."""
    import jax

    jax.block_until_ready(run())
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - start)
    return min(taken)


def _device(sizes: Sizes) -> list[Row]:
    """Which it is, its products, and the way to the host."""
    import jax
    import jax.numpy as jnp

    device, n = jax.devices()[0], sizes.matmul
    x = jnp.ones((n, n), sizes.dtype)
    multiply = jax.jit(lambda x: x @ x)
    rate = 2 * n**3 / _seconds(lambda: multiply(x), 10)
    make = jax.jit(lambda i: jnp.full((sizes.rows, sizes.units // 8), i, "float32"))
    pinned = jax.sharding.SingleDeviceSharding(device, memory_kind="pinned_host")

    def bring(way: str) -> float:
        arrays = [jax.block_until_ready(make(i)) for i in range(4)]
        start = time.perf_counter()
        if way == "pinned":
            arrays = jax.device_put(arrays, pinned)
        for array in arrays if way == "ahead" else ():
            array.copy_to_host_async()
        size = sum(np.asarray(array).nbytes for array in arrays)
        return size / (time.perf_counter() - start) / 1e9

    name = f"{jax.device_count()} x {device.device_kind}, jax {jax.__version__}"
    return [
        ("devices", name, ""),
        (f"product of {n} x {n}, {sizes.dtype}", rate / 1e12, "TFLOP/s"),
        ("to the host, one after the other", bring("plain"), "GB/s"),
        ("to the host, all under way at once", bring("ahead"), "GB/s"),
        ("to the host, by way of pinned memory", bring("pinned"), "GB/s"),
    ]


def _scoring(sizes: Sizes) -> list[Row]:
    """Nanoseconds per unit and labelled sentence, from responses on the devices."""
    import jax
    import jax.numpy as jnp

    from expertjax.concepts.pool import Membership
    from expertjax.runtime import mesh as meshes
    from expertjax.scoring import kernel
    from expertjax.scoring.blocks import make_scorer
    from expertjax.scoring.metrics import METRICS

    random = np.random.default_rng(0)
    members = [
        Membership(
            np.sort(random.permutation(sizes.rows)[: sizes.labelled]).astype(np.int32),
            (np.arange(sizes.labelled) % 4 == 0).astype(np.int8),
        )
        for _ in range(sizes.concepts)
    ]
    mesh = meshes.local_mesh()
    split = meshes.split_units(mesh)
    shape = sizes.rows, sizes.units
    draw = jax.jit(lambda: jax.random.normal(jax.random.key(0), shape, jnp.float32))
    x = jax.device_put(draw(), split)
    per = 1e9 / (sizes.concepts * sizes.labelled * sizes.units)

    rows: list[Row] = []
    for what, metrics in (("all metrics", tuple(METRICS)), ("AP alone", ("ap",))):
        scorer = make_scorer(members, metrics, "jax", tolerance=3e-5)
        seconds = _seconds(lambda scorer=scorer: scorer(x))  # type: ignore[misc]
        rows.append((f"{what}, results on the host", seconds * per, "ns"))
    count = min(8, sizes.concepts)
    of_some = np.stack([member.sentence for member in members[:count]])
    label = np.stack([member.label for member in members[:count]])
    of_tile = kernel.tile_width(mesh)
    width = min(sizes.units, 4 * of_tile)
    tile = jax.jit(lambda: x[:, :width])()
    for what, packs in (("one key", True), ("pairs", False)):
        least = kernel.least_magnitudes(tile)[0] if packs else None
        score = jax.jit(kernel.score_concepts, static_argnums=(4, 5, 6))
        seconds = _seconds(
            lambda score=score, least=least: score(  # type: ignore[misc]
                tile, least, of_some, label, ("ap",), 3e-5, of_tile
            )
        )
        each = seconds * 1e9 / (count * sizes.labelled * width)
        rows.append((f"AP alone, on one device, {what} sorted", each, "ns"))
    some = sizes.units // 8
    on_host = np.asarray(x[:, :some])
    compiled = make_scorer(members, kernel="compiled", tolerance=3e-5)
    seconds = _seconds(lambda: compiled(on_host))
    rows.append(("all metrics, by the cores of the host", seconds * per * 8, "ns"))
    peer = accelerator_peers.sorting(min(sizes.units, 16384), sizes.labelled)
    if peer is not None:
        what, sort, count = peer
        rows.append((what, _seconds(sort) / count * 1e9, "ns"))
    return rows


def _steps(sizes: Sizes) -> list[Row]:
    """Tokens a second through the model, every site pooled; nothing is fetched."""
    import jax

    from expertjax.capturing.operations import flops_per_token
    from expertjax.capturing.pools import pool_fn
    from expertjax.capturing.prepare import prepare
    from expertjax.capturing.settings import CaptureSettings
    from expertjax.capturing.steps import Steps, jit_forward
    from expertjax.runtime import mesh as meshes

    rate = _device(sizes)[1][1]
    assert isinstance(rate, float)
    rows: list[Row] = []
    for name in sizes.models:
        model = random_model(name, sizes.dtype)
        settings = CaptureSettings.of(model)
        mesh = meshes.make_mesh()
        prepared = prepare(model, numbered_concepts(sizes.sentences), settings, mesh)
        plan, pool = prepared.plan, prepared.pool
        batches = [b for span in plan.spans() for b in plan.batches(pool, *span)]
        real = int(pool.lengths.sum())
        computed = sum(batch.tokens.size for batch in batches)
        nothing = jit_forward(
            prepared,
            lambda mask: pool_fn("max", mask[:, :1] & False),
            lambda output, _: output.hidden,
            meshes.split_batch(mesh),
        )
        for what, steps in (
            ("all sites pooled", Steps(prepared)),
            ("nothing pooled", Steps(prepared, nothing)),
        ):
            run = _run_all(steps, batches, prepared)
            seconds = _seconds(run, 2)
            flops = flops_per_token(model, model.num_layers) * computed / seconds
            rows += [
                (f"{name}, {what}", real / seconds, "tokens/s"),
                (f"{name}, {what}: of the product's rate", flops / rate / 1e12, "1"),
            ]
        rows.append((f"{name}: padding", 1 - real / computed, "1"))
        peer = accelerator_peers.stepping(name, sizes.dtype, batches)
        if peer is not None:
            what, by_torch = peer
            rows.append((what, real / _seconds(by_torch, 1), "tokens/s"))
        del model, prepared, steps, run
        jax.clear_caches()
    return rows


def _run_all(steps: Any, batches: Sequence[Any], prepared: Any) -> Callable[[], Any]:
    def run() -> Any:
        running = [steps(batch, prepared.counted_of(batch)) for batch in batches[:2]]
        for batch in batches[2:]:
            running.append(steps(batch, prepared.counted_of(batch)))
            del running[0]  # its memory may be taken again
        return running

    return run


def _capture(sizes: Sizes) -> list[Row]:
    """Whole runs, once to compile and once with every program found."""
    from expertjax.capturing.capture import capture
    from expertjax.capturing.settings import CaptureSettings
    from expertjax.runtime.compile_cache import keep_compiled
    from expertjax.scoring.settings import ScoreSettings
    from expertjax.storeless import capture_and_score

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        keep_compiled(str(folder / "compiled"))
        model, concepts = (
            random_model(sizes.models[0], sizes.dtype),
            numbered_concepts(sizes.sentences),
        )
        settings = dataclasses.replace(
            CaptureSettings.of(model),
            store_dtype=sizes.dtype,  # type: ignore[arg-type]
        )
        score = ScoreSettings(bootstrap_resamples=200)
        for number, what in enumerate(("first", "second")):
            start = time.perf_counter()
            out = capture(model, concepts, folder / f"{number}", settings)
            seconds = time.perf_counter() - start
            tokens = int(out.read_table("sentences")["n_tokens"].sum())
            rows.append((f"to disk, {what} time", tokens / seconds, "tokens/s"))
            start = time.perf_counter()
            where = folder / f"without-{number}"
            capture_and_score(model, concepts, where, settings, score, 0)
            seconds = time.perf_counter() - start
            count = f"{len(concepts.keys)} concepts"
            rows.append((f"and scored, no store, {count}, {what} time", seconds, "s"))
    return rows


def _generation(sizes: Sizes) -> list[Row]:
    """Texts of 64 tokens each."""
    from expertjax.generation.generate import generate
    from expertjax.generation.settings import GenerateSettings

    model = random_model(sizes.models[0], sizes.dtype)
    rows: list[Row] = []
    for texts in sizes.texts:
        settings = GenerateSettings(
            max_new_tokens=64, batch_size=texts, stop_at_end=False
        )
        seconds = _seconds(
            lambda settings=settings, texts=texts: (
                generate(  # type: ignore[misc]
                    model, ["once"], seeds=range(texts), settings=settings
                ).size
            ),
            1,
        )
        rows.append((f"{texts} texts", texts * 64 / seconds, "tokens/s"))
    return rows


SECTIONS: dict[str, Callable[[Sizes], list[Row]]] = {
    "device": _device,
    "scoring": _scoring,
    "steps": _steps,
    "capture": _capture,
    "generation": _generation,
}


def main(section: str, size: str) -> None:
    """Measures one section and prints it as JSON."""
    import jax

    is_small = jax.default_backend() == "cpu" if size == "auto" else size == "small"
    print(json.dumps(SECTIONS[section](SMALL if is_small else LARGE)))


if __name__ == "__main__":
    main(*sys.argv[1:])
