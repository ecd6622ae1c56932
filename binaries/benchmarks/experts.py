"""What a mixture of experts costs beside dense MLPs: as much as the active ones."""

import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from flax import nnx

from expertjax.capturing.pools import pool_fn
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.forward import Forward
from expertjax.models.registry import read_config
from expertjax.models.sites import UnitTable

EXPERTS, ACTIVE, WIDTH = 8, 2, 1408
TOKENS = (8, 128)
_SIZES = {
    "hidden_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "vocab_size": 1000,
}
_MIXTURE = {"num_local_experts": EXPERTS, "num_experts_per_tok": ACTIVE}
_MODELS: dict[str, dict[str, Any]] = {
    f"{EXPERTS} experts, {ACTIVE} active": {
        "model_type": "mixtral",
        "intermediate_size": WIDTH,
        **_MIXTURE,
    },
    f"dense, as wide as {ACTIVE}": {
        "model_type": "mistral",
        "intermediate_size": ACTIVE * WIDTH,
    },
    f"dense, as wide as {EXPERTS}": {
        "model_type": "mistral",
        "intermediate_size": EXPERTS * WIDTH,
    },
}


def experts_table(repeats: int) -> pd.DataFrame:
    """Runs random models of one size but for their MLPs.

    Args:
      repeats: by turns; medians are shown.

    Returns:
      A row for each model: `forward_us` of the model alone and `capture_us` with all
      linear layers pooled by their maximum, both per token; `parameters_mb`; and
      `temporary_kb`, what the device holds beside them and the responses, per token,
      of a capture.
    """
    runs = {name: _Run(attributes) for name, attributes in _MODELS.items()}
    for _ in range(repeats):
        for run in runs.values():
            run.measure()
    return pd.DataFrame([run.row(name) for name, run in runs.items()]).round(1)


class _Run:
    """One model, compiled with and without pooling."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        attributes = attributes | _SIZES | {"sliding_window": None}
        family, config = read_config(attributes, (), "benchmark")
        graphdef, self.params = nnx.split(family.build(config, rngs=nnx.Rngs(0)))
        table = UnitTable.build(family.sites(config), config.num_layers)
        record = frozenset(site.name for site in table.recorded)
        tokens = jax.random.randint(jax.random.key(0), TOKENS, 0, config.vocab_size)
        self.inputs = tokens, jnp.ones(TOKENS, bool)

        def step(pooled: bool, params: Any, tokens: Any, mask: Any) -> Any:
            module = Forward(graphdef).bind(params)
            probe = Probe(pool=pool_fn("max", mask), record=record)
            out = module(Inputs.of(tokens, mask), probe if pooled else Probe())
            return table.gather(out.pooled) if pooled else out.hidden

        self.programs = {
            name: jax.jit(functools.partial(step, pooled))
            .lower(self.params, *self.inputs)
            .compile()
            for name, pooled in (("forward_us", False), ("capture_us", True))
        }
        self.seconds: dict[str, list[float]] = {name: [] for name in self.programs}
        self._run_all()  # for the first time

    def measure(self) -> None:
        """Takes the time of each program once."""
        for name, seconds in self._run_all().items():
            self.seconds[name].append(seconds)

    def _run_all(self) -> dict[str, float]:
        taken = {}
        for name, program in self.programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(self.params, *self.inputs))
            taken[name] = time.perf_counter() - start
        return taken

    def row(self, name: str) -> dict[str, Any]:
        """What `experts_table` says of it."""
        count = TOKENS[0] * TOKENS[1]
        memory: Any = self.programs["capture_us"].memory_analysis()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(self.params))
        times = {
            name: 1e6 * statistics.median(seconds) / count
            for name, seconds in self.seconds.items()
        }
        return {
            "model": name,
            **times,
            "parameters_mb": size / 1e6,
            "temporary_kb": memory.temp_size_in_bytes / 1e3 / count,
        }
