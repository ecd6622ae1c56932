"""The key-table engine: every tensor placed once, all problems together."""

import re
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints import rules
from expertjax.checkpoints.load import Model, abstract_module
from expertjax.errors import InputError


class DictSource:
    """A checkpoint in memory."""

    name = "memory"

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self._tensors = tensors
        self.shapes = {key: value.shape for key, value in tensors.items()}
        self.dtypes = {key: value.dtype.name for key, value in tensors.items()}

    def read(self, key: str) -> np.ndarray:
        return self._tensors[key]


def exported(model: Model) -> dict[str, np.ndarray]:
    """A model's tensors under their Hugging Face names."""
    return rules.export_params(model.family, model.params)


def load(model: Model, tensors: dict[str, np.ndarray]) -> nnx.State:
    _, abstract = abstract_module(model.family, model.config, jnp.float32)

    def put(path: str, value: np.ndarray) -> Any:
        return jnp.asarray(value)

    return rules.load_params(model.family, DictSource(tensors), abstract, put)


def problems(model: Model, tensors: dict[str, np.ndarray]) -> list[str]:
    with pytest.raises(InputError, match=r"^memory: the weights do not fit:") as error:
        load(model, tensors)
    return str(error.value).split("\n  - ")[1:]


def assert_same_params(ours: nnx.State, theirs: nnx.State) -> None:
    ours, theirs = (dict(state.flat_state()) for state in (ours, theirs))
    assert ours.keys() == theirs.keys()
    for path, variable in theirs.items():
        np.testing.assert_array_equal(ours[path][...], variable[...], str(path))


@pytest.fixture(params=["gpt2", "bert"])
def model(request: Any) -> Model:
    return request.getfixturevalue(f"tiny_{request.param}")


def test_export_is_the_inverse_of_load(model: Model) -> None:
    tensors = exported(model)
    assert list(tensors) == rules.export_keys(model.family, model.params)
    assert_same_params(load(model, tensors), model.params)


def test_names_without_the_prefix_are_the_same(model: Model) -> None:
    prefix = model.family.prefix
    tensors = {key.removeprefix(prefix): v for key, v in exported(model).items()}
    assert_same_params(load(model, tensors), model.params)


def test_put_gets_each_path_once_in_float32(model: Model) -> None:
    _, abstract = abstract_module(model.family, model.config, jnp.float32)
    calls = []

    def put(path: str, value: np.ndarray) -> Any:
        calls.append((path, value.dtype, value.shape))
        return jnp.asarray(value, jnp.bfloat16)

    source = DictSource(exported(model))
    params = rules.load_params(model.family, source, abstract, put)
    wanted = [
        (".".join(path), np.dtype("float32"), variable.shape)
        for path, variable in abstract.flat_state()
    ]
    assert sorted(calls) == sorted(wanted)
    assert all(v[...].dtype == jnp.bfloat16 for _, v in params.flat_state())


def test_old_layer_norm_names_of_bert(tiny_bert: Model) -> None:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {
        re.sub(r"LayerNorm\.(weight|bias)$", lambda m: old[m[0]], key): value
        for key, value in exported(tiny_bert).items()
    }
    assert sum(key.endswith("gamma") for key in tensors) == 2 * 3 + 2
    assert_same_params(load(tiny_bert, tensors), tiny_bert.params)
    both = tensors | exported(tiny_bert)
    assert len(problems(tiny_bert, both)) == 2 * (2 * 3 + 2)


def test_all_problems_come_at_once(tiny_gpt2: Model) -> None:
    tensors = exported(tiny_gpt2)
    block = "transformer.h.1."
    del tensors["transformer.wpe.weight"], tensors[block + "attn.c_proj.bias"]
    tensors["transformer.h.0.attn.rotary.weight"] = np.zeros(3)
    tensors[block + "mlp.c_fc.weight"] = tensors[block + "mlp.c_fc.weight"].T
    tensors["wte.weight"] = tensors["transformer.wte.weight"]
    tensors["transformer.h.3.ln_1.bias"] = np.zeros(32)
    assert sorted(problems(tiny_gpt2, tensors)) == [
        "blocks.ln_1.bias has no layer(s) 3 in this config",
        "no tensor fills blocks.c_proj.bias of layer(s) 1",
        "no tensor fills wpe.embedding",
        "tensor 'transformer.h.0.attn.rotary.weight' is not known in family gpt2",
        "tensor 'transformer.h.1.mlp.c_fc.weight' has shape (128, 32), "
        "expected (32, 128)",
        "tensors 'transformer.wte.weight' and 'wte.weight' are the same",
    ]


