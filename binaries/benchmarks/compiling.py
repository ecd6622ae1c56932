"""Compile time of a forward pass over depth: it must not grow with it."""

import statistics
import time

import jax
import jax.numpy as jnp
import pandas as pd

from expertjax.checkpoints.load import abstract_module
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.forward import Forward
from expertjax.models.registry import read_config
from expertjax.models.sites import UnitTable

DEPTHS = (12, 48)


def compile_table(repeats: int) -> pd.DataFrame:
    """Traces and compiles a GPT-2 that pools all of its sites.

    Args:
      repeats: by turns; medians are shown.

    Returns:
      layers, seconds, and the ratio to the first row.
    """
    seconds: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    for _ in range(repeats):
        for depth in DEPTHS:
            seconds[depth].append(_compile_seconds(depth))
    table = pd.DataFrame(
        {
            "layers": DEPTHS,
            "seconds": [statistics.median(seconds[depth]) for depth in DEPTHS],
        }
    )
    return table.assign(ratio=table["seconds"] / table["seconds"][0]).round(2)


def _compile_seconds(depth: int) -> float:
    attributes = {"model_type": "gpt2", "n_layer": depth, "n_embd": 768, "n_head": 12}
    family, config = read_config(attributes, (), "benchmark")
    graphdef, params = abstract_module(family, config, jnp.float32)
    table = UnitTable.build(family.sites(config), depth)
    record = frozenset(site.name for site in table.recorded)

    def step(params, tokens, mask):  # type: ignore[no-untyped-def]
        module = Forward(graphdef).bind(params)
        probe = Probe(pool=lambda z: z.max(1), record=record)
        return table.gather(module(Inputs.of(tokens, mask), probe).pooled)

    shape = jax.ShapeDtypeStruct((8, 128), jnp.int32)
    jax.clear_caches()
    start = time.perf_counter()
    jax.jit(step).lower(params, shape, shape).compile()
    return time.perf_counter() - start
