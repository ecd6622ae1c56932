"""What needs no reference: outputs are products, the residual stream is a sum.

Elhage et al. 2021, of what a forward pass gave; products and sums are float64 here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from expertjax.checkpoints.load import Model
from tests.models.parity import kind_of_site

# They say of no layer that it writes, but all write into the stream as it is.
PRE_NORM = ("eurobert", "modernbert", "mt5", "t5")


def identity_errors(
    model: Model, sites: Mapping[str, Any], mask: np.ndarray
) -> dict[str, float]:
    """Largest deviations at real tokens, in standard deviations of each output.

    Args:
      model: its weights are what is multiplied with.
      sites: [L, B, T, F] of a forward pass without edits, experts side by side.
      mask: [B, T], 1 at real tokens.

    Returns:
      the name of each linear layer whose input is a site too; and ":residual", where
      what a block adds is the sum of what its layers write: not where norms stand on
      that or on the stream, and not of experts, which the router weighs.
    """
    real = mask.astype(bool)
    z_LxNxF = {name: np.asarray(z, np.float64)[:, real] for name, z in sites.items()}
    params = {
        ".".join(map(str, path)): np.asarray(value[...], np.float64)
        for path, value in model.params.flat_state()
    }
    writing = [name for name in z_LxNxF if f"{name}:input" in z_LxNxF]
    found = {}
    for name in writing:
        kernel, groups = _weights(model, name, params)
        bias = params.get(kernel.replace(".kernel", ".bias"))
        product_LxNxD = _product(
            z_LxNxF[f"{name}:input"],
            params[kernel][groups],
            np.zeros(1) if bias is None else bias[groups, None],
        )
        if "experts." in name:  # which give nothing for the tokens of others
            product_LxNxD[z_LxNxF[name] == 0] = 0
        found[name] = _error(product_LxNxD, z_LxNxF[name])
    scales = _scales(model, writing)
    if scales:
        stream_LxNxD = z_LxNxF[":residual"]
        added = sum(scale * z_LxNxF[name][1:] for name, scale in scales.items())
        found[":residual"] = _error(stream_LxNxD[:-1] + added, stream_LxNxD[1:])
    return found


def _weights(
    model: Model, name: str, params: Mapping[str, Any]
) -> tuple[str, list[int]]:
    """Path of a linear layer's kernel, by its torch module; which of it a layer has."""
    site = next(site for site in model.sites if kind_of_site(site.name) == name)
    module = kind_of_site(site.module).replace("@{layer}", "")
    module = module.replace("{group}", "{layer}")
    keys = (f"{module}.weight", module)  # experts are parameters themselves
    paths = [rule.path for rule in model.family.rules if rule.key in keys]
    # NomicBERT's tensors are not called what its modules are; our layers are.
    ending = f".{name.rpartition('.')[2]}.kernel"
    [path] = paths or [path for path in params if path.endswith(ending)]
    return path, [*(site.share or range(model.num_layers))]


def _product(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """[L, N, D] of [L, N, F] and [L, F, D]; of E experts, kernels are [L, E, F, D]."""
    if kernel.ndim == 3:
        return x @ kernel + bias
    x_LxNxExF = x.reshape(*x.shape[:2], kernel.shape[1], -1)
    y_LxNxExD = np.einsum("lnef,lefd->lned", x_LxNxExF, kernel) + bias
    return y_LxNxExD.reshape(*x.shape[:2], -1)


def _scales(model: Model, writing: list[str]) -> dict[str, float]:
    """Site -> by what its outputs are multiplied as they are added to the stream."""
    readout = model.readout
    if readout is None:
        plain = model.attributes["model_type"] in PRE_NORM
        return dict.fromkeys(writing, 1.0) if plain else {}
    branches = readout.branches
    if readout.stream or any(b.norms or b.expert is not None for b in branches):
        return {}
    return {branch.output: branch.scale for branch in branches}


def _error(ours: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(ours - wanted).max() / wanted.std())
