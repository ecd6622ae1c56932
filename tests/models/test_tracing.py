"""What JAX sees: traces, causality, shapes of big presets, low precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model, abstract_module, load_model
from expertjax.models.attention import Inputs
from expertjax.models.edits import Edit, Probe
from expertjax.models.registry import read_config
from expertjax.models.sites import UnitTable
from tests import bounds

TOKENS = np.arange(1, 13).reshape(2, 6)
MASK = np.ones_like(TOKENS)

GPT2 = {"model_type": "gpt2"}
BERT = {"model_type": "bert"}
BIG_BERT = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
BIG_BERT |= {"intermediate_size": 4096}
UNITS = {
    "gpt2": (GPT2, 82_944),
    "gpt2-medium": (GPT2 | {"n_embd": 1024, "n_layer": 24, "n_head": 16}, 221_184),
    "gpt2-large": (GPT2 | {"n_embd": 1280, "n_layer": 36, "n_head": 20}, 414_720),
    "gpt2-xl": (GPT2 | {"n_embd": 1600, "n_layer": 48, "n_head": 25}, 691_200),
    "bert-base": (BERT, 82_944),
    "bert-large": (BERT | BIG_BERT, 221_184),
}


@pytest.mark.parametrize("preset", UNITS)
def test_big_presets_have_the_published_number_of_units(preset: str) -> None:
    attributes, num_units = UNITS[preset]
    family, config = read_config(attributes, (), preset)
    sites = family.sites(config)
    table = UnitTable.build(sites, config.num_layers)
    assert table.num_units == num_units
    graphdef, params = abstract_module(family, config, jnp.float32)

    def forward(params: Any, tokens: Any, mask: Any) -> tuple[Any, Any]:
        record = frozenset(site.name for site in sites)
        module = nnx.merge(graphdef, params)
        out = module(
            Inputs.of(tokens, mask), Probe(pool=lambda z: z.max(1), record=record)
        )
        return table.gather(out.pooled), out.hidden

    shape = jax.ShapeDtypeStruct((2, 128), jnp.int32)
    responses, hidden = jax.eval_shape(forward, params, shape, shape)
    assert responses.shape == (2, num_units)
    assert hidden.shape == (2, 128, config.width)


def test_a_big_preset_has_the_parameters_of_the_original() -> None:
    family, config = read_config(UNITS["gpt2-xl"][0], (), "gpt2-xl")
    _, params = abstract_module(family, config, jnp.float32)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1_557_611_200


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_two_traces_in_all(family: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(f"tiny_{family}")
    table = UnitTable.build(model.sites, model.num_layers)
    traces = []

    @jax.jit
    def forward(params: Any, tokens: Any, mask: Any, edit: Edit | None) -> Any:
        traces.append(1)
        module = nnx.merge(model.graphdef, params)
        out = module(Inputs.of(tokens, mask), Probe(edit))
        return module.logits(out.hidden)

    def forced(value: float) -> Any:
        edit = Edit.from_units(model.sites, model.num_layers, table, [3], 0.0, value)
        return forward(model.params, TOKENS, MASK, edit)

    forward(model.params, TOKENS, MASK, None)
    forward(model.params, TOKENS[::-1], MASK, None)
    assert len(traces) == 1
    one, other = forced(1.0), forced(5.0)
    forward(model.params, TOKENS, MASK, model.identity_edit)
    assert len(traces) == 2
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.parametrize("layer", [0, 1])
def test_layers_above_the_last_selected_one_are_not_run(
    family: str, layer: int, request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(f"tiny_{family}")
    pattern = rf"\.{layer}\."
    selected = UnitTable.build(model.sites, model.num_layers, pattern)
    every = UnitTable.build(model.sites, model.num_layers)
    assert selected.depth == layer + 1 and every.depth == model.num_layers

    def responses(params: Any, table: UnitTable) -> Any:
        record = frozenset(site.name for site in table.recorded)
        module = nnx.merge(model.graphdef, params)
        probe = Probe(pool=lambda z: z.max(1), record=record, depth=table.depth)
        return table.gather(module(Inputs.of(TOKENS, MASK), probe).pooled)

    part = responses(model.params, selected)
    whole = responses(model.params, every)
    whole = whole[:, every.layer == layer]
    bounds.assert_outputs(part, whole, bounds.of_model(model))
    program = str(
        jax.make_jaxpr(lambda params: responses(params, selected))(model.params)
    )
    assert f"length={layer + 1}\n" in program
    assert f"length={model.num_layers}\n" not in program


def sensitivity(model: Model, embedding: str) -> np.ndarray:
    """[T, T]: does output t depend on the input at position s?"""
    length = TOKENS.shape[1]

    def outputs(rows: jax.Array) -> jax.Array:
        module = nnx.merge(model.graphdef, model.params)
        table = getattr(module, embedding)
        table.embedding = nnx.Param(table.embedding[...].at[:length].set(rows))
        return module(Inputs.of(TOKENS[:1], MASK[:1])).hidden[0]

    module = nnx.merge(model.graphdef, model.params)
    rows = getattr(module, embedding).embedding[:length]
    gradient_TxDxSxD = jax.jit(jax.jacobian(outputs))(rows)
    return np.abs(np.asarray(gradient_TxDxSxD)).max((1, 3)) > 1e-7


def test_gpt2_sees_no_later_token(tiny_gpt2: Model) -> None:
    length = TOKENS.shape[1]
    expected = np.tri(length, dtype=bool)
    np.testing.assert_array_equal(sensitivity(tiny_gpt2, "wpe"), expected)


def test_bert_sees_every_token(tiny_bert: Model) -> None:
    assert sensitivity(tiny_bert, "position").all()


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_bfloat16_stays_close(family: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"tiny_{family}_folder")
    exact: Model = request.getfixturevalue(f"tiny_{family}")
    rough = load_model(str(folder), dtype=jnp.bfloat16)
    record = frozenset(site.name for site in exact.sites)

    def run(model: Model) -> dict[str, Any]:
        module = nnx.merge(model.graphdef, model.params)
        return module(
            Inputs.of(TOKENS, MASK), Probe(pool=lambda z: z, record=record)
        ).pooled

    ours, theirs = run(rough), run(exact)
    for name in theirs:
        assert ours[name].dtype == jnp.bfloat16
        error = np.asarray(ours[name], np.float32) - np.asarray(theirs[name])
        share = error.std() / np.asarray(theirs[name]).std()
        assert share < bounds.bfloat16(exact.num_layers), name
