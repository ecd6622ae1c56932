"""Direct effects against torch: the Hugging Face model with everything else held still.

Torch runs twice in float64, without and with one more unit of activation at a unit. Its
norms do not divide, and attention and MLPs add nothing, but for the one by which the
unit writes. What then differs in the logits is the direct effect, wherever the norms
stand and whatever the families' tensors are called.
"""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.load import Model
from expertjax.models.family import Family
from expertjax.models.readout import direct_effects
from expertjax.models.registry import FAMILIES
from tests import bounds
from tests.models.parity import Case, compiled_once, make_case

CAUSAL = (
    "gpt2", "llama-grouped-tied-biases", "phi3", "olmo2", "gemma2", "gpt_neox", "opt",
    "opt-post-norm-projected", "bloom", "bloom-normed-residual-untied", "openai_gpt",
    "ctrl", "gemma", "olmo", "olmo3", "granite", "granite-tied-biases", "smollm3",
    "stablelm", "starcoder2", "nemotron", "glm4", "cohere", "cohere2", "phi", "gptj",
    "gptj-tied-inner", "gpt_neo", "falcon", "falcon-new",
)  # fmt: skip
HEADLESS = ("gpt_neox-headless", "llama-headless", "bert", "xlnet", "modernbert")
TOKENS = np.array([[5, 3, 8, 1, 7]])
THROUGH_ATTENTION = ("q", "k", "v")


@pytest.fixture(scope="module", params=CAUSAL)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    pytest.importorskip("torch")
    return make_case(request.param, tmp_path_factory.mktemp("readout") / "model")


def without_division(module: Any, x: Any) -> Any:
    """A norm of torch that takes the size of what goes in as 1."""
    import torch

    centred = x - x.mean(-1, keepdim=True)
    kind = type(module).__name__
    if kind == "OlmoLayerNorm":
        return centred
    if isinstance(module, torch.nn.LayerNorm) or kind.startswith("Cohere"):
        scale = module.weight + float(kind.endswith("1P"))
        return centred * scale + getattr(module, "bias", 0.0)
    name = "eps" if hasattr(module, "eps") else "variance_epsilon"
    setattr(module, name, 0.0)
    return x * type(module).forward(module, torch.ones_like(x))


class Still:
    """A torch model of which all but one path to the logits can be held still."""

    def __init__(self, case: Case) -> None:
        assert case.model.readout is not None
        self.torch, self.model = case.torch.double(), case.model
        self.readout = case.model.readout
        if hasattr(self.torch.config, "final_logit_softcapping"):
            self.torch.config.final_logit_softcapping = None
        for module in self.torch.modules():
            if type(module).__name__.endswith(("LayerNorm", "RMSNorm", "Norm1P")):
                module.forward = functools.partial(without_division, module)

    def name(self, site: str, layer: int) -> str:
        [found] = [s for s in self.model.sites if s.name == site]
        return found.module_name(layer).removesuffix(":residual")

    def effect(self, site: str, layer: int, index: int) -> np.ndarray:
        """[V]: what one unit of activation adds to the logits."""
        branch = self.readout.branch_of(site)
        own = self.name(site if branch is None else branch.output, layer)
        outputs = [
            self.name(branch.output, layer)
            for branch in self.readout.branches
            for layer in range(self.model.num_layers)
        ]
        modules = dict(self.torch.named_modules())
        handles = [
            modules[name].register_forward_hook(lambda module, inputs, z: 0 * z)
            for name in set(outputs) - {own}
        ]
        before = self._logits()
        if branch is not None and site in branch.rows:
            more = functools.partial(one_more_in, index=index)
            handles.append(modules[own].register_forward_pre_hook(more))
        else:
            more = functools.partial(one_more_out, index=index)
            handles.append(modules[own].register_forward_hook(more))
        after = self._logits()
        for handle in handles:
            handle.remove()
        return after - before

    def _logits(self) -> np.ndarray:
        """[V] of the last token."""
        import torch

        with torch.no_grad():
            return self.torch(torch.from_numpy(TOKENS)).logits[0, -1].numpy()


def one_more_in(module: Any, inputs: Any, index: int) -> Any:
    x = inputs[0].clone()
    x[..., index % x.shape[-1]] += 1
    return (x, *inputs[1:])


def one_more_out(module: Any, inputs: Any, output: Any, index: int) -> None:
    z = output[0] if isinstance(output, (tuple, list)) else output
    z[..., index] += 1  # in place: blocks return it alone, in a tuple or in a list


def ours(model: Model, where: dict[str, Any]) -> dict[str, np.ndarray]:
    """Site -> [K, V], of units given as layers and indices."""
    readout = model.readout
    assert readout is not None
    found = {".".join(map(str, path)): v[...] for path, v in model.params.flat_state()}

    def effects(params: Any) -> Any:
        return {s: direct_effects(readout, s, params, *at) for s, at in where.items()}

    return compiled_once(effects)({path: found[path] for path in readout.paths})


def test_effects_are_those_of_torch(case: Case) -> None:
    model, torch = case.model, Still(case)
    layer = np.array([0, model.num_layers - 1])
    where = {
        site.name: (layer, np.array([1, site.features - 2]))
        for site in model.sites
        if torch.readout.writes(site.name)
    }
    for site in {site.name for site in model.sites} - where.keys():
        assert re.search(r"(\.W?[qkv]|qkv|query_key_value|c_attn)(_proj)?$", site)
    assert ":residual" in where
    for site, effect_KxV in ours(model, where).items():
        for effect_V, *at in zip(effect_KxV, *where[site], strict=True):
            wanted_V = torch.effect(site, *map(int, at))
            bounds.assert_outputs(effect_V, wanted_V, bounds.of_model(model))


@pytest.mark.parametrize("name", HEADLESS)
def test_without_an_output_layer_there_is_no_effect(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert make_case(name, tmp_path / "model").model.readout is None


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_causal_family_says_how_its_units_write(family: Family) -> None:
    [default] = (f.default for f in dataclasses.fields(Family) if f.name == "readout")
    assert family.causal == (family.readout is not default)
