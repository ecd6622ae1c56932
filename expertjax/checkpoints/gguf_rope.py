"""Scaled rotations in GGUF metadata, as attributes of a `config.json`."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_SCALING = "rope.scaling."
# Llama 3.1 and later; the converter knows no others.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_ORIGINAL = 8192
_YARN = {
    "original_context_length": "original_max_position_embeddings",
    "yarn_beta_fast": "beta_fast",
    "yarn_beta_slow": "beta_slow",
}


def read_rope(
    attributes: dict[str, Any],
    given: dict[str, Any],
    factors: np.ndarray | None,
    yarn: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Sets `rope_scaling` where the file scales its rotations.

    Args:
      attributes: of the config so far.
      given: the architecture's metadata; what is understood is taken out.
      factors: the table of `rope_freqs`, by which frequencies are divided.
      yarn: what goes without saying of such a scaling; None where it is not known.

    Yields:
      problems.
    """
    kind = given.pop(f"{_SCALING}type", None)
    factor = given.pop(f"{_SCALING}factor", None)
    given.pop(f"{_SCALING}finetuned", None)  # a note
    if kind == "linear" and factor is not None and factors is None:
        attributes["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    elif kind == "yarn" and yarn is not None and factor is not None:
        attributes["rope_scaling"] = {"rope_type": kind, "factor": factor, **yarn}
        for name, attribute in _YARN.items():
            if (value := given.pop(f"{_SCALING}{name}", None)) is not None:
                attributes["rope_scaling"][attribute] = value
    elif kind not in (None, "none"):
        yield f"rope.scaling.type={kind!r}"
    elif factors is not None:
        largest = float(factors.max())
        scaling = {"rope_type": "llama3", "factor": largest, **_LLAMA3}
        scaling["original_max_position_embeddings"] = _LLAMA3_ORIGINAL
        expected = _llama3_factors(attributes, largest)
        if expected.shape == factors.shape and np.allclose(expected, factors, 1e-4):
            attributes["rope_scaling"] = scaling
        else:
            yield "its table of rope_freqs is not that of Llama 3"


def _llama3_factors(attributes: dict[str, Any], factor: float) -> np.ndarray:
    """[K / 2]: what Llama 3.1 divides each frequency by."""
    width, theta = attributes["head_dim"], attributes["rope_theta"]
    frequencies = theta ** (-np.arange(0, width, 2) / width)
    low, high = _LLAMA3.values()
    turns = _LLAMA3_ORIGINAL * frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - kept) / factor + kept)
