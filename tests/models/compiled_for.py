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
import numpy as np
from jax.sharding import Mesh

from binaries.benchmarks import without_devices
from expertjax.checkpoints.load import load_model
from expertjax.jax_settings import jax_settings
from tests.models.parity import CASES


@jax_settings()
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
                step, shapes = without_devices.capture_step(mesh, model, (8, 16))
                step.lower(*shapes).compile()
            except jax.errors.JaxRuntimeError as error:
                failed += 1
                print(f"{name}: {error}", flush=True)
        jax.clear_caches()
    print(f"{target}: {len(CASES) - failed} of {len(CASES)} compile")


if __name__ == "__main__":
    main(sys.argv[1])
