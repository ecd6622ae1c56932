"""All families against torch: every site, hidden, logits, edits, padding."""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model, load_model
from expertjax.models.attention import Inputs
from expertjax.models.edits import Edit, Probe
from expertjax.models.sites import EVERY_POINT, UnitTable
from tests.tiny_models import make_tiny, make_tiny_bert, make_tiny_gpt2
from tests.torch_reference import Reference, load_torch, run_torch

# Largest difference at real tokens, in standard deviations of the site; what is
# seen is 4e-6, and 2e-5 behind ModernBERT's gates, where torch itself is 8e-6 away
# from what it says in float64. The wrong epsilon, GELU or scale exceeds it.
TOLERANCE = 4e-5
LENGTHS = (12, 7, 1, 9)

CASES: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "gpt2": (make_tiny_gpt2, {}),
    "gpt2-relu-inner": (
        make_tiny_gpt2,
        {"n_inner": 56, "activation_function": "relu"},
    ),
    "gpt2-tanh-by-layer": (
        make_tiny_gpt2,
        {
            "activation_function": "gelu_pytorch_tanh",
            "scale_attn_by_inverse_layer_idx": True,
            "reorder_and_upcast_attn": True,
        },
    ),
    "gpt2-unscaled-epsilon": (
        make_tiny_gpt2,
        {"scale_attn_weights": False, "layer_norm_epsilon": 1e-2},
    ),
    "gpt2-untied-one-head": (
        make_tiny_gpt2,
        {"tie_word_embeddings": False, "n_head": 1, "activation_function": "gelu"},
    ),
    "gpt2-headless": (
        make_tiny_gpt2,
        {"architecture": "GPT2Model", "activation_function": "silu"},
    ),
    "bert": (make_tiny_bert, {}),
    "bert-relu-epsilon": (
        make_tiny_bert,
        {"hidden_act": "relu", "layer_norm_eps": 1e-2, "num_attention_heads": 8},
    ),
    "bert-pretraining-one-type": (
        make_tiny_bert,
        {
            "architecture": "BertForPreTraining",
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "intermediate_size": 40,
        },
    ),
    "bert-untied": (
        make_tiny_bert,
        {"tie_word_embeddings": False, "hidden_act": "gelu_new"},
    ),
    "bert-headless": (make_tiny_bert, {"architecture": "BertModel"}),
}

# Case -> how torch has to be run: options of `run_torch`, and "sides" where
# Hugging Face itself is right for one padding side only.
OPTIONS: dict[str, dict[str, Any]] = {}

for _path in sorted(Path(__file__).parent.glob("cases_*.py")):
    _cases = importlib.import_module(f"tests.models.{_path.stem}")
    for _name, (_architecture, _attributes) in _cases.CASES.items():
        CASES[_name] = make_tiny, {"architecture": _architecture} | _attributes
    OPTIONS |= getattr(_cases, "OPTIONS", {})


@dataclasses.dataclass(frozen=True)
class Case:
    """One checkpoint on both sides, and our jitted forward pass."""

    torch: Any
    model: Model
    forward: Callable[..., dict[str, Any]]
    options: dict[str, Any]

    def reference(
        self, side: str, tokens: np.ndarray, mask: np.ndarray, **options: Any
    ) -> Any:
        own = dict(self.options)
        if side not in own.pop("sides", ("right", "left")):
            pytest.skip(f"transformers itself is wrong for padding on the {side}")
        sites, num_layers = self.model.sites, self.model.num_layers
        return run_torch(self.torch, tokens, mask, sites, num_layers, **own, **options)


@pytest.fixture(scope="module", params=CASES)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    make, overrides = CASES[request.param]
    folder: Path = make(tmp_path_factory.mktemp("parity") / "model", **overrides)
    model = load_model(str(folder))
    architecture = model.attributes["architectures"][0]
    torch_model = load_torch(folder, architecture)
    options = OPTIONS.get(request.param, {})
    return Case(torch_model, model, jax.jit(forward_of(model)), options)


def forward_of(model: Model) -> Callable[..., dict[str, Any]]:
    """f(tokens, mask, edit): all sites unpooled, hidden, logits if it has them."""
    record = frozenset(site.name for site in model.sites)
    has_logits = all(
        getattr(model.config, name, True) for name in ("masked_lm_head", "lm_head")
    )

    def forward(tokens: Any, mask: Any, edit: Edit | None) -> dict[str, Any]:
        module = nnx.merge(model.graphdef, model.params)
        out = module(Inputs.of(tokens, mask), Probe(edit, lambda z: z, record))
        logits = module.logits(out.hidden) if has_logits else None
        return {"sites": out.pooled, "hidden": out.hidden, "logits": logits}

    return forward


