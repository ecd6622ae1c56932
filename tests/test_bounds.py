"""What float32 allows is more than other orders of summing do, and less than faults."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from expertjax.checkpoints.load import load_model
from tests import bounds
from tests.models.parity import batch, forward_of
from tests.tiny_models import make_tiny_gpt2

Weights = dict[str, np.ndarray]
Change = Callable[[dict[str, Any], Weights], None]


def other_gelu(attributes: dict[str, Any], weights: Weights) -> None:
    attributes["activation_function"] = "gelu"


def other_epsilon(attributes: dict[str, Any], weights: Weights) -> None:
    attributes["layer_norm_epsilon"] = 1e-3


def no_scale_of_attention(attributes: dict[str, Any], weights: Weights) -> None:
    attributes["scale_attn_weights"] = False


def no_bias(attributes: dict[str, Any], weights: Weights) -> None:
    weights["transformer.h.1.mlp.c_fc.bias"][:] = 0


def no_bias_of_one_unit(attributes: dict[str, Any], weights: Weights) -> None:
    weights["transformer.h.1.mlp.c_fc.bias"][7] = 0


def positions_from_one(attributes: dict[str, Any], weights: Weights) -> None:
    table = weights["transformer.wpe.weight"]
    table[:] = np.roll(table, -1, 0)


def other_order_of_sums(attributes: dict[str, Any], weights: Weights) -> None:
    for layer in range(attributes["n_layer"]):
        mlp = f"transformer.h.{layer}.mlp"
        keys = [f"{mlp}.{key}" for key in ("c_fc.weight", "c_fc.bias", "c_proj.weight")]
        into, bias, out_of = (weights[key] for key in keys)
        order = np.random.default_rng(layer).permutation(len(bias))
        # Files take the bytes as they lie.
        mixed = np.ascontiguousarray(into[:, order]), bias[order], out_of[order]
        weights.update(zip(keys, mixed, strict=True))


def outputs(folder: Path) -> tuple[np.ndarray, float]:
    """The last hidden states at real tokens, and what they may be off by."""
    model = load_model(str(folder))
    tokens, mask = batch(model, "right")
    hidden = jax.jit(forward_of(model))(tokens, mask, None)["hidden"]
    return np.asarray(hidden)[mask.astype(bool)], bounds.of_model(model)


@pytest.fixture(scope="module", params=[(3, 32), (6, 128)], ids=str)
def right(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A GPT-2 of some layers and width, and its `outputs`. Do not change them."""
    depth, width = request.param
    path = tmp_path_factory.mktemp("right") / "m"
    make_tiny_gpt2(path, n_layer=depth, n_embd=width)
    return path, *outputs(path)


def changed(folder: Path, target: Path, change: Change) -> Path:
    """A copy whose config or weights were changed."""
    shutil.copytree(folder, target)
    config, file = target / "config.json", target / "model.safetensors"
    attributes, weights = json.loads(config.read_text()), load_file(file)
    change(attributes, weights)
    config.write_text(json.dumps(attributes))
    save_file(weights, file, {"format": "pt"})
    return target


@pytest.mark.parametrize(
    "fault",
    [
        other_gelu,
        other_epsilon,
        no_scale_of_attention,
        no_bias,
        no_bias_of_one_unit,
        positions_from_one,
    ],
)
def test_a_fault_is_beyond_the_bound(right: Any, tmp_path: Path, fault: Change) -> None:
    folder, wanted, allowed = right
    wrong, _ = outputs(changed(folder, tmp_path / "m", fault))
    share = np.abs(wrong - wanted).max() / wanted.std() / allowed
    print(f"{fault.__name__}: {share:.0f} times what is allowed")
    with pytest.raises(AssertionError, match="standard deviations"):
        bounds.assert_outputs(wrong, wanted, allowed)


def test_other_orders_of_sums_are_within_a_quarter(right: Any, tmp_path: Path) -> None:
    folder, wanted, allowed = right
    other, _ = outputs(changed(folder, tmp_path / "m", other_order_of_sums))
    assert (other != wanted).any()
    bounds.assert_outputs(other, wanted, allowed / 4)


def test_responses_are_judged_by_their_own_site() -> None:
    """A small site beside a large one is not lost in its scale."""
    random = np.random.default_rng(0)
    units = pd.DataFrame(
        {"site": ["a"] * 4 + ["b"] * 4, "layer": 0, "index": [*range(4)] * 2}
    )
    wanted = random.normal(size=(50, 8)) * np.repeat([100.0, 0.01], 4)
    allowed = bounds.forward(1, 4)
    bounds.assert_responses(wanted * (1 + allowed / 8), wanted, units)
    wrong = wanted.copy()
    wrong[3, 6] += 2 * allowed * wanted[:, 4:].std()
    with pytest.raises(AssertionError, match="row 3, unit 6"):
        bounds.assert_responses(wrong, wanted, units)
