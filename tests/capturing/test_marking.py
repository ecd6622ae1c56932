"""Positions of the highest activation, of families, against numpy's argmax."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.capturing import pooling
from expertjax.capturing.marking import positions_and_responses
from expertjax.capturing.pooling import marked_token
from expertjax.capturing.prepare import arrange
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import load_model
from expertjax.concepts.pool import ConceptSet
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.sites import UnitTable
from expertjax.runtime.mesh import make_mesh
from tests import bounds
from tests.capturing.every_token import every_token
from tests.capturing.tiny_concepts import SEQ_LEN, random_sentences
from tests.models.parity import CASES, batch, forward_of
from tests.tiny_models import SENTENCES

FAMILIES = ("gpt2", "bert", "qwen2-window", "xlnet")


def highest(z_BxTxF: np.ndarray, mask_BxT: np.ndarray) -> np.ndarray:
    """[B, F] by numpy, which takes the first of equal ones."""
    return np.where(mask_BxT[:, :, None], z_BxTxF, -np.inf).argmax(1)


def case(name: str) -> str:
    """A configuration of that name, or the family's first one."""
    return next(key for key in CASES if key == name or key.startswith(f"{name}-"))


@pytest.mark.parametrize("name", FAMILIES)
def test_positions_are_argmax_of_what_is_not_pooled(name: str, tmp_path: Path) -> None:
    make, overrides = CASES[case(name)]
    model = load_model(str(make(tmp_path / "m", **overrides)))
    forward = forward_of(model)
    record = frozenset(site.name for site in model.sites)

    @jax.jit
    def both(tokens: Any, mask: Any) -> Any:
        module = nnx.merge(model.graphdef, model.params)
        probe = Probe(
            pool=lambda z: marked_token("max", mask.astype(bool), z), record=record
        )
        marked = module(Inputs.of(tokens, mask), probe).pooled
        return marked, forward(tokens, mask, None)["sites"]

    for side in ("left", "right"):
        tokens, mask = batch(model, side)
        marked, sites = both(tokens, mask)
        for site, z_LxBxTxF in sites.items():
            for layer, z_BxTxF in enumerate(np.asarray(z_LxBxTxF)):
                position_BxF = np.asarray(marked[site][layer])
                assert position_BxF.dtype == np.int32
                wanted = highest(z_BxTxF, mask.astype(bool))
                # Compiled together, so that there is no other rounding.
                assert (position_BxF == wanted).all(), (site, layer, side)


def test_of_ties_the_first_counted_token_is_taken() -> None:
    mask = np.array([[0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 1]], bool)
    z_BxT = np.array([[9, 1, 2, 2], [-1, -1, 0, 0], [3, 5, 5, 3]], np.float32)
    z_BxTxF = np.stack([z_BxT, -np.abs(z_BxT)], -1)
    found = marked_token("max", jnp.asarray(mask), jnp.asarray(z_BxTxF))
    assert np.asarray(found).tolist() == [[2, 1], [0, 0], [0, 0]]
    mean = marked_token("mean", jnp.asarray(mask), jnp.asarray(z_BxTxF))
    assert (np.asarray(mean) == np.asarray(found)).all()
    last = marked_token("last", jnp.asarray(mask), jnp.asarray(z_BxTxF))
    assert np.asarray(last).tolist() == [[3, 3], [1, 1], [3, 3]]


@pytest.mark.parametrize("way", [pooling._highest, pooling._highest_by_token])
def test_each_platforms_way_is_argmax(way: Callable[[Any], Any]) -> None:
    draw = np.random.default_rng(0)
    z_BxTxF = draw.integers(0, 4, (5, 7, 11)).astype(np.float32)
    z_BxTxF[draw.random(z_BxTxF.shape) < 0.4] = -np.inf
    z_BxTxF[2, :, 3] = -np.inf
    wanted_BxF = z_BxTxF.argmax(1)
    wanted_BxF[(z_BxTxF == -np.inf).all(1)] = 7
    found_BxF = np.asarray(jax.jit(way)(z_BxTxF))
    assert found_BxF.dtype == np.int32
    np.testing.assert_array_equal(found_BxF, wanted_BxF)


@pytest.mark.parametrize(
    ("mesh", "pooling"),
    [("data:8", "max"), ("data:2,model:4", "mean"), ("data:4,model:2", "last")],
)
def test_chosen_units_of_chosen_sentences(
    tiny_bert: Any, mesh: str, pooling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*SENTENCES, *random_sentences(15, seed=1)]
    texts.sort(key=lambda text: len(tiny_bert.tokenizer(text).input_ids))
    settings = CaptureSettings(
        seq_len=SEQ_LEN,
        pooling=pooling,
        special_tokens="exclude",
        batch_tokens=256,
        block_rows=8,
    )
    whole = UnitTable.build(tiny_bert.sites, tiny_bert.num_layers)
    units = np.array([3, 40, 41, 500, whole.num_units - 1])
    table, columns = whole.keep(units)
    pool = ConceptSet((), tuple(texts), ())
    # One length for all, so that little has to be compiled.
    monkeypatch.setattr("expertjax.runtime.mesh._CPU_COMPILE_FLOPS", 10**12)
    prepared = arrange(tiny_bert, pool, table, settings, make_mesh(mesh))
    which = np.random.default_rng(0).integers(0, len(texts), (len(units), 4))
    positions, responses = positions_and_responses(prepared, columns, which)
    z_NxTxU = every_token(tiny_bert, whole, texts, units)
    allowed_U = bounds.of_model(tiny_bert) * np.concatenate(z_NxTxU).std(0)
    for i, rank in np.ndindex(which.shape):
        inner = z_NxTxU[which[i, rank]][1:-1, i]  # without [CLS] and [SEP]
        wanted = {"last": len(inner)}.get(pooling, 1 + int(inner.argmax()))
        pooled = {"max": inner.max(), "mean": inner.mean(), "last": inner[-1]}
        assert positions[i, rank] == wanted
        assert abs(responses[i, rank] - pooled[pooling]) < allowed_U[i]


def test_a_kept_table_holds_the_same_units(tiny_gpt2: Any) -> None:
    whole = UnitTable.build(tiny_gpt2.sites, tiny_gpt2.num_layers)
    units = np.random.default_rng(0).choice(whole.num_units, 5)
    few, columns = whole.keep(units)
    assert few.num_units < whole.num_units
    for name in ("site", "layer", "index", "module"):
        assert (getattr(few, name)[columns] == getattr(whole, name)[units]).all()
    assert len(few.segments) == len(set(zip(few.layer, few.site, strict=True)))