def batch(model: Model, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens [B, T] with padding on one side, and their mask."""
    rng = np.random.default_rng(0)
    width = max(LENGTHS)
    tokens = np.zeros((len(LENGTHS), width), np.int64)
    mask = np.zeros_like(tokens)
    for row, length in enumerate(LENGTHS):
        where = slice(0, length) if side == "right" else slice(width - length, width)
        tokens[row, where] = rng.integers(1, model.config.vocab_size, length)
        mask[row, where] = 1
    return tokens, mask


def assert_close(ours: Any, theirs: np.ndarray, real: np.ndarray, what: str) -> None:
    """Compares [..., B, T, F] where `real` [B, T] is true."""
    ours, theirs = np.asarray(ours)[..., real, :], theirs[..., real, :]
    error = np.abs(ours - theirs).max() / theirs.std()
    assert error <= TOLERANCE, f"{what}: {error:.2g} standard deviations"


def assert_same(ours: dict[str, Any], reference: Reference, mask: np.ndarray) -> None:
    """Compares all outputs."""
    real = mask.astype(bool)
    for name, theirs in reference.sites.items():
        for layer, z_BxTxF in enumerate(theirs):
            assert_close(ours["sites"][name][layer], z_BxTxF, real, f"{name} {layer}")
    assert_close(ours["hidden"], reference.hidden, real, "hidden")
    # A classifier has [B, classes], a discriminator [B, T]: not those meant here.
    if reference.logits is not None and reference.logits.ndim == 3:
        assert_close(ours["logits"], reference.logits, real, "logits")


@pytest.mark.parametrize("side", ["right", "left"])
def test_every_output_is_that_of_torch(case: Case, side: str) -> None:
    tokens, mask = batch(case.model, side)
    reference = case.reference(side, tokens, mask)
    assert_same(case.forward(tokens, mask, None), reference, mask)


@pytest.mark.parametrize("side", ["right", "left"])
def test_forced_units_change_all_that_torch_changes(case: Case, side: str) -> None:
    model = case.model
    table = UnitTable.build(model.sites, model.num_layers, EVERY_POINT)
    rng = np.random.default_rng(1)
    units = np.concatenate(
        [
            rng.choice(np.flatnonzero(table.site == site.name), 5, replace=False)
            for site in model.sites
        ]
    )
    values = rng.normal(0, 2, len(units)).astype(np.float32)
    edit = Edit.from_units(model.sites, model.num_layers, table, units, 0.0, values)
    names = zip(table.module[units], table.index[units], strict=True)
    forced = dict(zip(names, values.tolist(), strict=True))
    tokens, mask = batch(model, side)
    reference = case.reference(side, tokens, mask, forced=forced)
    assert_same(case.forward(tokens, mask, edit), reference, mask)


def test_batch_is_the_same_as_each_sentence_alone(case: Case) -> None:
    tokens, mask = batch(case.model, "left")
    together = case.forward(tokens, mask, None)
    for row, length in enumerate(LENGTHS):
        alone, mask_alone = np.zeros_like(tokens[:1]), np.zeros_like(tokens[:1])
        alone[0, :length] = tokens[row, tokens.shape[1] - length :]
        mask_alone[0, :length] = 1
        out = case.forward(alone, mask_alone, None)
        for name, z_LxBxTxF in out["sites"].items():
            theirs = np.asarray(together["sites"][name])[:, row, -length:]
            ours = np.asarray(z_LxBxTxF)[:, 0, :length]
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE * theirs.std())


def test_identity_edit_changes_nothing(case: Case) -> None:
    tokens, mask = batch(case.model, "right")
    plain = case.forward(tokens, mask, None)
    edited = case.forward(tokens, mask, case.model.identity_edit)
    for ours, theirs in zip(
        jax.tree.leaves(edited), jax.tree.leaves(plain), strict=True
    ):
        # XLA fuses the two otherwise, and gated MLPs multiply what it rounds.
        tolerance = 5e-6 * np.abs(np.asarray(theirs)).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_only_padding_gives_finite_numbers(case: Case) -> None:
    tokens, mask = batch(case.model, "right")
    out = case.forward(tokens, np.zeros_like(mask), None)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(out))
