"""Tiny checkpoints of all families on both sides, and how far they are apart.

`python -m tests.models.parity` prints what stands in `expertjax/models/PARITY.md`.
"""

import dataclasses
import importlib
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expertjax.checkpoints.load import Model, load_model
from expertjax.models.attention import Inputs
from expertjax.models.edits import Edit, Probe
from tests.tiny_models import make_tiny, make_tiny_bert, make_tiny_gpt2
from tests.torch_reference import Reference, load_torch, run_torch

LENGTHS = (12, 7, 1, 9)
SIDES = ("right", "left")

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
# Hugging Face itself is right for one padding side only; "loading": of `load_torch`;
# "wrong": why it has to be one of these two, for PARITY.md; "read_with": of
# `load_model`, too.
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
        wrong = own.pop("wrong", "")
        if side not in own.pop("sides", SIDES):
            pytest.skip(f"transformers itself is wrong, padded on the {side}: {wrong}")
        sites, num_layers = self.model.sites, self.model.num_layers
        found = run_torch(self.torch, tokens, mask, sites, num_layers, **own, **options)
        return dataclasses.replace(found, sites=experts_together(found.sites))


def make_case(name: str, folder: Path) -> Case:
    """Writes a tiny checkpoint and loads it on both sides."""
    make, overrides = CASES[name]
    make(folder, **overrides)
    options = dict(OPTIONS.get(name, {}))
    model = load_model(str(folder), read_with=options.get("read_with", ""))
    loading = options.pop("loading", {})
    torch_model = load_torch(folder, model.attributes["architectures"][0], **loading)
    return Case(torch_model, model, compiled_once(forward_of(model)), options)


def compiled_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` of what runs a few times, in half the time of compiling.

    Gives numpy arrays: each operation on JAX's own would be a program, to be compiled.
    """
    jitted = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
    return lambda *inputs: jax.device_get(jitted(*inputs))


def every_token(z_BxTxF: jax.Array, routed_BxT: jax.Array | None = None) -> jax.Array:
    """No pooling; 0 at tokens that are not routed to an expert."""
    if routed_BxT is None:
        return z_BxTxF
    return jnp.where(routed_BxT[:, :, None], z_BxTxF, 0)


def experts_together(sites: dict[str, Any]) -> dict[str, Any]:
    """The sites of a mixture's experts side by side, [L, B, T, E * F]."""
    kinds: dict[str, list[Any]] = defaultdict(list)
    for name, z_LxBxTxF in sites.items():
        kinds[kind_of_site(name)].append(z_LxBxTxF)
    join = np.concatenate if isinstance(z_LxBxTxF, np.ndarray) else jnp.concatenate
    return {name: join(parts, -1) for name, parts in kinds.items()}


def kind_of_site(name: str) -> str:
    """A site's name, without an expert's number."""
    return re.sub(r"\bexperts\.\d+\.", "experts.", name)


def forward_of(
    model: Model, inputs_of: Callable[[Any, Any], Inputs] = Inputs.of
) -> Callable[..., dict[str, Any]]:
    """f(tokens, mask, edit): all sites unpooled, hidden, logits if it has them.

    Experts that few tokens reach have no deviation of their own: see
    `experts_together`.
    """
    record = frozenset(site.name for site in model.sites)
    has_logits = all(
        getattr(model.config, name, True) for name in ("masked_lm_head", "lm_head")
    )

    def forward(tokens: Any, mask: Any, edit: Edit | None) -> dict[str, Any]:
        module = model.forward.bind(model.params)
        out = module(inputs_of(tokens, mask), Probe(edit, every_token, record))
        logits = module.logits(out.hidden) if has_logits else None
        sites = experts_together(out.pooled)
        return {"sites": sites, "hidden": out.hidden, "logits": logits}

    return forward


def batch(model: Model, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens [B, T] with padding on one side, and their mask."""
    rng = np.random.default_rng(0)
    width = max(LENGTHS)
    # Some families know padding by its token, whose row is before the first token's.
    padding = max(getattr(model.config, "first_position", 0) - 1, 0)
    tokens = np.full((len(LENGTHS), width), padding, np.int64)
    mask = np.zeros_like(tokens)
    for row, length in enumerate(LENGTHS):
        where = slice(0, length) if side == "right" else slice(width - length, width)
        tokens[row, where] = rng.integers(1, model.config.vocab_size, length)
        mask[row, where] = 1
    return tokens, mask


def errors(
    ours: dict[str, Any], reference: Reference, mask: np.ndarray
) -> dict[str, float]:
    """Largest differences at real tokens, in standard deviations of each output.

    Returns:
      "<site> <layer>", "hidden" and, where there are any, "logits".
    """
    real = mask.astype(bool)

    def error(ours: Any, theirs: np.ndarray) -> float:
        ours, theirs = np.asarray(ours)[real], theirs[real]
        return float(np.abs(ours - theirs).max() / theirs.std())

    found = {
        f"{name} {layer}": error(ours["sites"][name][layer], z_BxTxF)
        for name, theirs in reference.sites.items()
        for layer, z_BxTxF in enumerate(theirs)
    }
    found["hidden"] = error(ours["hidden"], reference.hidden)
    # A classifier has [B, classes], a discriminator [B, T]: not those meant here.
    if reference.logits is not None and reference.logits.ndim == 3:
        found["logits"] = error(ours["logits"], reference.logits)
    return found


def bfloat16_error(case: Case) -> float:
    """Root mean square of what bfloat16 changes, at the worst site.

    In standard deviations of the site, over real tokens; against ourselves in
    float32. Of mixtures, over the tokens up to the first that rounding sends to
    another expert: where two are all but equal, that is no small change.
    """
    read_with = case.options.get("read_with", "")
    rough = load_model(str(case.model.path), dtype=jnp.bfloat16, read_with=read_with)
    tokens, mask = batch(case.model, "right")
    exact = case.forward(tokens, mask, None)["sites"]
    given = compiled_once(forward_of(rough))(tokens, mask, None)["sites"]
    # So that a store of bfloat16 holds them whole (`CaptureSettings.store_dtype`).
    assert {z.dtype for z in given.values()} == {np.dtype(jnp.bfloat16)}
    real = mask.astype(bool)
    for name in filter(re.compile(r"experts\.down_proj$").search, exact):
        number = case.model.config.experts.number
        # A single output may be 0, where a bias is added to its negative.
        here, there = (
            np.any(np.asarray(z).reshape(*z.shape[:3], number, -1) != 0, -1)
            for z in (given[name], exact[name])
        )
        before = np.cumsum((here != there).any((0, 3)), 1) == 0
        assert (real & before).sum() >= real.sum() / 2
        real &= before
    worst = 0.0
    for name, z_LxBxTxF in exact.items():
        for ours, theirs in zip(given[name], z_LxBxTxF, strict=True):
            theirs = np.asarray(theirs)[real]
            difference = np.asarray(ours, np.float32)[real] - theirs
            worst = max(worst, np.sqrt(np.mean(difference**2)) / theirs.std())
    return float(worst)


if __name__ == "__main__":
    from tests.models.parity_table import main

    main()
