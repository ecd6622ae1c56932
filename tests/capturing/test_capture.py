import collections
import dataclasses
import re
import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from expertjax.capturing.capture import capture
from expertjax.capturing.cost import capture_cost, capture_seconds
from expertjax.capturing.operations import flops_per_token
from expertjax.capturing.prepare import prepare
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model, load_model
from expertjax.concepts.pool import ConceptSet, Membership, sentence_digest
from expertjax.errors import InputError
from expertjax.runtime import mesh as meshes
from expertjax.runtime.mesh import make_mesh
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from tests import bounds
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.tiny_models import byte_level_bpe, make_tiny_gpt2
from tests.torch_reference import load_torch, run_torch

CONCEPTS = tiny_concept_set()
POOLS = {
    "max": lambda z: z.max(axis=1),
    "mean": lambda z: z.mean(axis=1),
    "last": lambda z: z[:, -1],
}


def settings(**changes: Any) -> CaptureSettings:
    return CaptureSettings(**({"seq_len": SEQ_LEN, "block_rows": 20} | changes))


def short(**changes: Any) -> CaptureSettings:
    """Only the shortest sentences, for which one compilation is enough."""
    return settings(seq_len=16, **changes)


def read_responses(folder: ResultFolder) -> np.ndarray:
    array = folder.open_responses()
    return arrays.read(array, slice(0, array.shape[0]), slice(0, array.shape[1]))


def plain_responses(
    model: Model,
    torch_model: Any,
    texts: list[str],
    pooling: str,
    special: bool,
    skip: int,
) -> tuple[np.ndarray, np.ndarray]:
    """[N, U], and is the first token highest: each sentence alone through torch."""
    rows, at_first = [], []
    for text in texts:
        given = model.tokenizer(text, return_special_tokens_mask=True)
        tokens = np.array([given.input_ids])
        counts = np.ones(tokens.shape[1], bool)
        if not special:
            counts = np.array(given.special_tokens_mask) == 0
        counts[:skip] = False
        sites = run_torch(
            torch_model, tokens, np.ones_like(tokens), model.sites, model.num_layers
        ).sites
        counted = [
            sites[site.name][layer][:, counts]
            for layer in range(model.num_layers)
            for site in model.sites
            if site.is_linear
        ]
        rows.append(np.concatenate([POOLS[pooling](z)[0] for z in counted]))
        at_first.append(np.concatenate([z[0].argmax(axis=0) == 0 for z in counted]))
    return np.stack(rows), np.stack(at_first)


def check_against_torch(
    folder: ResultFolder,
    model: Model,
    torch_model: Any,
    pooling: str = "max",
    special: bool = True,
    skip: int = 0,
) -> None:
    texts, units = (
        list(folder.read_table("sentences")["text"]),
        folder.read_table("units"),
    )
    wanted, at_first_NxU = plain_responses(
        model, torch_model, texts, pooling, special, skip
    )
    bounds.assert_responses(read_responses(folder), wanted, units)
    assert ("at_first_token" in units) == (pooling == "max")
    if pooling == "max":
        off_U = np.abs(units["at_first_token"] - at_first_NxU.mean(axis=0))
        # Two tokens may be equal up to rounding.
        assert (off_U > 1e-6).mean() < 0.01
        assert off_U.max() < 1.5 / len(texts)


@pytest.fixture(scope="module")
def full(tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory) -> ResultFolder:
    """A finished capture of three blocks. Do not change it."""
    out = tmp_path_factory.mktemp("capture") / "tiny-gpt2"
    return capture(tiny_gpt2, CONCEPTS, out, settings(block_rows=20))


@pytest.fixture(scope="module")
def torch_gpt2(tiny_gpt2_folder: Path) -> Any:
    return load_torch(tiny_gpt2_folder, "GPT2LMHeadModel")


def test_responses_are_those_of_sentences_run_alone(
    full: ResultFolder, tiny_gpt2: Model, torch_gpt2: Any
):
    check_against_torch(full, tiny_gpt2, torch_gpt2)


