"""A concept whose tokens one expert of a mixture gets, and nobody else, is found there.

The tokens of "7" have a direction of their own in the embeddings, which the router of
the first layer reads.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.absent import ABSENT
from expertjax.analysis.expertise import Expertise
from expertjax.building.write import write_concepts
from expertjax.checkpoints.load import load_model
from expertjax.concepts.files import Concept
from expertjax.errors import InputError
from expertjax.stores import arrays
from tests.capturing.tiny_concepts import SEQ_LEN, random_sentences
from tests.models.parity import CASES
from tests.programs import run_program

PLANTED = 2
POSITIVES, NEGATIVES = 20, 40


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("planted")
    make, attributes = CASES["mixtral"]
    make(folder / "plain", **attributes)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "plain")
    model = transformers.MixtralForCausalLM.from_pretrained(folder / "plain")
    [seven] = tokenizer("7")["input_ids"]
    layer = model.model.layers[0]
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding[:, 0], embedding[:, 1] = 0.0, 5.0
        embedding[seven, 0], embedding[seven, 1] = 5.0, 0.0
        layer.post_attention_layernorm.weight[:2] = 1
        layer.self_attn.o_proj.weight[:2] = 0
        layer.mlp.gate.weight[PLANTED] = 0
        layer.mlp.gate.weight[PLANTED, 0], layer.mlp.gate.weight[PLANTED, 1] = 9, -9
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    random = np.random.default_rng(0)
    texts = [t.split() for t in random_sentences(POSITIVES + NEGATIVES, seed=3)]
    for words in texts[:POSITIVES]:
        words.insert(random.integers(len(words) + 1), "7")
    joined = [" ".join(words) for words in texts]
    concept = Concept(
        "sense", "seven", tuple(joined[:POSITIVES]), tuple(joined[POSITIVES:])
    )
    write_concepts([concept], folder / "concepts", "tests")
    return {
        "model": folder / "model",
        "concepts": folder / "concepts",
        "seq_len": SEQ_LEN,
        "sites": r"layers\.0\.mlp",
    }


@pytest.fixture(scope="module")
def found(flags: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Expertise:
    out = tmp_path_factory.mktemp("out")
    run_program("find_experts", **flags, out=out)
    return Expertise.open(out / "model")


def units_of(found: Expertise, expert: int) -> np.ndarray:
    site = found.units["site"].str.contains(rf"\bexperts\.{expert}\.")
    return np.flatnonzero(site & (found.units["layer"] == 0))


def is_positive(found: Expertise) -> np.ndarray:
    rows, label = found.members("sense/seven")
    positive = np.zeros(len(found.folder.read_table("sentences")), bool)
    positive[rows[label == 1]] = True
    return positive


def test_the_concept_is_found_at_its_expert(found: Expertise) -> None:
    ap_U = found.metric("ap", "sense/seven")
    assert (ap_U[units_of(found, PLANTED)] == 1).all()
    router = (found.units["site"] == "mlp.gate") & (found.units["layer"] == 0)
    assert (ap_U[router] == 1).tolist() == [e == PLANTED for e in range(4)]
    for other in {0, 1, 3}:
        # Attention tells other tokens a little of it.
        assert (ap_U[units_of(found, other)] == 1).mean() < 0.1
    best = found.top("sense/seven", 3)
    assert (best["ap"] == 1).all() and best["above_chance"].all()


def test_what_it_did_not_see_is_kept_as_the_lowest_number(found: Expertise) -> None:
    units = units_of(found, PLANTED)
    array = found.folder.open_responses()
    stored = arrays.read(array, slice(0, array.shape[0]), units)
    assert ((stored == ABSENT) == ~is_positive(found)[:, None]).all()
    shown = found.responses(units)
    there = is_positive(found)
    assert (shown[there] == stored[there]).all()
    step = shown[there].min(0) - shown[~there]
    np.testing.assert_allclose(
        step, np.broadcast_to(shown[there].std(0), step.shape), rtol=1e-4
    )
    for name in found.metrics:
        assert np.abs(found.metric(name, "sense/seven")).max() < 1e4


def test_its_most_exciting_token_is_the_concepts(found: Expertise) -> None:
    table = found.excited
    table = table[table["unit"].isin(units_of(found, PLANTED))]
    assert len(table) and set(table["token"]) == {"7"}
    starts = found.units["at_first_token"].to_numpy()[units_of(found, PLANTED)]
    first = found.folder.read_table("sentences")["text"].str.startswith("7")
    np.testing.assert_allclose(starts, first.mean(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("keep", ["true", "false"])
def test_narrow_stores_and_none_rank_alike(
    found: Expertise, flags: dict[str, Any], dtype: str, keep: str, tmp_path: Path
) -> None:
    run_program(
        "find_experts",
        **flags,
        store_dtype=dtype,
        keep_responses=keep,
        out=tmp_path,
    )
    narrow = Expertise.open(tmp_path / "model")
    ap_U = narrow.metric("ap", "sense/seven")
    assert (ap_U[units_of(narrow, PLANTED)] == 1).all()
    whole_U = found.metric("ap", "sense/seven")[units_of(found, 0)]
    assert np.abs(ap_U[units_of(narrow, 0)] - whole_U).max() < 0.1
    assert np.abs(narrow.metric("off_mean", "sense/seven")).max() < 1e4
    if keep == "true":
        array = narrow.folder.open_responses()
        units = units_of(narrow, PLANTED)
        stored = arrays.read(array, slice(0, array.shape[0]), units)
        assert ((stored == ABSENT) == ~is_positive(narrow)[:, None]).all()


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_other_ways_of_pooling_know_who_was_there(
    found: Expertise, flags: dict[str, Any], pooling: str, tmp_path: Path
) -> None:
    run_program(
        "find_experts",
        **flags,
        pooling=pooling,
        out=tmp_path,
    )
    other = Expertise.open(tmp_path / "model")
    array = other.folder.open_responses()
    units = units_of(other, PLANTED)
    is_absent = arrays.read(array, slice(0, array.shape[0]), units) == ABSENT
    if pooling == "mean":
        assert (is_absent == ~is_positive(other)[:, None]).all()
    else:
        last = other.folder.read_table("sentences")["text"].str.endswith("7")
        assert (is_absent == ~last.to_numpy()[:, None]).all()


def test_edits_write_and_those_over_tokens_are_refused(
    found: Expertise, flags: dict[str, Any]
) -> None:
    import expertjax as ej

    model = load_model(str(flags["model"]))
    expertise = ej.Expertise(found.folder)
    forced = expertise.force("seven", k=20, value=50)
    assert any("experts" in site for site in forced.site)
    texts = ej.generate(model, "7", [None, forced], seeds=[0], max_new_tokens=8)
    assert len(set(texts["sentence"])) == 2
    with pytest.raises(InputError, match="is there only at tokens that are routed"):
        expertise.transport("seven", model, k=20)


def test_activations_are_nan_at_other_tokens(
    found: Expertise, flags: dict[str, Any]
) -> None:
    import expertjax as ej

    unit = int(units_of(found, PLANTED)[5])
    model = load_model(str(flags["model"]))
    table = ej.token_activations(model, "A 7 flew 7.", [unit], sites=flags["sites"])
    there = table["token"].str.contains("7")
    assert (table["activation"].notna() == there).all() and there.sum() == 2
