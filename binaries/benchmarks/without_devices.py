"""What accelerators are given, where there are none: programs, compiled for them.

XLA's compilers for GPUs and TPUs come as packages and need no device: `jax-cuda12-pjrt`
with `jax-cuda12-plugin` and `nvidia-cuda-nvcc-cu12`, and `libtpu`. What the first makes
says how many kernels run and how many bytes these move, and so the least time that
memory allows. It does not say how fast they are. A TPU's programs do not say how often
loops run; of these only that they compile, and the memory that they take, is shown.
"""

import dataclasses
import functools
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from binaries.benchmarks import hlo
from binaries.benchmarks.made_up import SHAPES, abstract_model, numbered_concepts
from expertjax.errors import InputError

# The figures of NVIDIA's data sheet for the H100 SXM5, as XLA wants them.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
      package: whose modules hold its compiler.
      bandwidth: bytes a second of its memory; None where kernels are not counted.
    """

    package: str
    bandwidth: float | None


TARGETS = {
    "H100": Target("jax_plugins.xla_cuda12", 3.35e12),
    "TPU v5e": Target("libtpu", None),
}


def is_installed(target: str) -> bool:
    """Is the compiler for a target there?"""
    package = TARGETS[target].package
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def compiled_table() -> pd.DataFrame:
    """Compiles for every target whose compiler is installed.

    Returns:
      target, program, seconds to compile, MB of temporary memory; of GPUs, kernels, MB
      moved, ms by the memory's bandwidth alone.

    Raises:
      InputError: none is installed.
    """
    targets = [target for target in TARGETS if is_installed(target)]
    if not targets:
        raise InputError(
            "--what=without_devices: no compiler is installed; pip install libtpu, or "
            "jax-cuda12-plugin, jax-cuda12-pjrt and nvidia-cuda-nvcc-cu12, as for the "
            "version of JAX that is there"
        )
    return pd.DataFrame([row for target in targets for row in compile_for(target)])


def compile_for(
    target: str, is_small: bool = False, path: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Compiles every program for a target, in a process of its own.

    Args:
      target: in `TARGETS`.
      is_small: tiny models, and more programs: does all compile?
      path: folders that the compiler may be in, beside those of Python's own.

    Returns:
      rows of `compiled_table`.

    Raises:
      subprocess.CalledProcessError: something does not compile.
    """
    command = [sys.executable, "-m", "binaries.benchmarks.without_devices"]
    done = subprocess.run(
        [*command, target, "small" if is_small else "large"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | _environment([*path, *sys.path]),
    )
    return json.loads(done.stdout.splitlines()[-1])


def _environment(path: Sequence[str]) -> dict[str, str]:
    """What compilers want to be told before JAX is imported."""
    # Without a device nothing can be timed, and so no variant chosen by its time.
    flags = ["--xla_gpu_autotune_level=0"]
    programs = [os.environ.get("PATH", "")]
    for folder in (Path(entry) / "nvidia" / "cuda_nvcc" for entry in path):
        if folder.is_dir():
            flags.append(f"--xla_gpu_cuda_data_dir={folder}")
            programs.append(f"{folder}/bin")
    return {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "JAX_PLATFORMS": "cpu",
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join(path),
        "TPU_SKIP_MDS_QUERY": "1",
        "XLA_FLAGS": " ".join(flags),
    }


def devices(target: str, count: int) -> list[Any]:
    """Devices that one can compile for, and do nothing else with."""
    import jax
    from jax.experimental import topologies

    jax.devices()  # those that are there; JAX looks for plugins now
    if target == "TPU v5e":
        found = topologies.get_topology_desc("v5e:2x2x1", "tpu").devices
        return found[:count]
    return topologies.get_topology_desc(
        "h100", "cuda", target_config=_H100, topology=f"1x1x{count}"
    ).devices


Program = tuple[Any, tuple[Any, ...]]  # jitted, and shapes of its arguments


def capture_step(
    mesh: Any,
    model: Any,
    shape: tuple[int, int],
    pooling: str = "max",
    kind: str = "responses",
) -> Program:
    """Capture's forward pass.

    Args:
      mesh: of the devices.
      model: with weights or without.
      shape: [B, T] of a batch.
      pooling: of responses.
      kind: "responses", "nothing pooled" or "marked tokens".
    """
    import jax
    import jax.numpy as jnp

    from expertjax.capturing import marking, steps
    from expertjax.capturing.pools import pool_fn
    from expertjax.capturing.prepare import arrange
    from expertjax.capturing.settings import CaptureSettings
    from expertjax.models.sites import UnitTable
    from expertjax.runtime import mesh as meshes

    table = UnitTable.build(model.sites, model.num_layers)
    settings = dataclasses.replace(
        CaptureSettings.of(model),
        pooling=pooling,  # type: ignore[arg-type]
    )
    prepared = arrange(model, numbered_concepts(64), table, settings, mesh)
    if kind == "nothing pooled":
        step = steps.jit_forward(
            prepared,
            lambda mask: pool_fn("max", mask[:, :1] & False),
            lambda output, _: output.hidden,
            meshes.split_batch(mesh),
        )
    elif kind == "marked tokens":
        step = marking.marked_step(prepared)
    else:
        step = steps.response_step(prepared)
    tokens = jax.ShapeDtypeStruct(shape, jnp.int32)
    mask = jax.ShapeDtypeStruct(shape, jnp.bool_)
    counted = jax.ShapeDtypeStruct(shape[:1], jnp.bool_)
    params = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), model.params
    )
    return step, (params, tokens, mask, mask, counted)


