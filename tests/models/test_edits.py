"""Edits: which units they change, per sentence, in other dtypes."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.edits import Edit, Probe, Tap
from expertjax.models.sites import Site, UnitTable
from tests import bounds

SITES = (Site("a", 2, "m.{layer}.a"), Site("b", 3, "m.{layer}.b"))
TABLE = UnitTable.build(SITES, 2)
TOKENS = np.arange(1, 13).reshape(2, 6)
MASK = np.ones_like(TOKENS)


def responses(model: Model, edit: Edit | None) -> tuple[Any, Any]:
    """Site name -> [L, B, T, F], and logits."""
    module = nnx.merge(model.graphdef, model.params)
    record = frozenset(site.name for site in model.sites)
    out = module(Inputs.of(TOKENS, MASK), Probe(edit, lambda z: z, record))
    return out.pooled, module.logits(out.hidden)


def test_from_units_changes_these_units_only() -> None:
    units = np.array([1, 4, 7])  # a of layer 0; b of layer 0; b of layer 1
    edit = Edit.from_units(SITES, 2, TABLE, units, np.array([0.0, 0.5, 2.0]), 3.0)
    np.testing.assert_array_equal(edit.scale["a"], [[1, 0], [1, 1]])
    np.testing.assert_array_equal(edit.shift["a"], [[0, 3], [0, 0]])
    np.testing.assert_array_equal(edit.scale["b"], [[1, 1, 0.5], [2, 1, 1]])
    np.testing.assert_array_equal(edit.shift["b"], [[0, 0, 3], [3, 0, 0]])


def test_from_units_counts_in_the_given_table() -> None:
    table = UnitTable.build(SITES, 2, r"1\.b")
    edit = Edit.from_units(SITES, 2, table, np.array([2]), 0.0, 1.0)
    np.testing.assert_array_equal(edit.scale["b"], [[1, 1, 1], [1, 1, 0]])
    assert (edit.scale["a"] == 1).all()


def test_no_units_is_the_identity() -> None:
    edit = Edit.from_units(SITES, 2, TABLE, np.array([]), 0.0, 1.0)
    assert all((edit.scale[s] == 1).all() and (edit.shift[s] == 0).all() for s in "ab")


@pytest.mark.parametrize("unit", [-1, 10])
def test_a_unit_outside_the_table_is_named(unit: int) -> None:
    with pytest.raises(InputError, match=f"unit {unit} is not one of the 10 units"):
        Edit.from_units(SITES, 2, TABLE, np.array([0, unit]), 0.0, 0.0)


def test_tap_edits_then_records_and_keeps_the_dtype() -> None:
    edit = Edit(scale={"a": jnp.array([2.0, 0.0])}, shift={"a": jnp.array([0.0, 5.0])})
    tap = Tap(Probe(edit, lambda z: z.max(1), frozenset("a")))
    z_BxTxF = jnp.array([[[1.0, 1.0], [3.0, 9.0]]], jnp.bfloat16)
    out = tap("a", z_BxTxF)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(out, float), [[[2, 5], [6, 5]]])
    np.testing.assert_array_equal(np.asarray(tap.recorded["a"], float), [[6, 5]])
    untouched = tap("b", z_BxTxF)  # neither edited nor asked for
    assert untouched is z_BxTxF
    assert tap.recorded.keys() == {"a"}


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_an_edit_per_sentence_is_that_of_each_sentence(
    family: str, request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(f"tiny_{family}")
    table = UnitTable.build(model.sites, model.num_layers)
    edits = [
        Edit.from_units(model.sites, model.num_layers, table, [unit], 0.0, 3.0)
        for unit in (5, table.num_units // 2)
    ]
    both = Edit(
        scale={s: jnp.stack([e.scale[s] for e in edits], 1) for s in edits[0].scale},
        shift={s: jnp.stack([e.shift[s] for e in edits], 1) for s in edits[0].shift},
    )
    _, together = responses(model, both)
    for row, edit in enumerate(edits):
        _, alone = responses(model, edit)
        bounds.assert_outputs(together[row], alone[row], bounds.of_model(model))
    assert np.abs(together[0] - alone[0]).max() > 1e-3


def test_an_edit_reaches_later_sites_and_no_earlier_ones(tiny_gpt2: Model) -> None:
    table = UnitTable.build(tiny_gpt2.sites, tiny_gpt2.num_layers)
    unit = np.flatnonzero((table.site == "mlp.c_fc") & (table.layer == 1))[:1]
    edit = Edit.from_units(tiny_gpt2.sites, 3, table, unit, 0.0, 50.0)
    before, _ = responses(tiny_gpt2, None)
    after, _ = responses(tiny_gpt2, edit)
    for name in before:
        changed = [
            np.abs(a - b).max() > bounds.of_model(tiny_gpt2) * b.std()
            for a, b in zip(
                *(np.asarray(side[name]) for side in (after, before)), strict=True
            )
        ]
        here = name in ("mlp.c_fc", "mlp.c_proj:input", "mlp.c_proj", ":residual")
        assert changed == [False, here, True], name
    forced = after["mlp.c_fc"][1][..., table.index[unit[0]]]
    np.testing.assert_array_equal(forced, np.full_like(forced, 50.0))
