"""What needs no reference: outputs are products, the residual stream is a sum.

Elhage et al. 2021, of what a forward pass gave; products and sums are float64 here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from expertjax.checkpoints.load import Model
from expertjax.models.sites import Site

# They say of no layer that it writes, but all write into the stream as it is.
PRE_NORM = ("eurobert", "modernbert", "mt5", "t5")


def identity_errors(
    model: Model, sites: Mapping[str, Any], mask: np.ndarray
) -> dict[str, float]:
    """Largest deviations at real tokens, in standard deviations of each output.

    Args:
      model: its weights are what is multiplied with.
      sites: [L, B, T, F] of a forward pass without edits.
      mask: [B, T], 1 at real tokens.

    Returns:
      the name of each linear layer whose input is a site too, the experts' apart;
      and ":residual", where what a block adds is the sum of what its layers write: not
      where norms stand on that or on the stream, and not of experts, which the router
      weighs.
    """
    real = mask.astype(bool)
    z_LxNxF = {name: np.asarray(z, np.float64)[:, real] for name, z in sites.items()}
    params = {
        ".".join(map(str, path)): np.asarray(value[...], np.float64)
        for path, value in model.params.flat_state()
    }
    writing = [site for site in model.sites if f"{site.name}:input" in z_LxNxF]
    found = {}
    for site in writing:
        kernel = _kernel(model, site, params)
        groups = [*(site.share or range(model.num_layers))]
        product_LxNxF = z_LxNxF[f"{site.name}:input"] @ params[kernel][groups]
        bias = params.get(kernel.replace(".kernel", ".bias"))
        if bias is not None:
            product_LxNxF += bias[groups, None]
        found[site.name] = _error(product_LxNxF, z_LxNxF[site.name])
    scales = _scales(model, writing)
    if scales:
        stream_LxNxD = z_LxNxF[":residual"]
        added = sum(scale * z_LxNxF[name][1:] for name, scale in scales.items())
        found[":residual"] = _error(stream_LxNxD[:-1] + added, stream_LxNxD[1:])
    return found


def _kernel(model: Model, site: Site, params: Mapping[str, Any]) -> str:
    """Path of the weights of a linear layer, by the torch module that it is."""
    module = site.module.replace("@{layer}", "").replace("{group}", "{layer}")
    paths = [r.path for r in model.family.rules if r.key == f"{module}.weight"]
    # NomicBERT's tensors are not called what its modules are; our layers are.
    ending = f".{site.name.rpartition('.')[2]}.kernel"
    [path] = paths or [path for path in params if path.endswith(ending)]
    return path


def _scales(model: Model, writing: list[Site]) -> dict[str, float]:
    """Site -> by what its outputs are multiplied as they are added to the stream."""
    readout = model.readout
    if readout is None:
        plain = model.attributes["model_type"] in PRE_NORM
        return {site.name: 1.0 for site in writing} if plain else {}
    branches = readout.branches
    if readout.stream or any(b.norms or b.expert is not None for b in branches):
        return {}
    return {branch.output: branch.scale for branch in branches}


def _error(ours: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(ours - wanted).max() / wanted.std())
