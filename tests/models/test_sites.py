"""The table of units: order, selection by --sites, gathering, known totals."""

import re

import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.models.sites import Site, UnitTable

SITES = (Site("a", 2, "m.{layer}.a"), Site("b", 3, "m.{layer}.b"))


def pooled_of(sites: tuple[Site, ...], num_layers: int, batch: int) -> dict:
    """Site name -> [L, B, F] of numbers that are all different."""
    rng = np.random.default_rng(0)
    return {s.name: rng.normal(size=(num_layers, batch, s.features)) for s in sites}


def assert_gathered(table: UnitTable, pooled: dict) -> None:
    """Every column holds the unit that the table says."""
    units_BxU = np.asarray(table.gather(pooled))
    assert units_BxU.shape[1] == table.num_units
    for unit in range(table.num_units):
        z_LxBxF = np.asarray(pooled[table.site[unit]], np.float32)
        expected = z_LxBxF[table.layer[unit], :, table.index[unit]]
        np.testing.assert_array_equal(units_BxU[:, unit], expected)


def test_units_are_numbered_by_layer_then_site_then_coordinate() -> None:
    table = UnitTable.build(SITES, 2)
    assert table.num_units == 10
    assert table.layer.tolist() == [0] * 5 + [1] * 5
    assert table.site.tolist() == ["a", "a", "b", "b", "b"] * 2
    assert table.index.tolist() == [0, 1, 0, 1, 2] * 2
    assert table.module.tolist() == (
        ["m.0.a"] * 2 + ["m.0.b"] * 3 + ["m.1.a"] * 2 + ["m.1.b"] * 3
    )


@pytest.mark.parametrize(
    ("pattern", "modules"),
    [
        (r"b$", ["m.0.b", "m.1.b", "m.2.b"]),
        (r"m\.1\.", ["m.1.a", "m.1.b"]),
        # Layers that start with another site than the first one.
        (r"m\.0\.b|m\.[12]\.", ["m.0.b", "m.1.a", "m.1.b", "m.2.a", "m.2.b"]),
        (r"m\.2\.a|m\.0\.b", ["m.0.b", "m.2.a"]),
        ("", ["m.0.a", "m.0.b", "m.1.a", "m.1.b", "m.2.a", "m.2.b"]),
    ],
)
def test_selection_gathers_the_right_columns(pattern: str, modules: list[str]) -> None:
    table = UnitTable.build(SITES, 3, pattern)
    assert list(dict.fromkeys(table.module)) == modules
    recorded = {site.name for site in table.recorded}
    assert recorded == {name[-1] for name in modules}
    pooled = pooled_of(SITES, 3, batch=2)
    assert_gathered(table, {name: pooled[name] for name in recorded})


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.parametrize("pattern", ["", r"\.1\.(attn|attention)", r"dense|mlp"])
def test_a_forward_pass_gives_what_the_table_says(
    family: str, pattern: str, request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(f"tiny_{family}")
    table = UnitTable.build(model.sites, model.num_layers, pattern)
    tokens, mask = np.arange(1, 13).reshape(2, 6), np.ones((2, 6), int)

    record = frozenset(site.name for site in table.recorded)
    module = nnx.merge(model.graphdef, model.params)
    pooled = module(tokens, mask, pool=lambda z: z.max(1), record=record).pooled
    assert pooled.keys() == {site.name for site in table.recorded}
    assert_gathered(table, pooled)


@pytest.mark.parametrize("pattern", ["(", "*", "[a"])
def test_a_bad_regular_expression_is_named(pattern: str) -> None:
    with pytest.raises(InputError, match="not a regular expression") as error:
        UnitTable.build(SITES, 2, pattern)
    assert f"--sites={pattern!r}" in str(error.value)


def test_a_pattern_that_selects_nothing_lists_the_sites() -> None:
    with pytest.raises(InputError, match=re.escape("m.0.a, m.0.b")):
        UnitTable.build(SITES, 2, "mlp")
