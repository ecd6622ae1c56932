"""Compiles capture of every family for accelerators that need not be there.

`JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 python -m tests.models.compiled_for "TPU v5e"`,
where XLA's compiler for it is installed (see `binaries.benchmarks.without_devices`),
takes some minutes: the tiny checkpoints of the parity tests in bfloat16, for two by two
devices, sentences and model split in two.
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from binaries.benchmarks import without_devices
from binaries.benchmarks.made_up import numbered_concepts
from expertjax.capturing import steps
from expertjax.capturing.prepare import arrange
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model, load_model
from expertjax.jax_settings import jax_settings
from expertjax.models.sites import UnitTable
from tests.models.parity import CASES


@jax_settings()
def compile_capture(model: Model, mesh: Mesh) -> None:
    """Compiles a batch of 8 sentences of 16 tokens."""
    table = UnitTable.build(model.sites, model.num_layers)
    settings = CaptureSettings.of(model)
    prepared = arrange(model, numbered_concepts(16), table, settings, mesh)
    tokens = jax.ShapeDtypeStruct((8, 16), jnp.int32)
    mask = jax.ShapeDtypeStruct((8, 16), jnp.bool_)
    counted = jax.ShapeDtypeStruct((8,), jnp.bool_)
    params = without_devices.shapes(model.params)
    steps.response_step(prepared).lower(params, tokens, mask, mask, counted).compile()


def main(target: str) -> None:
    """Says of every case whether it compiles."""
    devices = np.array(without_devices.devices(target, 4)).reshape(2, 2)
    mesh = Mesh(devices, ("data", "model"))
    failed = 0
    for name, (make, changes) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder) / name, **changes)
            model = load_model(path, dtype="bfloat16")
            try:
                compile_capture(model, mesh)
            except jax.errors.JaxRuntimeError as error:
                failed += 1
                print(f"{name}: {error}", flush=True)
        jax.clear_caches()
    print(f"{target}: {len(CASES) - failed} of {len(CASES)} compile")


if __name__ == "__main__":
    main(sys.argv[1])
