"""Weights go to the devices one parameter at a time, each device's share only."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import load_model, params_digest, save_converted
from expertjax.runtime.mesh import make_mesh
from expertjax.runtime.sharding import parameter_sharding, put_parameter
from expertjax.stores import arrays
from tests import bounds
from tests.capturing.tiny_concepts import tiny_concept_set
from tests.tiny_models import make_tiny, make_tiny_bert, make_tiny_gpt2

MESHES = ("data:8", "data:4,model:2", "model:8")
LLAMA = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
LLAMA |= {"intermediate_size": 48, "num_hidden_layers": 3, "vocab_size": 300}


def make(family: str, folder: Path) -> Path:
    if family == "llama":
        return make_tiny(folder, "LlamaForCausalLM", **LLAMA)
    return {"gpt2": make_tiny_gpt2, "bert": make_tiny_bert}[family](folder)


def bytes_by_device(params: Any) -> list[int]:
    sums = dict.fromkeys(jax.devices(), 0)
    for leaf in jax.tree.leaves(params):
        for shard in leaf.addressable_shards:
            sums[shard.device] += shard.data.nbytes
    return list(sums.values())


@pytest.mark.parametrize(
    ("path", "shape", "axis"),
    [
        ("blocks.c_fc.kernel", (3, 16, 32), 2),
        ("blocks.mlp_c_proj.kernel", (3, 32, 16), 1),
        ("blocks.attention.o_proj.kernel", (3, 32, 16), 1),
        ("blocks.attention.q_proj.kernel", (3, 16, 32), 2),
        ("blocks.mlp.down_proj.kernel", (3, 32, 16), 1),
        ("blocks.intermediate_dense.kernel", (3, 16, 32), 2),
        ("blocks.output_dense.kernel", (3, 32, 16), 1),
        ("blocks.dense_h_to_4h.kernel", (3, 16, 32), 2),
        ("blocks.dense_4h_to_h.kernel", (3, 32, 16), 1),
        ("blocks.c_fc.kernel", (8, 16, 33), 1),
        ("blocks.c_proj.kernel", (8, 33, 16), 2),
        ("blocks.c_fc.kernel", (8, 15, 33), None),
        ("blocks.c_fc.bias", (8, 16), None),
        ("wte.embedding", (304, 16), 0),
        ("wte.embedding", (301, 16), 1),
        ("wte.embedding", (301, 15), None),
        ("lm_head.kernel", (16, 304), 1),
        ("ln_f.scale", (16,), None),
    ],
)
def test_rules_split_the_axis_they_name(
    path: str, shape: tuple[int, ...], axis: int | None
) -> None:
    spec = parameter_sharding(make_mesh("model:8"), path, shape).spec
    found = [i for i, name in enumerate(spec) if name == "model"]
    assert found == ([] if axis is None else [axis])


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_a_device_holds_its_share(family: str, tmp_path: Path) -> None:
    folder = make(family, tmp_path / "m")
    whole = load_model(str(folder))
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(whole.params))
    for spec, shares in (("data:8", 1), ("data:4,model:2", 2), ("model:8", 8)):
        model = load_model(str(folder), put=put_parameter(make_mesh(spec)))
        held = bytes_by_device(model.params)
        # Norms and biases are on every device; in so small a model they count.
        assert max(held) == min(held) <= total / shares + 0.07 * total
        assert params_digest(model.params) == params_digest(whole.params)


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_kernels_and_embeddings_fall_as_one_over_the_model_axis(
    family: str, tmp_path: Path
) -> None:
    folder = make(family, tmp_path / "m")
    found = {}
    for size in (1, 2, 4, 8):
        put = put_parameter(make_mesh(f"data:{8 // size},model:{size}"))
        params = load_model(str(folder), put=put).params
        large = [
            variable[...]
            for path, variable in params.flat_state()
            if path[-1] in ("kernel", "embedding")
        ]
        found[size] = max(bytes_by_device(large)), max(bytes_by_device(params))
    whole, _ = found[1]
    shares = {size: (large / whole, every) for size, (large, every) in found.items()}
    print(
        f"{family}, per device: "
        + "; ".join(
            f"model:{size} {share:.4f} of {whole} bytes of kernels and embeddings, "
            f"{every} bytes in all"
            for size, (share, every) in shares.items()
        )
    )
    for size, (share, _) in shares.items():
        assert abs(share * size - 1) <= 0.03


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_responses_do_not_depend_on_the_mesh(family: str, tmp_path: Path) -> None:
    folder = make(family, tmp_path / "m")
    settings = CaptureSettings(seq_len=16, batch_tokens=512)
    found = []
    for i, spec in enumerate(MESHES):
        mesh = make_mesh(spec)
        model = load_model(str(folder), put=put_parameter(mesh) if i else None)
        out = capture(model, tiny_concept_set(), tmp_path / spec, settings, mesh)
        store = out.open_responses()
        found.append(arrays.read(store, slice(None), slice(None)))
    for other in found[1:]:
        bounds.assert_responses(other, found[0], out.read_table("units"))


def test_a_converted_folder_is_split_too(tmp_path: Path) -> None:
    model = load_model(str(make_tiny_gpt2(tmp_path / "m")))
    save_converted(model, tmp_path / "c")
    put = put_parameter(make_mesh("model:8"))
    again = load_model(str(tmp_path / "c"), put=put, dtype=jnp.bfloat16)
    for path, variable in again.params.flat_state():
        value, wanted = variable[...], model.params
        for name in path:
            wanted = wanted[name]
        sharding = parameter_sharding(make_mesh("model:8"), ".".join(path), value.shape)
        assert value.sharding.is_equivalent_to(sharding, value.ndim)
        rounded = np.asarray(wanted[...]).astype(jnp.bfloat16)
        np.testing.assert_array_equal(np.asarray(value), rounded)


def write_large(folder: Path, tokenizer: Path) -> Path:
    """A random GPT-2 of 193 MB."""
    width, layers, vocabulary = 512, 12, 20000
    random = np.random.default_rng(0)
    shapes = {
        "ln_1": (width,),
        "ln_2": (width,),
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    sizes = {"wte.weight": (vocabulary, width), "wpe.weight": (128, width)}
    sizes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    for layer in range(layers):
        for name, shape in shapes.items():
            sizes[f"h.{layer}.{name}.weight"] = shape
            sizes[f"h.{layer}.{name}.bias"] = shape[-1:]
    tensors = {
        key: random.standard_normal(shape, np.float32) for key, shape in sizes.items()
    }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": 8}
    config |= {"vocab_size": vocabulary, "n_positions": 128}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(tokenizer / "tokenizer.json", folder)
    return folder


PEAK = """
import sys
import jax
from expertjax.checkpoints.load import load_model
from expertjax.runtime.mesh import make_mesh
from expertjax.runtime.sharding import put_parameter