def test_the_more_a_token_costs_the_less_padding(
    full: ResultFolder,
    tiny_gpt2: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    costs, choices = [], settings(batch_tokens=64)
    per_token = flops_per_token(tiny_gpt2, tiny_gpt2.num_layers)
    for tokens in (10_000, 20, 1):  # that are run in the time of compiling
        monkeypatch.setattr(
            "expertjax.capturing.prepare.meshes.compile_flops",
            lambda mesh, tokens=tokens: tokens * per_token,
        )
        prepared = prepare(tiny_gpt2, CONCEPTS, choices, make_mesh("model:8"))
        costs.append(capture_cost(prepared))
        print(f"{costs[-1].shapes} shapes, padding {costs[-1].padding:.1%}")
    shapes = [cost.shapes for cost in costs]
    padding = [cost.padding for cost in costs]
    assert shapes == sorted(shapes) and shapes[0] < shapes[2]
    assert padding == sorted(padding, reverse=True) and padding[0] > padding[2]
    assert sum(cost.flops for cost in costs[:2]) > sum(cost.flops for cost in costs[1:])
    again = capture(tiny_gpt2, CONCEPTS, tmp_path / "out", choices)
    units = full.read_table("units")
    bounds.assert_responses(read_responses(again), read_responses(full), units)


def test_time_is_that_of_a_batch_for_all_operations(
    tiny_gpt2: Model, monkeypatch: pytest.MonkeyPatch
):
    """Compiling included: with a clock that says how long each batch takes."""
    prepared = prepare(
        tiny_gpt2, CONCEPTS, settings(batch_tokens=64), make_mesh("model:8")
    )
    cost = capture_cost(prepared)
    assert cost.shapes > 1
    ticks = iter([0.0, 5.0, 0.0, 3.0, 0.0, 1.0, 0.0, 2.0])  # compiling, then thrice
    clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
    cores = types.SimpleNamespace(cpu_count=lambda: 1)
    monkeypatch.setattr("expertjax.capturing.cost.time", clock)
    monkeypatch.setattr("expertjax.capturing.cost.os", cores)
    seconds = capture_seconds(prepared, cost)
    lengths, counts = np.unique(prepared.plan.bucket_N, return_counts=True)
    sizes = [prepared.plan.batch_size(T) for T in lengths]
    batches = sum(-(-counts // sizes))
    # Batches are about equally large; a second each, and four for every program.
    assert seconds - 4 * cost.shapes == pytest.approx(batches, rel=0.5)


@pytest.mark.parametrize(
    ("mesh", "pooling", "batch_tokens", "block_rows"),
    [
        ("data:8", "last", 64, 7),
        ("data:4,model:2", "mean", 500, 1000),
        ("data:2,model:4", "max", 1, 16),
        ("model:8", "max", 200, 3),
    ],
)
def test_batches_blocks_and_meshes_change_nothing(
    tiny_gpt2: Model,
    torch_gpt2: Any,
    tmp_path: Path,
    mesh: str,
    pooling: Any,
    batch_tokens: int,
    block_rows: int,
):
    chosen = settings(
        seq_len=32, pooling=pooling, batch_tokens=batch_tokens, block_rows=block_rows
    )
    folder = capture(tiny_gpt2, CONCEPTS, tmp_path / "m", chosen, make_mesh(mesh))
    check_against_torch(folder, tiny_gpt2, torch_gpt2, pooling)


def test_special_tokens_can_be_left_out(
    tiny_bert: Model, tiny_bert_folder: Path, tmp_path: Path
):
    chosen = settings(seq_len=32, special_tokens="exclude")
    folder = capture(tiny_bert, CONCEPTS, tmp_path / "bert", chosen)
    torch_model = load_torch(tiny_bert_folder, "BertForMaskedLM")
    check_against_torch(folder, tiny_bert, torch_model, special=False)


@pytest.mark.parametrize("special", [True, False])
def test_first_tokens_can_be_left_out(
    tiny_bert: Model, tiny_bert_folder: Path, tmp_path: Path, special: bool
):
    chosen = settings(
        seq_len=32, skip_first=2, special_tokens="include" if special else "exclude"
    )
    folder = capture(tiny_bert, CONCEPTS, tmp_path / "bert", chosen)
    assert folder.read_run()["capture"]["skip_first"] == 2
    torch_model = load_torch(tiny_bert_folder, "BertForMaskedLM")
    check_against_torch(folder, tiny_bert, torch_model, special=special, skip=2)


def test_a_sentence_with_too_few_tokens_to_skip_is_named(
    tiny_bert: Model, tmp_path: Path
):
    chosen = settings(seq_len=32, skip_first=5)
    with pytest.raises(InputError, match=r"sentence '.*no token.*--skip_first=5"):
        capture(tiny_bert, CONCEPTS, tmp_path / "bert", chosen)


def test_sites_select_columns(full: ResultFolder, tiny_gpt2: Model, tmp_path: Path):
    pattern = r"h\.[02]\.mlp\.c_fc|attn\.c_proj"
    some = capture(tiny_gpt2, CONCEPTS, tmp_path / "m", short(sites=pattern))
    units, all_units = some.read_table("units"), full.read_table("units")
    columns = np.flatnonzero(all_units["module"].str.contains(pattern))
    assert set(units["module"]) == {
        "transformer.h.0.mlp.c_fc",
        "transformer.h.2.mlp.c_fc",
        *(f"transformer.h.{layer}.attn.c_proj" for layer in range(3)),
    }
    for name in ("site", "layer", "index", "module"):
        assert units[name].tolist() == all_units[name].iloc[columns].tolist()
    assert units["unit"].tolist() == list(range(len(columns)))
    there = read_responses(some)
    wanted = read_responses(full)[: len(there), columns]
    bounds.assert_responses(there, wanted, units)


def test_tables_describe_both_axes(full: ResultFolder, tiny_gpt2: Model):
    units, sentences = full.read_table("units"), full.read_table("sentences")
    assert full.open_responses().shape == (len(sentences), len(units))
    assert units["unit"].tolist() == list(range(9 * 32 * 3))
    assert units.drop(columns="at_first_token").iloc[96 + 5].to_dict() == {
        "unit": 101,
        "site": "attn.c_proj",
        "layer": 0,
        "index": 5,
        "module": "transformer.h.0.attn.c_proj",
    }
    lengths = [len(tiny_gpt2.tokenizer(text).input_ids) for text in sentences["text"]]
    assert sentences["n_tokens"].tolist() == lengths == sorted(lengths)
    assert sentences["sha256"].tolist() == list(map(sentence_digest, sentences["text"]))


def test_dropped_sentences_are_kept_on_record(full: ResultFolder, tiny_gpt2: Model):
    dropped = set(full.read_table("dropped")["text"])
    assert dropped == {
        text
        for text in CONCEPTS.sentences
        if len(tiny_gpt2.tokenizer(text).input_ids) > SEQ_LEN
    }
    assert dropped | set(full.read_table("sentences")["text"]) == set(
        CONCEPTS.sentences
    )
    assert full.read_run()["capture"]["num_dropped"] == len(dropped) > 0


def test_memberships_are_those_of_the_concepts(full: ResultFolder):
    table = full.read_table("memberships")
    text = full.read_table("sentences")["text"]
    dropped = set(full.read_table("dropped")["text"])
    for key, member in zip(CONCEPTS.keys, CONCEPTS.members, strict=True):
        rows = table[table["concept"] == key]
        there = zip(text.iloc[rows["sentence"]], rows["label"], strict=True)
        wanted = zip(member.sentence, member.label, strict=True)
        named = [(CONCEPTS.sentences[row], label) for row, label in wanted]
        assert list(there) == [pair for pair in named if pair[0] not in dropped]


def test_capturing_does_not_mark_the_whole_run_as_finished(full: ResultFolder):
    assert full.responses_ledger.is_closed
    assert not (full.path / "_SUCCESS").exists()


def content(folder: ResultFolder) -> dict[str, bytes]:
    paths = [path for path in folder.path.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


def test_a_run_that_was_cut_short_ends_in_the_same_bytes(
    full: ResultFolder, tiny_gpt2: Model, tmp_path: Path
):
    cut = ResultFolder(tmp_path / full.name)
    shutil.copytree(full.path, cut.path)
    cut.succeed()
    ledger = cut.path / ".blocks" / "responses"
    cut.responses_ledger.reopen()
    # Block 2 was never written; what block 1 holds was not marked and is no good.
    for block in (1, 2):
        (ledger / f"{block:06d}.json").unlink()
    shards = {row: cut.responses_path / "c" / str(row) / "0" for row in range(3)}
    assert all(path.is_file() for path in shards.values())
    shards[2].unlink()
    shards[1].write_bytes(shards[0].read_bytes())
    kept = shards[0].stat().st_mtime_ns
    with pytest.raises(InputError, match="incomplete"):
        cut.open_responses()
    again = capture(tiny_gpt2, CONCEPTS, cut.path, settings(block_rows=20))
    assert content(again) == content(full)
    assert shards[0].stat().st_mtime_ns == kept
    assert not (cut.path / "_SUCCESS").exists()


def test_responses_are_the_same_by_way_of_pinned_memory(
    full: ResultFolder,
    tiny_gpt2: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meshes, "_PINNED_PLATFORMS", ("cpu",))
    chosen = settings(block_rows=20)
    assert content(capture(tiny_gpt2, CONCEPTS, tmp_path / full.name, chosen)) == (
        content(full)
    )


def test_the_bar_comes_to_its_end(
    tiny_gpt2: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture(tiny_gpt2, CONCEPTS, tmp_path / "tiny", settings(block_rows=16))
    said = capsys.readouterr().err
    assert re.findall(r"capture tiny-gpt2: +(\d+)%", said)[-1] == "100"


def test_a_finished_capture_is_not_run_again(full: ResultFolder, tiny_gpt2: Model):
    paths = [path for path in full.path.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in paths}
    capture(tiny_gpt2, CONCEPTS, full.path, settings(block_rows=20))
    assert {path: path.stat().st_mtime_ns for path in paths} == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pooling": "mean"}, "pooling: there 'max', here 'mean'"),
        ({"sites": "mlp"}, "num_units: there 864, here"),
        ({"seq_len": 40}, "seq_len: there 48, here 40"),
        ({"store_dtype": "float16"}, "store_dtype: there 'float32', here 'float16'"),
    ],
)
def test_the_store_of_another_run_is_refused(
    full: ResultFolder, tiny_gpt2: Model, changes: Any, expected: str
):
    before = content(full)
    with pytest.raises(InputError, match=r"--out: .*another run") as caught:
        capture(tiny_gpt2, CONCEPTS, full.path, settings(**changes))
    assert expected in str(caught.value)
    assert content(full) == before


def test_the_store_of_another_model_or_of_other_sentences_is_refused(
    full: ResultFolder, tiny_gpt2: Model, tmp_path: Path
):
    other = load_model(str(make_tiny_gpt2(tmp_path / "tiny-gpt2", seed=1)))
    with pytest.raises(InputError, match="weights_sha256: there"):
        capture(other, CONCEPTS, full.path, settings())
    with pytest.raises(InputError, match="tokens_sha256: there"):
        capture(tiny_gpt2, tiny_concept_set(seed=1), full.path, settings())


def with_weight(model: Model, name: str, change: Any) -> Model:
    """The model with one parameter changed."""
    params = [
        (path, variable.replace(change(variable[...])))
        if ".".join(map(str, path)) == name
        else (path, variable)
        for path, variable in model.params.flat_state()
    ]
    changed = dataclasses.replace(model, params=nnx.State.from_flat_path(params))
    assert any(".".join(map(str, path)) == name for path, _ in params)
    return changed


def test_weights_that_are_not_numbers_name_unit_and_sentence(
    tiny_gpt2: Model, tmp_path: Path
):
    damaged = with_weight(
        tiny_gpt2, "blocks.c_fc.bias", lambda b: b.at[1, 7].set(np.nan)
    )
    with pytest.raises(InputError) as caught:
        capture(damaged, CONCEPTS, tmp_path / "m", short())
    message = str(caught.value)
    # Layer 1: 288 units of layer 0, then 96 + 32 before the site.
    assert f"unit {288 + 128 + 7} (transformer.h.1.mlp.c_fc, 7)" in message
    assert any(repr(text) in message for text in CONCEPTS.sentences)
    assert not ResultFolder(tmp_path / "m").responses_ledger.is_closed


def test_a_token_that_is_no_number_is_not_hidden_by_its_neighbours(
    tiny_gpt2: Model, tmp_path: Path
):
    [token] = tiny_gpt2.tokenizer(" the").input_ids
    damaged = with_weight(tiny_gpt2, "wte.embedding", lambda w: w.at[token].set(np.nan))
    # In layer 0, this site's other tokens do not see it.
    first = short(sites=r"h\.0\.attn\.c_attn")
    with pytest.raises(InputError, match=r"to sentence '.* the.*' is nan"):
        capture(damaged, CONCEPTS, tmp_path / "m", first)


def test_filler_that_is_no_number_does_no_harm(tiny_gpt2: Model, tmp_path: Path):
    lengths = [len(tiny_gpt2.tokenizer(text).input_ids) for text in CONCEPTS.sentences]
    # Of one length, so that only the filler rows of the last batch hold padding.
    length, count = collections.Counter(lengths).most_common(1)[0]
    rows = np.flatnonzero(np.array(lengths) == length)
    texts = tuple(CONCEPTS.sentences[row] for row in rows)
    labels = (np.arange(count) % 2).astype(np.int8)
    alike = ConceptSet(
        ("sense/alike",), texts, (Membership(np.arange(count, dtype=np.int32), labels),)
    )
    pad = tiny_gpt2.tokenizer.eos_token_id
    damaged = with_weight(tiny_gpt2, "wte.embedding", lambda w: w.at[pad].set(np.nan))
    # One batch of a power of two, in which some rows are filler.
    chosen = settings(batch_tokens=length << count.bit_length(), block_rows=512)
    mesh = make_mesh("data:8")
    wanted, there = (
        read_responses(capture(model, alike, tmp_path / name, chosen, mesh))
        for name, model in (("sound", tiny_gpt2), ("damaged", damaged))
    )
    print(f"{count} sentences of {length} tokens, the others of the batch are filler")
    assert count % 8 and (there == wanted).all()


def test_responses_outside_the_store_dtype_are_refused(
    tiny_gpt2: Model, tmp_path: Path
):
    large = with_weight(
        tiny_gpt2, "blocks.mlp_c_proj.bias", lambda b: b.at[2, 3].set(70_000)
    )
    with pytest.raises(InputError) as caught:
        capture(large, CONCEPTS, tmp_path / "m", short(store_dtype="float16"))
    message = str(caught.value)
    assert "--store_dtype=float16" in message
    assert "(transformer.h.2.mlp.c_proj, 3)" in message
    assert any(repr(text) in message for text in CONCEPTS.sentences)
    assert "is 7000" in message and "use float32" in message
    assert not ResultFolder(tmp_path / "m").responses_ledger.is_closed


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_narrow_stores_hold_the_rounded_responses(
    full: ResultFolder, tiny_gpt2: Model, tmp_path: Path, dtype: Any, bits: int
):
    narrow = capture(tiny_gpt2, CONCEPTS, tmp_path / "m", short(store_dtype=dtype))
    assert str(narrow.open_responses().dtype.numpy_dtype) == dtype
    there = read_responses(narrow)
    wanted = read_responses(full)[: len(there)]
    error = np.abs(there - wanted)
    allowed = bounds.by_unit(full.read_table("units"), wanted)
    assert (error <= np.abs(wanted) * 2.0**-bits + allowed).all()
    rounded = wanted.astype(arrays.DTYPES[dtype]).astype(np.float32)
    assert (there == rounded).mean() > 0.9


@pytest.mark.parametrize("pooling", ["max", "last"])
def test_what_is_computed_in_bfloat16_is_stored_in_it_to_the_bit(
    tiny_gpt2_folder: Path, tmp_path: Path, pooling: Any
):
    model = load_model(str(tiny_gpt2_folder), dtype="bfloat16")
    how = {"compute_dtype": "bfloat16", "pooling": pooling}
    narrow = capture(model, CONCEPTS, tmp_path / "narrow", short(**how))
    assert str(narrow.open_responses().dtype.numpy_dtype) == "bfloat16"
    assert narrow.read_run()["capture"]["store_dtype"] == "bfloat16"
    how["store_dtype"] = "float32"
    wide = capture(model, CONCEPTS, tmp_path / "wide", short(**how))
    np.testing.assert_array_equal(read_responses(narrow), read_responses(wide))


def test_more_tokens_than_positions_are_refused(tiny_gpt2: Model, tmp_path: Path):
    with pytest.raises(InputError, match="--seq_len=65: tiny-gpt2 has only 64"):
        capture(tiny_gpt2, CONCEPTS, tmp_path / "m", settings(seq_len=65))
    assert not (tmp_path / "m").exists()


def test_tokens_that_the_model_does_not_have_are_refused(
    tiny_gpt2: Model, tmp_path: Path
):
    tokenizer = byte_level_bpe(300)
    tokenizer.add_tokens(["ball"])
    other = dataclasses.replace(tiny_gpt2, tokenizer=tokenizer)
    with pytest.raises(InputError, match=r"token 300 \('ball'\) of '.*ball.*only 300"):
        capture(other, CONCEPTS, tmp_path / "m", short())
    assert not (tmp_path / "m").exists()


def test_a_padding_token_that_the_model_does_not_have_does_no_harm(
    full: ResultFolder, tiny_gpt2: Model, tmp_path: Path
):
    tokenizer = byte_level_bpe(300)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == 300
    other = dataclasses.replace(tiny_gpt2, tokenizer=tokenizer)
    there = read_responses(capture(other, CONCEPTS, tmp_path / "m", short()))
    wanted = read_responses(full)[: len(there)]
    bounds.assert_responses(there, wanted, full.read_table("units"))


def test_a_pattern_without_sites_is_refused(tiny_gpt2: Model, tmp_path: Path):
    with pytest.raises(InputError, match=r"--sites='encoder'.*attn\.c_attn"):
        capture(tiny_gpt2, CONCEPTS, tmp_path / "m", settings(sites="encoder"))
    assert not (tmp_path / "m").exists()
