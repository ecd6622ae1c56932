"""What torch and transformers compute: sites by forward hooks, hidden, logits."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.models.sites import Site

# (torch module name of a unit, output coordinate) -> forced value.
Forced = dict[tuple[str, int], float]


@dataclasses.dataclass(frozen=True)
class Reference:
    """Outputs of a torch model: site name -> [L, B, T, F], [B, T, D], [B, T, V]."""

    sites: dict[str, np.ndarray]
    hidden: np.ndarray
    logits: np.ndarray | None


def load_torch(folder: Path, architecture: str, **options: Any) -> Any:
    """The torch model of a folder, in float32, refusing to invent weights."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    kind = getattr(transformers, architecture)
    options = {"dtype": "float32", "attn_implementation": "eager"} | options
    model, info = kind.from_pretrained(folder, output_loading_info=True, **options)
    assert not info["mismatched_keys"], info
    return model.eval()


def run_torch(
    model: Any,
    tokens: np.ndarray,
    mask: np.ndarray,
    sites: tuple[Site, ...],
    num_layers: int,
    forced: Forced | None = None,
) -> Reference:
    """Runs a torch model with explicit positions, forcing some units on the way.

    Args:
      model: from `load_torch`.
      tokens: [B, T].
      mask: [B, T], 1 at real tokens.
      sites: of one block.
      num_layers: L.
      forced: units that are set to a value at every token.
    """
    import torch

    modules = dict(model.named_modules())
    seen: dict[str, np.ndarray] = {}
    handles = []
    for site in sites:
        for layer in range(num_layers):
            name = site.module_name(layer)
            # A model without a head has no prefix.
            module = modules.get(name) or modules[name.split(".", 1)[1]]
            hook = _hook(name, forced or {}, seen)
            handles.append(module.register_forward_hook(hook))
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    with torch.no_grad():
        out = model(
            input_ids=torch.tensor(tokens),
            attention_mask=torch.tensor(mask),
            position_ids=torch.tensor(positions),
            output_hidden_states=True,
        )
    for handle in handles:
        handle.remove()
    logits = getattr(out, "logits", getattr(out, "prediction_logits", None))
    return Reference(
        sites={
            site.name: np.stack(
                [seen[site.module_name(layer)] for layer in range(num_layers)]
            )
            for site in sites
        },
        hidden=out.hidden_states[-1].numpy(),
        logits=None if logits is None else logits.numpy(),
    )


def _hook(name: str, forced: Forced, seen: dict[str, np.ndarray]) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> Any:
        output = output.clone()
        for (where, index), value in forced.items():
            if where == name:
                output[..., index] = value
        seen[name] = output.numpy()
        return output

    return hook