def test_linear_shapes_are_reported_as_torch_has_them(tiny_bert: Model) -> None:
    tensors = exported(tiny_bert)
    name = "bert.encoder.layer.2.intermediate.dense.weight"
    tensors[name] = np.zeros((95, 32))
    found = problems(tiny_bert, tensors)
    assert found == [f"tensor {name!r} has shape (95, 32), expected (96, 32)"]


def test_missing_layers_are_listed(tiny_gpt2: Model) -> None:
    tensors = {k: v for k, v in exported(tiny_gpt2).items() if ".h.0." in k}
    found = problems(tiny_gpt2, tensors)
    assert "no tensor fills blocks.ln_1.bias of layer(s) 1, 2" in found


def test_half_a_head_is_refused(tiny_bert: Model) -> None:
    tensors = exported(tiny_bert)
    del tensors["cls.predictions.transform.LayerNorm.bias"]
    assert problems(tiny_bert, tensors) == ["no tensor fills head.norm.bias"]


def test_constants_of_old_checkpoints_are_passed_over(model: Model) -> None:
    constants = {
        "gpt2": ["h.0.attn.bias", "transformer.h.2.attn.masked_bias"],
        "bert": ["bert.embeddings.position_ids", "pooler.dense.bias"],
    }
    extra = dict.fromkeys(constants[model.family.name], np.zeros((1, 4)))
    assert_same_params(load(model, exported(model) | extra), model.params)


def untied(model: Model, tensors: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    _, abstract = abstract_module(model.family, model.config, jnp.float32)
    return rules.untied(model.family, DictSource(tensors), abstract)


TIED = {
    "gpt2": ("lm_head.weight", "transformer.wte.weight"),
    "bert": (
        "cls.predictions.decoder.weight",
        "bert.embeddings.word_embeddings.weight",
    ),
}


def test_a_tied_weight_that_was_saved_is_compared(model: Model) -> None:
    tensors = exported(model)
    head, table = TIED[model.family.name]
    assert untied(model, tensors) == []
    tensors[head] = tensors[table]
    assert_same_params(load(model, tensors), model.params)
    assert untied(model, tensors) == []
    tensors[head] = tensors[table] + np.float32(1e-6)
    assert untied(model, tensors) == [(head, table)]


def test_of_two_tied_weights_either_may_be_there(model: Model) -> None:
    """transformers saves the output layer alone where its class ties that way."""
    tensors = exported(model)
    head, table = TIED[model.family.name]
    tensors[head] = tensors.pop(table)
    assert_same_params(load(model, tensors), model.params)


def test_quantised_tensors_are_named_by_dtype(model: Model) -> None:
    tensors = exported(model)
    matrices = [key for key, value in tensors.items() if value.ndim == 2]
    dtypes = [np.int8, ml_dtypes.float8_e4m3fn, np.int8]
    for key, dtype in zip(matrices[:3], dtypes, strict=True):
        tensors[key] = tensors[key].astype(dtype)
    found = "\n".join(problems(model, tensors))
    assert re.search(r"2 tensor\(s\) such as .* are of dtype int8: quantised", found)
    assert f"1 tensor(s) such as {matrices[1]!r} are of dtype float8_e4m3fn" in found
    assert "take the checkpoint that they were made of" in found


def test_a_tied_bias_of_bert_is_compared(tiny_bert: Model) -> None:
    tensors = exported(tiny_bert)
    bias = tensors["cls.predictions.bias"]
    names = "cls.predictions.decoder.bias", "cls.predictions.bias"
    assert_same_params(load(tiny_bert, tensors | {names[0]: bias}), tiny_bert.params)
    assert untied(tiny_bert, tensors | {names[0]: bias}) == []
    assert untied(tiny_bert, tensors | {names[0]: -bias}) == [names]
    tensors[names[0]] = tensors.pop(names[1])
    assert_same_params(load(tiny_bert, tensors), tiny_bert.params)
