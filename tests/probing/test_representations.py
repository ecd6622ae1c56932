"""Sentence vectors: whichever way they are padded and batched."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.probing.representations import (
    pool_hidden,
    represent,
    representation_step,
)
from expertjax.probing.settings import ProbeSettings
from expertjax.runtime.mesh import make_mesh
from tests import bounds
from tests.capturing.tiny_concepts import random_sentences
from tests.tiny_models import SENTENCES

KINDS = ["mean", "last", "first"]


def alone(model: Model, text: str, kind: str, special: str = "include") -> np.ndarray:
    """[D], by the definition, of a sentence without padding."""
    encoding = model.tokenizer(text, return_special_tokens_mask=True)
    tokens = np.array([encoding["input_ids"]])
    module = nnx.merge(model.graphdef, model.params)
    hidden = np.asarray(module(Inputs.of(tokens, np.ones_like(tokens))).hidden)[0]
    if special == "exclude":
        hidden = hidden[np.array(encoding["special_tokens_mask"]) == 0]
    return {"mean": hidden.mean(0), "last": hidden[-1], "first": hidden[0]}[kind]


@pytest.mark.parametrize(
    "name, special, kind",
    [
        ("tiny_gpt2", "include", "last"),
        ("tiny_bert", "include", "first"),
        ("tiny_bert", "exclude", "mean"),
    ],
)
def test_vectors_are_those_of_sentences_alone(
    name: str, special: str, kind: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    texts = random_sentences(41, 3) + SENTENCES
    settings = ProbeSettings(
        representation=kind, special_tokens=special, seq_len=60, batch_tokens=256
    )
    got, num_truncated = represent(model, texts, settings, make_mesh())
    assert num_truncated == 0
    for row in (0, 7, 20, 41, 46):
        wanted = alone(model, texts[row], kind, special)
        bounds.assert_outputs(got[row], wanted, bounds.of_model(model))


@pytest.mark.parametrize("name", ["tiny_gpt2", "tiny_bert"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_either_side_is_the_same(
    name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    rows = [model.tokenizer(text).input_ids for text in SENTENCES]
    width = max(map(len, rows)) + 3
    step = representation_step(model, kind)
    vectors = []
    for side in ("right", "left"):
        tokens = np.ones((len(rows), width), np.int32)
        mask = np.zeros((len(rows), width), bool)
        for i, row in enumerate(rows):
            at = (
                slice(0, len(row)) if side == "right" else slice(width - len(row), None)
            )
            tokens[i, at], mask[i, at] = row, True
        vectors.append(
            np.asarray(step(model.params, tokens, mask, jnp.array(mask), None))
        )
    bounds.assert_outputs(vectors[0], vectors[1], bounds.of_model(model))
    assert np.abs(vectors[0][0] - vectors[0][1]).max() > 0.1


def test_pooling_by_hand() -> None:
    hidden = jnp.arange(8.0).reshape(1, 4, 2)
    mask = jnp.array([[False, True, True, False]])
    wanted = {"mean": [3, 4], "last": [4, 5], "first": [2, 3]}
    for kind, value in wanted.items():
        assert pool_hidden(kind, mask, hidden).tolist() == [value]


def test_long_sentences_are_cut_and_counted(tiny_gpt2: Model) -> None:
    texts = [*SENTENCES, "Rain."]
    _, num_truncated = represent(tiny_gpt2, texts, ProbeSettings(seq_len=5))
    assert num_truncated == 6
    with pytest.raises(InputError, match=r"--seq_len=128: .* has only 64 positions"):
        represent(tiny_gpt2, texts)


def test_a_sentence_without_tokens_is_named(tiny_gpt2: Model) -> None:
    with pytest.raises(InputError, match="sentence '' has no token"):
        represent(tiny_gpt2, ["", "Rain."], ProbeSettings(seq_len=8))