def _step(mesh: Any, attributes: dict[str, Any], *rest: Any, **more: Any) -> Program:
    return capture_step(mesh, abstract_model(attributes, "bfloat16"), *rest, **more)


def _scores(
    mesh: Any, metrics: tuple[str, ...], rows: int, labelled: int, packs: bool = True
) -> Program:
    """A tile of units on each device, and one concept."""
    import jax
    import jax.numpy as jnp

    from expertjax.runtime import mesh as meshes
    from expertjax.scoring import blocks, kernel

    units = kernel.tile_width(mesh) * mesh.size
    whole, split = meshes.replicated(mesh), meshes.split_units(mesh)
    of_unit = meshes.split_each_unit(mesh)
    score = blocks.score_on_mesh(mesh, metrics, 3e-5, packs)
    least = jax.ShapeDtypeStruct((units,), jnp.int32, sharding=of_unit)
    return score, (
        jax.ShapeDtypeStruct((rows, units), jnp.float32, sharding=split),
        least if packs else None,
        jax.ShapeDtypeStruct((1, labelled), jnp.int32, sharding=whole),
        jax.ShapeDtypeStruct((1, labelled), jnp.int8, sharding=whole),
    )


def _large(mesh: Any) -> Iterator[tuple[str, Callable[[], Program]]]:
    from expertjax.scoring.metrics import METRICS

    for name, metrics in (("all metrics", tuple(METRICS)), ("AP alone", ("ap",))):
        what = f"scores: {name}, 2048 units, 1792 of 16,948 sentences"
        yield what, functools.partial(_scores, mesh, metrics, 16_948, 1792)
    for kind in ("responses", "nothing pooled"):
        medium = SHAPES["GPT-2 medium"]
        what = f"step: GPT-2 medium, 512 x 64, bfloat16, {kind}"
        yield what, functools.partial(_step, mesh, medium, (512, 64), kind=kind)


_TINY = {
    "gpt2": {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 8192},
    "bert": {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 128, "vocab_size": 8192,
    },
    "mixtral": {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 8192,
        "num_local_experts": 4, "num_experts_per_tok": 2,
    },
}  # fmt: skip


def _small(mesh: Any) -> Iterator[tuple[str, Callable[[], Program]]]:
    from expertjax.scoring.metrics import METRICS

    every = tuple(METRICS)
    yield "scores: all metrics", functools.partial(_scores, mesh, every, 300, 160)
    of_pairs = functools.partial(_scores, mesh, ("ap",), 300, 160, packs=False)
    yield "scores: AP, pairs sorted", of_pairs
    for name, rest in _TINY.items():
        attributes = {"model_type": name} | rest
        poolings = ("max", "mean", "last") if name == "gpt2" else ("max",)
        for pooling in poolings:
            what = f"step: {name}, {pooling}"
            yield what, functools.partial(_step, mesh, attributes, (32, 16), pooling)
    gpt2 = {"model_type": "gpt2"} | _TINY["gpt2"]
    kind = "marked tokens"
    yield kind, functools.partial(_step, mesh, gpt2, (32, 16), kind=kind)
    yield "responses, kept on the devices", functools.partial(_kept, mesh)


def _kept(mesh: Any) -> Program:
    """A batch is put among the responses that stay."""
    import jax
    import jax.numpy as jnp

    from expertjax.capturing import kept
    from expertjax.runtime import mesh as meshes

    split, batch = meshes.split_units(mesh), meshes.split_responses(mesh)
    return kept.putting(mesh), (
        jax.ShapeDtypeStruct((320, 1024), jnp.bfloat16, sharding=split),
        jax.ShapeDtypeStruct((32, 1024), jnp.bfloat16, sharding=batch),
        jax.ShapeDtypeStruct((), jnp.int32),
    )


def compile_all(target: str, is_small: bool) -> list[dict[str, Any]]:
    """Compiles for one device of a target; small programs for four, two on `model`.

    In a process that was told what `_environment` says.
    """
    import jax
    import numpy as np
    from jax.sharding import Mesh

    shape = (2, 2) if is_small else (1, 1)
    found = np.array(devices(target, shape[0] * shape[1])).reshape(shape)
    mesh = Mesh(found, ("data", "model"))
    rows: list[dict[str, Any]] = []
    bandwidth = TARGETS[target].bandwidth
    for name, make in (_small if is_small else _large)(mesh):
        step, arguments = make()
        start = time.perf_counter()
        compiled = step.lower(*arguments).compile()
        seconds = time.perf_counter() - start
        beside = compiled.memory_analysis().temp_size_in_bytes
        row = {"target": target, "program": name, "s to compile": round(seconds, 1)}
        row["MB beside"] = round(beside / 1e6, 1)
        if bandwidth is not None:
            kernels = hlo.kernels(compiled.as_text())
            moved = sum(kernel.bytes * kernel.runs for kernel in kernels)
            row["kernels"] = sum(kernel.runs for kernel in kernels)
            row["MB moved"] = round(moved / 1e6, 1)
            row["ms at least"] = round(moved / bandwidth * 1e3, 3)
        rows.append(row)
        jax.clear_caches()
    return rows


if __name__ == "__main__":
    print(json.dumps(compile_all(sys.argv[1], sys.argv[2] == "small")))
