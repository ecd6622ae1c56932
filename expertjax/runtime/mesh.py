"""The device mesh, and where arrays live on it.

Axis `data` splits sentences, axis `model` splits parameters and units.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from expertjax.errors import InputError

_PINNED, _PINNED_PLATFORMS = "pinned_host", ("gpu", "cuda", "rocm", "tpu")
_CPU_TOKENS = 1024
_ACCELERATOR_TOKENS = 16384
# Done in a third of a second on two cores. On cores that are busy running, a program
# takes twice as long to compile, and a seventh of that to be found compiled, as in
# later runs. For an accelerator the host compiles, all programs side by side while the
# first batches run: 20 ms at 200 TFLOP/s, taken for granted and not measured.
_CPU_COMPILE_FLOPS = 4 * 10**10
_ACCELERATOR_COMPILE_FLOPS = 4 * 10**12
_BATCHES, _LEAST_ROWS, _LEAST_ROWS_EACH = 32, 64, 16  # see `most_batch_rows`


def make_mesh(spec: str = "") -> Mesh:
    """This process's mesh, given the one of the whole job.

    Processes form groups that each hold the parameters once or several times: a group
    is one process, or as many as the `model` axis spans. Groups need nothing from each
    other while they compute.

    Args:
      spec: of the whole job, e.g. "data:4,model:2"; "" puts all devices on `data`.

    Returns:
      the devices of this process's group; with a single process, all devices.

    Raises:
      InputError: malformed, an axis named twice, not the number of devices that are
        there, or processes that would have to share a group unevenly.
    """
    count = jax.device_count()
    sizes = {"data": count, "model": 1}
    if spec:
        pairs = re.findall(r"(data|model):(\d+)", spec)
        axes = {axis: int(size) for axis, size in pairs}
        if ",".join(f"{axis}:{size}" for axis, size in axes.items()) != spec:
            raise InputError(f"--mesh={spec}: expected for example data:4,model:2")
        sizes = {"data": 1, "model": 1} | axes
    if sizes["data"] * sizes["model"] != count:
        raise InputError(
            f"--mesh={spec}: {sizes['data']} x {sizes['model']} devices are named, "
            f"{count} are there"
        )
    return _group(sizes["model"])


def _group(model: int) -> Mesh:
    here = jax.local_device_count()
    if max(model, here) % min(model, here):
        raise InputError(
            f"--mesh: an axis model:{model} and {here} devices a process; one has to "
            "be a multiple of the other"
        )
    size = max(model, here)
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    start = jax.process_index() * here // size * size
    # A job of one process leaves the order to JAX, which knows the machine's links.
    of_group = jax.devices() if size == len(devices) else devices[start:][:size]
    return _mesh(size // model, model, of_group)


def local_mesh() -> Mesh:
    """All devices of this process, for work that needs no other process."""
    devices = jax.local_devices()
    return _mesh(len(devices), 1, devices)


def _mesh(data: int, model: int, devices: Sequence[jax.Device]) -> Mesh:
    return jax.make_mesh(
        (data, model),
        ("data", "model"),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """[B, ...] split over sentences."""
    return NamedSharding(mesh, PartitionSpec("data"))


def split_columns(mesh: Mesh) -> NamedSharding:
    """[..., U] of two axes, split as the units of responses are."""
    return NamedSharding(mesh, PartitionSpec(None, "model"))


def split_units(mesh: Mesh) -> NamedSharding:
    """[..., U] of two axes, the units split over all devices."""
    return NamedSharding(mesh, PartitionSpec(None, ("data", "model")))


def split_each_unit(mesh: Mesh) -> NamedSharding:
    """[U], a number for each unit, split as these are."""
    return NamedSharding(mesh, PartitionSpec(("data", "model")))


def split_responses(mesh: Mesh) -> NamedSharding:
    """[B, U] split over sentences and units."""
    return NamedSharding(mesh, PartitionSpec("data", "model"))


def data_size(mesh: Mesh) -> int:
    """Over how many devices sentences are split."""
    return mesh.shape["data"]


def model_size(mesh: Mesh) -> int:
    """Over how many devices parameters and units are split."""
    return mesh.shape["model"]


def num_processes(mesh: Mesh) -> int:
    """How many processes share the mesh, each holding as many of its units."""
    return len({device.process_index for device in mesh.devices.flat})


def process_in_mesh(mesh: Mesh) -> int:
    """This process's place among them, from 0."""
    return jax.process_index() % num_processes(mesh)


def share_of(mesh: Mesh) -> tuple[int, int]:
    """The number of groups, and this process's."""
    size = num_processes(mesh)
    return jax.process_count() // size, jax.process_index() // size


def is_on_cpus(mesh: Mesh) -> bool:
    """Are its devices CPUs?"""
    return mesh.devices.flat[0].platform == "cpu"


def batch_tokens(mesh: Mesh) -> int:
    """Tokens of a batch that suit the devices.

    Accelerators want much work at a time; on a CPU, what a layer computes should stay
    in its caches.
    """
    tokens = _CPU_TOKENS if is_on_cpus(mesh) else _ACCELERATOR_TOKENS
    return tokens * data_size(mesh)


def most_batch_rows(mesh: Mesh, num_rows: int) -> int:
    """Sentences of a batch at most.

    On accelerators a 32nd of all, unless that is very few: those that do not fill a
    batch at their own length are run at the next one.

    Args:
      mesh: whose devices share batches.
      num_rows: all sentences.
    """
    if is_on_cpus(mesh):  # where batches are small
        return num_rows
    least = max(_LEAST_ROWS, _LEAST_ROWS_EACH * data_size(mesh))
    return min(num_rows, max(num_rows // _BATCHES, least))


def compile_flops(mesh: Mesh) -> int:
    """Operations that the devices could do in the time that a program takes to compile.

    A rough figure: it decides how many shapes sentences are run at.
    """
    if is_on_cpus(mesh):
        return _CPU_COMPILE_FLOPS
    return _ACCELERATOR_COMPILE_FLOPS * mesh.size


def free_bytes(mesh: Mesh) -> int | None:
    """Memory of this mesh's devices that is not in use; None where none says so."""
    stats = [device.memory_stats() for device in mesh.devices.flat]
    if not all(stat and "bytes_limit" in stat for stat in stats):
        return None  # CPUs
    return sum(stat["bytes_limit"] - stat["bytes_in_use"] for stat in stats if stat)


def put(mesh_sharding: NamedSharding, array: np.ndarray) -> jax.Array:
    """A host array that all processes of the mesh have, on its devices."""
    return jax.make_array_from_callback(array.shape, mesh_sharding, array.__getitem__)


def start_to_host(array: jax.Array) -> jax.Array:
    """Begins to bring a device array to the host.

    Through pinned memory where devices have it: into pageable memory XLA copies part
    after part, each waiting for the one before (JAX's own serialisation goes this way
    too, jax-ml/jax#22114).

    Returns:
      the array to be read, with `local`.
    """
    device: Any = next(iter(array.sharding.addressable_devices))
    kinds = {memory.kind for memory in device.addressable_memories()}
    if device.platform in _PINNED_PLATFORMS and _PINNED in kinds:
        return jax.device_put(array, array.sharding.with_memory_kind(_PINNED))
    array.copy_to_host_async()
    return array


def local(array: jax.Array) -> np.ndarray:
    """What this process holds of a device array, as a host array.

    All of it, or of [B, U] the run of columns whose devices are here.
    """
    if array.is_fully_addressable:
        return np.asarray(jax.device_get(array))
    parts = {
        shard.index[1].start or 0: shard.data for shard in array.addressable_shards
    }
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)], axis=1)
