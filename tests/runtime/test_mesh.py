import jax
import numpy as np
import pytest

from expertjax.errors import InputError
from expertjax.runtime import mesh as meshes


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("", (8, 1)),
        ("data:8", (8, 1)),
        ("model:8", (1, 8)),
        ("data:4,model:2", (4, 2)),
        ("model:2,data:4", (4, 2)),
    ],
)
def test_a_mesh_is_what_the_flag_says(spec: str, shape: tuple[int, int]):
    mesh = meshes.make_mesh(spec)
    assert (mesh.shape["data"], mesh.shape["model"]) == shape
    assert meshes.data_size(mesh) == shape[0]
    assert len(set(mesh.devices.flat)) == 8


@pytest.mark.parametrize(
    "spec",
    [
        *("data", "8", "data=8", "data:", "data:8,", ",data:8", "data:-8", "data:8 "),
        *("data:4;model:2", "rows:8", "data:2,data:8", "data:8,model:1,data:8", "x"),
    ],
)
def test_a_malformed_mesh_names_the_flag(spec: str):
    with pytest.raises(InputError, match=f"--mesh={spec}: expected for example"):
        meshes.make_mesh(spec)


@pytest.mark.parametrize("spec", ["data:4", "data:4,model:4", "data:0", "model:16"])
def test_a_mesh_of_other_devices_says_how_many_there_are(spec: str):
    with pytest.raises(InputError, match=f"--mesh={spec}.*8 are there"):
        meshes.make_mesh(spec)


def test_shardings_split_what_they_say():
    mesh = meshes.make_mesh("data:4,model:2")
    x = np.arange(16.0 * 24).reshape(16, 24).astype(np.float32)
    for sharding, shard in (
        (meshes.replicated(mesh), (16, 24)),
        (meshes.split_batch(mesh), (4, 24)),
        (meshes.split_units(mesh), (16, 3)),
    ):
        placed = jax.device_put(x, sharding)
        assert placed.sharding.shard_shape(x.shape) == shard
        back = meshes.local(placed)
        assert isinstance(back, np.ndarray)
        assert (back == x).all()


@pytest.mark.parametrize("way", ["pageable", "pinned"])
def test_arrays_come_to_the_host(way: str, monkeypatch: pytest.MonkeyPatch):
    if way == "pinned":  # which CPUs have too, though nothing is gained there
        monkeypatch.setattr(meshes, "_PINNED_PLATFORMS", ("cpu",))
    mesh = meshes.make_mesh("data:4,model:2")
    x = np.arange(8 * 16, dtype=np.float32).reshape(8, 16)
    for split in (meshes.split_responses(mesh), meshes.split_units(mesh)):
        coming = meshes.start_to_host(jax.device_put(x, split))
        is_pinned = coming.sharding.memory_kind == "pinned_host"
        assert is_pinned == (way == "pinned")
        np.testing.assert_array_equal(meshes.local(coming), x)