def kilobytes(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

large, tiny, mesh = sys.argv[1:]
put = put_parameter(make_mesh(mesh)) if mesh else None
load_model(tiny, put=put)  # what is imported and compiled does not count
open("/proc/self/clear_refs", "w").write("5")  # the peak from here on
before = kilobytes("VmRSS")
model = load_model(large, put=put)
sizes = [leaf.nbytes for leaf in jax.tree.leaves(model.params)]
print((kilobytes("VmHWM") - before) * 1024, sum(sizes), max(sizes))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_the_host_holds_one_parameter_beside_the_model(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    """On CPUs the devices' memory is the host's: the model once, and a parameter."""
    large = write_large(tmp_path / "large", tiny_gpt2_folder)
    converted, tiny_converted = tmp_path / "converted", tmp_path / "tiny-converted"
    save_converted(load_model(str(large)), converted)
    save_converted(load_model(str(tiny_gpt2_folder)), tiny_converted)
    cases = (
        (large, tiny_gpt2_folder, ""),
        (large, tiny_gpt2_folder, "model:8"),
        (converted, tiny_converted, ""),
    )
    for folder, tiny, mesh in cases:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(folder), str(tiny), mesh],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        peak, total, largest = map(int, done.stdout.split())
        over = (peak - total) / largest
        print(f"{folder.name}, mesh {mesh!r}: {over:.2f} largest parameters")
        assert total > 190e6
        assert peak <= total + 1.3 * largest
