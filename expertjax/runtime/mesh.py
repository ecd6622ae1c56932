"""The device mesh, and where arrays live on it.

Axis `data` splits sentences, axis `model` splits parameters and units.
"""

import re
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from expertjax.errors import InputError


def make_mesh(spec: str = "") -> Mesh:
    """The mesh that a flag describes.

    Args:
      spec: e.g. "data:4,model:2"; "" puts all devices on `data`.

    Raises:
      InputError: malformed, an axis named twice, or not the number of devices
        that are there.
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
    return _mesh(sizes["data"], sizes["model"], jax.devices())


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


def split_units(mesh: Mesh) -> NamedSharding:
    """[..., U] of two axes, the units split over all devices."""
    return NamedSharding(mesh, PartitionSpec(None, ("data", "model")))


def data_size(mesh: Mesh) -> int:
    """Over how many devices sentences are split."""
    return mesh.shape["data"]


def local(array: jax.Array) -> np.ndarray:
    """A device array as a host array."""
    return np.asarray(jax.device_get(array))
