"""How far results agree that differ by nothing but how they were computed.

One model is run in several ways, each by the program in a process of its own: batches
of other sizes, simulated devices, two processes, lower precision, float64 in torch, and
on every platform that is there. Responses, and the AP of every unit for every concept,
are compared with those of the first way, for several tolerances of ties.
"""

import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from binaries.benchmarks import capturing_peers as peers
from binaries.benchmarks.capturing import (
    SEQ_LEN,
    Job,
    huggingface_folder,
    sites_of,
    tokenized,
)
from expertjax.checkpoints.load import read_architecture
from expertjax.scoring.settings import TOLERANCE
from expertjax.stores.folder import ResultFolder

TOLERANCES = (0.0, 1e-6, 3e-6, 1e-5, TOLERANCE, 1e-4, 3e-4, 1e-3)
_FLOAT64 = "float64, torch"
_UNITS = 4096  # that are compared at a time
_BUDGET = 1024  # tokens of torch's batches
_MOVED = 1e-3
_DEVICES = "--xla_force_host_platform_device_count"


@dataclasses.dataclass(frozen=True)
class Way:
    """One way of running the same thing.

    Attributes:
      name: in the table.
      flags: of `capture_responses`.
      platform: of JAX.
      devices: simulated ones, where the platform is "cpu".
      processes: of the job.
      is_float32: does it compute what the others compute?
    """

    name: str
    flags: tuple[str, ...] = ()
    platform: str = "cpu"
    devices: int = 1
    processes: int = 1
    is_float32: bool = True


WAYS = (
    Way("batches of 1024 tokens", ("--batch_tokens=1024",)),
    Way("batches of 200 tokens", ("--batch_tokens=200",)),
    Way("mesh data:8", ("--mesh=data:8",), devices=8),
    Way("mesh data:2,model:4", ("--mesh=data:2,model:4",), devices=8),
    Way("two processes", ("--mesh=data:2",), processes=2),
    Way("two processes, model:2", ("--mesh=model:2",), processes=2),
    Way("bfloat16", ("--compute_dtype=bfloat16",), is_float32=False),
)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a way gave.

    Attributes:
      largest, typical: of the responses' differences from the first way's, in standard
        deviations of their site: the largest, and the root mean square.
      ap: tolerance -> [C, U].
    """

    largest: float
    typical: float
    ap: dict[float, np.ndarray]


def agreement_reports(
    models: Sequence[str], concepts: str, which: str = ""
) -> Iterator[str]:
    """Runs every model in every way.

    Args:
      models: Hugging Face folders, `.gguf` files or `gpt2-small`.
      concepts: concept folder.
      which: regular expression on the names of the ways to be run beside the first;
        "" is all.

    Yields:
      of each model a heading and two tables: ways, and tolerances.
    """
    for model in models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            path = huggingface_folder(model, folder)
            _, config, _ = read_architecture(str(path))
            seq_len = min(SEQ_LEN, getattr(config, "max_positions", None) or SEQ_LEN)
            job = Job(str(path), concepts, 0, sites_of(path), seq_len=seq_len)
            yield _report(Path(model).name, job, folder, which)


def _report(name: str, job: Job, folder: Path, which: str) -> str:
    others = [*WAYS[1:], *_ways_of_accelerators()]
    ways = [WAYS[0], *(way for way in others if re.search(which, way.name))]
    first = _run(ways[0], job, folder)
    found: dict[str, Found] = {}
    for way in ways:
        other = first if way is ways[0] else _run(way, job, folder)
        found[way.name] = _compare(first, other)
        if way is not ways[0]:
            shutil.rmtree(other.parent)
    if _has_torch() and re.search(which, _FLOAT64):
        found[_FLOAT64] = _compare(first, _run_torch(job, folder, first))
    table = ResultFolder(first).read_table("sentences")
    exact = found[ways[0].name].ap[0.0]
    heading = (
        f"{name}: {len(table)} sentences, {exact.shape[1]} units, {exact.shape[0]} "
        f"concepts; on {_processor()}. Differences from {ways[0].name}."
    )
    float32 = [way.name for way in ways[1:] if way.is_float32]
    parts = [heading, _ways_table(found), _tolerances_table(found, float32)]
    return "\n\n".join(parts) + "\n"


def _ways_of_accelerators() -> list[Way]:
    """The same on the accelerators of this machine, if there are any."""
    ask = "import jax; print(jax.default_backend(), jax.devices()[0].device_kind)"
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    asked = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, env=environment
    )
    platform, _, kind = asked.stdout.strip().partition(" ")
    if platform in ("", "cpu"):
        return []
    return [
        Way(kind, platform=platform),
        Way(f"{kind}, 200 tokens", ("--batch_tokens=200",), platform),
        *(
            Way(f"{kind}, {p}", (f"--precision={p}",), platform, is_float32=False)
            for p in ("tensorfloat32", "bfloat16_3x")
        ),
        Way(
            f"{kind}, bfloat16",
            ("--compute_dtype=bfloat16",),
            platform,
            is_float32=False,
        ),
    ]


def _run(way: Way, job: Job, folder: Path) -> Path:
    """Captures; the result folder."""
    out = folder / way.name.replace(" ", "_").replace(":", "-")
    command = [sys.executable, "-m", "binaries.capture_responses"]
    command += [f"--model={job.model}", f"--concepts={job.concepts}", f"--out={out}"]
    command += [f"--seq_len={job.seq_len}", "--model_name=model", *way.flags]
    if way.processes > 1:
        command += [f"--coordinator=localhost:{_free_port()}"]
        command += [f"--num_processes={way.processes}"]
    environment = dict(os.environ, JAX_PLATFORMS=way.platform)
    environment["XLA_FLAGS"] = f"{_DEVICES}={way.devices}"
    running = [
        subprocess.Popen(
            [*command, f"--process_id={i}"] if way.processes > 1 else command,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for i in range(way.processes)
    ]
    statuses = [process.wait() for process in running]
    if any(statuses):
        raise RuntimeError(f"{way.name}: capture_responses failed")
    return out / "model"


def _run_torch(job: Job, folder: Path, first: Path) -> Path:
    """Responses in float64, in the order of the first way's sentences."""
    model = peers.load_torch(job.model, job.sites, "float64")
    pool = tokenized(job)
    peers.capture_torch(model, pool, _BUDGET, folder / "torch.npy")
    theirs = np.load(folder / "torch.npy", mmap_mode="r")
    row_of = {text: row for row, text in enumerate(pool.concepts.sentences)}
    rows = [row_of[text] for text in ResultFolder(first).read_table("sentences").text]
    np.save(folder / "float64.npy", theirs[rows])
    (folder / "torch.npy").unlink()
    return folder / "float64.npy"


