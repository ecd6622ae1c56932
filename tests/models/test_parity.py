"""All families against torch: every site, hidden, logits, edits, padding."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expertjax.models.attention import Inputs
from expertjax.models.edits import Edit
from expertjax.models.forward import Precision
from expertjax.models.sites import EVERY_POINT, UnitTable
from tests import bounds
from tests.models.arithmetic import identity_errors
from tests.models.parity import (
    CASES,
    LENGTHS,
    Case,
    batch,
    bfloat16_error,
    compiled_once,
    errors,
    forward_of,
    kind_of_site,
    make_case,
)
from tests.torch_reference import Reference


@pytest.fixture(scope="module", params=CASES)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    pytest.importorskip("torch")
    folder: Path = tmp_path_factory.mktemp("parity") / "model"
    return make_case(request.param, folder)


def assert_same(
    case: Case, ours: dict[str, Any], reference: Reference, mask: np.ndarray
) -> None:
    """Compares all outputs, at real tokens."""
    allowed = bounds.of_model(case.model)
    found = errors(ours, reference, mask)
    wrong = {name: error for name, error in found.items() if not error <= allowed}
    assert not wrong, f"standard deviations: {wrong}"


@pytest.mark.parametrize("side", ["right", "left"])
def test_every_output_is_that_of_torch(case: Case, side: str) -> None:
    tokens, mask = batch(case.model, side)
    reference = case.reference(side, tokens, mask)
    assert_same(case, case.forward(tokens, mask, None), reference, mask)


@pytest.mark.parametrize(
    ("precision", "asked"),
    [("float32", "[HIGHEST, HIGHEST]"), ("tensorfloat32", "[HIGH, HIGH]")],
)
def test_every_product_asks_for_its_precision(
    case: Case, precision: Precision, asked: str
) -> None:
    model = dataclasses.replace(case.model, precision=precision)
    tokens, mask = batch(model, "right")
    program = jax.jit(forward_of(model)).lower(tokens, mask, None).as_text()
    products = re.findall(r"dot_general[^\n]*", program)
    kinds = {kind_of_site(site.name) for site in model.sites}
    assert len(products) > len(kinds) / 2
    assert [line for line in products if f"precision = {asked}" not in line] == []


@pytest.mark.parametrize("side", ["right", "left"])
def test_forced_units_change_all_that_torch_changes(case: Case, side: str) -> None:
    model = case.model
    table = UnitTable.build(model.sites, model.num_layers, EVERY_POINT)
    rng = np.random.default_rng(1)
    units = np.concatenate(
        [
            rng.choice(np.flatnonzero(table.site == site.name), count, replace=False)
            for site in model.sites
            if (count := min(5, site.features))
        ]
    )
    values = rng.normal(0, 2, len(units)).astype(np.float32)
    edit = Edit.from_units(model.sites, model.num_layers, table, units, 0.0, values)
    names = zip(table.module[units], table.index[units], strict=True)
    forced = dict(zip(names, values.tolist(), strict=True))
    tokens, mask = batch(model, side)
    reference = case.reference(side, tokens, mask, forced=forced)
    assert_same(case, case.forward(tokens, mask, edit), reference, mask)


def test_batch_is_the_same_as_each_sentence_alone(case: Case) -> None:
    tokens, mask = batch(case.model, "left")
    together = case.forward(tokens, mask, None)
    for row, length in enumerate(LENGTHS):
        # The other rows are padding, so that nothing is compiled again.
        alone, mask_alone = np.zeros_like(tokens), np.zeros_like(tokens)
        alone[0, :length] = tokens[row, tokens.shape[1] - length :]
        mask_alone[0, :length] = 1
        out = case.forward(alone, mask_alone, None)
        for name, z_LxBxTxF in out["sites"].items():
            theirs = np.asarray(together["sites"][name])[:, row, -length:]
            ours = np.asarray(z_LxBxTxF)[:, 0, :length]
            bounds.assert_outputs(ours, theirs, bounds.of_model(case.model))


def test_identity_edit_changes_nothing(case: Case) -> None:
    tokens, mask = batch(case.model, "right")
    plain = case.forward(tokens, mask, None)
    edited = case.forward(tokens, mask, case.model.identity_edit)
    for ours, theirs in zip(
        jax.tree.leaves(edited), jax.tree.leaves(plain), strict=True
    ):
        # XLA fuses the two otherwise, and gated MLPs multiply what it rounds.
        bounds.assert_outputs(ours, theirs, bounds.of_model(case.model))


def test_only_padding_gives_finite_numbers(case: Case) -> None:
    tokens, mask = batch(case.model, "right")
    out = case.forward(tokens, np.zeros_like(mask), None)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(out))


def test_copies_of_the_last_token_change_no_maximum(case: Case) -> None:
    tokens, mask = batch(case.model, "right")
    forward = compiled_once(forward_of(case.model, Inputs.repeating))
    repeated = forward(tokens, mask, None)
    plain = case.forward(tokens, mask, None)
    worst = 0.0
    for name, z_LxBxTxF in plain["sites"].items():
        real_BxTx1 = mask.astype(bool)[:, :, None]
        expected_LxBxF = np.max(z_LxBxTxF, 2, where=real_BxTx1, initial=-np.inf)
        found_LxBxF = np.max(repeated["sites"][name], 2)
        off = np.abs(found_LxBxF - expected_LxBxF).max() / expected_LxBxF.std()
        worst = max(worst, off)
    alike = worst <= bounds.of_model(case.model)
    assert alike == case.model.family.copies_alike, worst


def test_what_a_block_writes_adds_up(case: Case) -> None:
    tokens, mask = batch(case.model, "right")
    sites = case.forward(tokens, mask, None)["sites"]
    found = identity_errors(case.model, sites, mask)
    assert found
    allowed = bounds.of_model(case.model)
    wrong = {name: error for name, error in found.items() if not error <= allowed}
    assert not wrong, f"standard deviations: {wrong}"


def test_a_nan_of_any_site_comes_out_at_its_token(case: Case) -> None:
    """What capture relies on where the maximum passes over NaN."""
    model = case.model
    tokens, mask = batch(model, "right")
    last = model.num_layers - 1
    for site in model.sites:
        identity = model.identity_edit
        shift = dict(identity.shift)
        shift[site.name] = shift[site.name].at[last, site.features // 2].set(jnp.nan)
        out = case.forward(tokens, mask, Edit(identity.scale, shift))
        is_nan_BxT = np.isnan(np.asarray(out["hidden"])).any(-1)
        reached_BxT = mask.astype(bool)
        if site.is_routed:
            of_all = np.asarray(out["sites"][kind_of_site(site.name)][last])
            expert = int(re.findall(r"experts\.(\d+)", site.name)[0])
            own = of_all[..., expert * site.features :][..., : site.features]
            reached_BxT = reached_BxT & (own != 0).any(-1)
        assert is_nan_BxT[reached_BxT].all(), site.name


def test_bfloat16_stays_close(case: Case) -> None:
    assert bfloat16_error(case) <= bounds.bfloat16(case.model.num_layers)
