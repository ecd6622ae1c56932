"""What torch and transformers compute: sites by forward hooks, hidden, logits."""

import collections
import contextlib
import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.models.sites import Site
from tests.torch_experts import is_router, watching

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
    if any(map(is_router, model.modules())):
        model.set_experts_implementation("eager")
    return model.eval()


def run_torch(
    model: Any,
    tokens: np.ndarray,
    mask: np.ndarray,
    sites: tuple[Site, ...],
    num_layers: int,
    forced: Forced | None = None,
    explicit: bool = True,
    time_major: bool = False,
    read_with: str = "",
) -> Reference:
    """Runs a torch model with explicit positions, forcing some units on the way.

    Args:
      model: from `load_torch`.
      tokens: [B, T].
      mask: [B, T], 1 at real tokens.
      sites: of one block.
      num_layers: L.
      forced: units that are set to a value at every token.
      explicit: give the model position ids; some families take none.
      time_major: its modules compute on [T, B, F].
      read_with: "encoder" or "decoder", where there are both.
    """
    import torch

    modules = dict(model.named_modules())
    seen: dict[str, np.ndarray] = {}
    calls: collections.Counter[tuple[Site, str]] = collections.Counter()
    handles = []
    inside: list[tuple[str, int]] = []  # of mixtures of experts
    for site in sites:
        for layer in range(num_layers):
            name = site.module_name(layer)
            torch_name, _, point = re.sub(r"@\d+", "", name).partition(":")
            # A model without a head has no prefix.
            module = modules.get(torch_name) or modules.get(torch_name.split(".", 1)[1])
            if module is None or is_router(module):
                inside.append((name, site.features))
                continue
            hook = _at_call(calls[site, torch_name], _hook(name, forced or {}, seen))
            calls[site, torch_name] += 1  # layers that share one come in turn
            if point == "input":
                handles.append(module.register_forward_pre_hook(_on_input(hook)))
            else:
                handles.append(module.register_forward_hook(hook))
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    watch = contextlib.nullcontext()
    if inside:
        for name, features in inside:
            seen[name] = np.zeros((*mask.shape, features), np.float32)
        watch = watching(model, forcing(forced or {}), seen)
    given = {"input_ids": tokens, "attention_mask": mask}
    if explicit:
        given["position_ids"] = positions
    if read_with:
        given |= {"decoder_input_ids": preceding(tokens, positions, model)}
        given |= {"decoder_attention_mask": mask}
    with torch.no_grad(), watch:
        out = model(
            **{name: torch.tensor(array) for name, array in given.items()},
            output_hidden_states=True,
        )
    for handle in handles:
        handle.remove()
    logits = getattr(out, "logits", getattr(out, "prediction_logits", None))
    logits = None if read_with == "encoder" else logits
    return Reference(
        sites={
            site.name: np.stack(
                [
                    _batch_major(seen[site.module_name(layer)], mask.shape, time_major)
                    for layer in range(num_layers)
                ]
            )
            for site in sites
        },
        hidden=_last_hidden(out, read_with).numpy(),
        logits=None if logits is None else logits.numpy(),
    )


def preceding(tokens: np.ndarray, positions: np.ndarray, model: Any) -> np.ndarray:
    """[B, T]: what the decoder reads, whose start token stands before a sentence."""
    before = np.roll(tokens, 1, axis=1)
    return np.where(positions == 0, model.config.decoder_start_token_id, before)


def _last_hidden(out: Any, read_with: str) -> Any:
    if read_with == "encoder":
        return out.encoder_last_hidden_state
    return (out.decoder_hidden_states if read_with else out.hidden_states)[-1]


def _batch_major(
    values: np.ndarray, shape: tuple[int, ...], time_major: bool
) -> np.ndarray:
    """[B, T, F] of what a module gave, which may have flattened B and T."""
    return values.swapaxes(0, 1) if time_major else values.reshape(*shape, -1)


def forcing(forced: Forced) -> Any:
    """What `watching` is to do: set units to values."""

    def change(name: str, values: Any) -> Any:
        values = values.clone()
        for (where, index), value in forced.items():
            if where == name:
                values[..., index] = value
        return values

    return change


def _hook(name: str, forced: Forced, seen: dict[str, np.ndarray]) -> Any:
    change = forcing(forced)

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        # A block may return its residual stream with other things.
        rest = output[1:] if isinstance(output, tuple | list) else None
        values = change(name, output if rest is None else output[0])
        seen[name] = values.numpy().copy()  # some models clip in place
        return values if rest is None else (values, *rest)

    return hook


def _at_call(wanted: int, hook: Any) -> Any:
    """The same at one of a module's calls only."""
    calls = itertools.count()

    def at_call(module: Any, inputs: Any, output: Any) -> Any:
        return hook(module, inputs, output) if next(calls) == wanted else None

    return at_call


def _on_input(hook: Any) -> Any:
    """The same for what goes into a module."""

    def pre_hook(module: Any, inputs: Any) -> Any:
        values = hook(module, None, inputs[0])
        return None if values is None else (values, *inputs[1:])

    return pre_hook