def _compare(first: Path, other: Path) -> Found:
    """A block of units at a time."""
    from expertjax.scoring.blocks import make_scorer
    from expertjax.scoring.labels import load_memberships

    result = ResultFolder(first)
    _, members = load_memberships(result)
    scorers = {t: make_scorer(members, ["ap"], tolerance=t) for t in TOLERANCES}
    units = result.read_table("units")
    scale_U = _site_deviations(first, units["module"].to_numpy())
    largest, squares = 0.0, []
    ap: dict[float, list[np.ndarray]] = {t: [] for t in TOLERANCES}
    for start in range(0, len(units), _UNITS):
        block = slice(start, min(start + _UNITS, len(units)))
        x_NxU = _read(other, block)
        error_NxU = np.abs(x_NxU - _read(first, block)) / scale_U[block]
        largest = max(largest, float(error_NxU.max()))
        squares.append(np.square(error_NxU, dtype=np.float64).mean(0))
        for tolerance, score in scorers.items():
            ap[tolerance].append(score(x_NxU)["ap"])
    typical = float(np.sqrt(np.concatenate(squares).mean()))
    joined = {t: np.concatenate(parts, axis=1) for t, parts in ap.items()}
    return Found(largest, typical, joined)


def _site_deviations(first: Path, module_U: np.ndarray) -> np.ndarray:
    """[U] standard deviation of the responses of each one's site and layer."""
    scale_U = np.empty(len(module_U))
    for module in pd.unique(module_U):
        of_module = np.flatnonzero(module_U == module)
        units = slice(of_module[0], of_module[-1] + 1)
        scale_U[units] = _read(first, units).std(dtype=np.float64)
    return np.maximum(scale_U, np.finfo(np.float32).tiny)


def _read(responses: Path, units: slice) -> np.ndarray:
    """[N, some units] float32, of a result folder or an array on disk."""
    if responses.suffix == ".npy":
        return np.ascontiguousarray(np.load(responses, mmap_mode="r")[:, units])
    array = ResultFolder(responses).open_responses()
    return np.asarray(array[:, units].read().result(), np.float32)


def _ways_table(found: dict[str, Found]) -> str:
    """Differences of responses, and of AP without and with the default tolerance."""
    first = next(iter(found.values()))
    rows = []
    for name, way in list(found.items())[1:]:
        row = {"way": name, "responses": way.largest, "typical": way.typical}
        for tolerance in (0.0, TOLERANCE):
            error = np.abs(way.ap[tolerance] - first.ap[tolerance])
            of = "exact" if tolerance == 0 else f"{tolerance:.0e}"
            row |= {f"AP, {of}": error.max(), f"99.9%, {of}": _most(error)}
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False, float_format="{:.1e}".format)


def _tolerances_table(found: dict[str, Found], float32: Sequence[str]) -> str:
    """The worst of the float32 ways, by tolerance; how far AP moves; float64."""
    first, *_ = found.values()
    exact = first.ap[0.0]
    rows = []
    for tolerance in TOLERANCES:
        here = first.ap[tolerance]
        errors = [np.abs(found[name].ap[tolerance] - here) for name in float32]
        row = {
            "tolerance": f"{tolerance:.0e}" if tolerance else "0",
            "AP": max(error.max() for error in errors),
            "99.9%": max(map(_most, errors)),
            f"moved > {_MOVED}": float((np.abs(here - exact) > _MOVED).mean()),
        }
        if _FLOAT64 in found:
            truth = found[_FLOAT64].ap
            same, against = np.abs(here - truth[tolerance]), np.abs(here - truth[0.0])
            row |= {"float64, same": same.max(), "99.9% same": _most(same)}
            row |= {"float64, exact": against.max(), "99.9% exact": _most(against)}
            row |= {"mean exact": against.mean()}
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False, float_format="{:.1e}".format)


def _most(error: np.ndarray) -> float:
    """What 99.9% of them do not exceed."""
    return float(np.quantile(error, 0.999))


def _has_torch() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def _processor() -> str:
    """What computes the first way."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return f"{os.cpu_count()} cores of {names[0]}" if names else "CPUs"


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]
