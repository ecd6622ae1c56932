"""`ej.direct_effect` and `writes.parquet`: the rows, the texts of tokens, refusals."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import expertjax as ej
from expertjax.capturing import writes
from expertjax.capturing.capture import capture
from expertjax.capturing.excited import write_excited
from expertjax.capturing.settings import CaptureSettings
from expertjax.capturing.writes import TokenTexts, direct_effect, write_writes
from expertjax.checkpoints.load import Model, load_model
from expertjax.errors import InputError
from expertjax.models.sites import UnitTable
from expertjax.scoring.score import score
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set, write_tiny_concepts
from tests.programs import contents
from tests.tiny_models import byte_level_bpe, make_tiny, make_tiny_bert, make_tiny_gpt2

COLUMNS = [
    "unit", "side", "rank", "token", "token_id", "effect", "deviations", "sign",
]  # fmt: skip


def result(model: Model, out: Path, top: int = 4, **changes: Any) -> ResultFolder:
    """A scored result of a tiny model."""
    captured = capture(
        model, tiny_concept_set(), out, CaptureSettings(seq_len=SEQ_LEN, **changes)
    )
    scoring = ScoreSettings(bootstrap_resamples=20, bootstrap_top=top, metrics="ap")
    return score(captured, settings=scoring)


def unit_of(model: Model, site: str, layer: int, index: int) -> int:
    table = UnitTable.build(model.sites, model.num_layers)
    here = (table.site == site) & (table.layer == layer) & (table.index == index)
    return int(np.flatnonzero(here)[0])


def effects_of_row(model: Model, layer: int, index: int) -> np.ndarray:
    """[V] by hand, of a hidden unit of GPT-2's MLP."""
    of = {".".join(map(str, path)): v[...] for path, v in model.params.flat_state()}
    row_D = np.asarray(of["blocks.mlp_c_proj.kernel"][layer, index], np.float64)
    normed_D = (row_D - row_D.mean()) * np.asarray(of["ln_f.scale"])
    return np.asarray(of["wte.embedding"], np.float64) @ normed_D


def test_rows_are_the_extremes(tiny_gpt2: Model, monkeypatch: Any) -> None:
    monkeypatch.setattr(writes, "_CHUNK", 2)
    units = [unit_of(tiny_gpt2, "mlp.c_fc", *at) for at in ((2, 5), (0, 7), (1, 9))]
    other = unit_of(tiny_gpt2, "attn.c_proj", 1, 3)
    silent = unit_of(tiny_gpt2, "attn.c_attn", 0, 0)
    table = direct_effect(tiny_gpt2, [units[0], silent, other, *units[1:]], k=4)
    assert list(table) == COLUMNS and len(table) == 4 * 2 * 4
    # Units stand as they were given, those that do not write are left out.
    assert list(dict.fromkeys(table["unit"])) == [units[0], other, *units[1:]]
    for unit, at in zip(units, ((2, 5), (0, 7), (1, 9)), strict=True):
        effect_V = effects_of_row(tiny_gpt2, *at)
        order = np.argsort(-effect_V)
        rows = table[table["unit"] == unit]
        assert list(rows["side"]) == ["promoted"] * 4 + ["suppressed"] * 4
        assert list(rows["rank"]) == [1, 2, 3, 4] * 2
        wanted = [*order[:4], *order[::-1][:4]]
        assert list(rows["token_id"]) == wanted
        np.testing.assert_allclose(rows["effect"], effect_V[wanted], rtol=1e-5)
        deviations = (effect_V - effect_V.mean()) / effect_V.std()
        np.testing.assert_allclose(rows["deviations"], deviations[wanted], rtol=1e-4)
        names = tiny_gpt2.tokenizer.convert_ids_to_tokens(wanted)
        assert [name.replace("Ġ", " ") for name in names] == list(rows["token"])


@pytest.fixture(scope="module", params=["LlamaForCausalLM", "Phi3ForCausalLM"])
def gated(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose MLP multiplies; Phi-3 has both factors in one site."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "vocab_size": 300, "pad_token_id": 0}
    return make_tiny(tmp_path_factory.mktemp("gated") / "tiny", request.param, **sizes)


def factors(model: Model, layer: int, index: int) -> list[int]:
    if model.family.name == "phi3":
        return [
            unit_of(model, "mlp.gate_up_proj", layer, i) for i in (index, index + 24)
        ]
    names = ("mlp.gate_proj", "mlp.up_proj")
    return [unit_of(model, name, layer, index) for name in names]


def test_both_factors_write_the_row(gated: Path) -> None:
    model = load_model(str(gated))
    units = [*factors(model, 0, 3), unit_of(model, "mlp.down_proj", 0, 3)]
    table = ej.direct_effect(model, units, k=2).set_index("unit")
    assert [set(table["sign"][unit]) for unit in units] == [{0}, {0}, {1}]
    gate, up, down = (list(table["token_id"][unit]) for unit in units)
    assert gate == up != down


def test_factors_have_the_sign_of_their_product(gated: Path, tmp_path: Path) -> None:
    model = load_model(str(gated))
    folder = result(model, tmp_path / "tiny", top=20, skip_first=1)
    write_excited(folder, model, 3)
    write_writes(folder, model)
    expertise = ej.Expertise(folder)
    signs = expertise.writes.drop_duplicates("unit").set_index("unit")["sign"]
    excited = expertise.excited
    texts = list(dict.fromkeys(excited["text"]))
    every = [unit for index in range(24) for unit in factors(model, 0, index)]
    table = ej.token_activations(model, texts, every)
    table = table[table["position"] > 0].set_index(["unit", "text"])["activation"]
    seen = set()
    for unit, where in expertise.units.iloc[signs.index].iterrows():
        if where["site"] not in ("mlp.gate_proj", "mlp.up_proj", "mlp.gate_up_proj"):
            assert signs[unit] == 1
            continue
        found = set()
        for text in excited[excited["unit"] == unit].nsmallest(3, "rank")["text"]:
            at = table[unit, texts.index(text)].argmax()
            both = factors(model, 0, where["index"] % 24)
            values = [table[factor, texts.index(text)].iloc[at] for factor in both]
            # The activation function, silu, keeps the gate's sign.
            found.add(int(np.sign(values).prod()))
        assert signs[unit] == (found.pop() if len(found) == 1 else 0)
        seen.add(int(signs[unit]))
    assert {1, -1} <= seen


def test_rows_without_a_token_are_passed_over(tmp_path: Path) -> None:
    folder = make_tiny_gpt2(tmp_path / "tiny", n_layer=1)
    byte_level_bpe(270).save_pretrained(folder)  # of 300 rows
    model = load_model(str(folder))
    unit = unit_of(model, "mlp.c_fc", 0, 0)
    table = direct_effect(model, [unit], k=1000)
    assert sorted(table["token_id"][table["side"] == "promoted"]) == list(range(270))


def test_texts_keep_the_space_that_decoders_drop() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"<unk>": 0, "▁the": 1, "the": 2, "▁": 3, "<0xE2>": 4, ".": 5}
    model = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=[], byte_fallback=True)
    )
    steps = tokenizers.decoders
    model.decoder = steps.Sequence(  # Llama's
        [
            steps.Replace("▁", " "),
            steps.ByteFallback(),
            steps.Fuse(),
            steps.Strip(" ", 1, 0),
        ]
    )
    texts = TokenTexts(
        transformers.PreTrainedTokenizerFast(tokenizer_object=model), len(vocabulary)
    )
    assert [texts[n] for n in range(1, 6)] == [" the", "the", " ", "<0xE2>", "."]


def test_what_is_refused(tiny_gpt2: Model, tiny_bert: Model) -> None:
    with pytest.raises(InputError, match="no direct effect on output tokens"):
        direct_effect(tiny_bert, [0])
    with pytest.raises(InputError, match="is not one of the"):
        direct_effect(tiny_gpt2, [10**6])
    with pytest.raises(InputError, match="at least one token"):
        direct_effect(tiny_gpt2, [0], k=0)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ResultFolder]:
    """A model, and what the main job makes of it without keeping responses."""
    place = tmp_path_factory.mktemp("job")
    model = make_tiny_gpt2(place / "tiny", n_layer=1)
    settings = ej.FindSettings(
        capture=CaptureSettings(seq_len=16),
        score=ScoreSettings(bootstrap_resamples=20),
        keep_responses=False,
    )
    concepts = write_tiny_concepts(place / "concepts")
    [folder] = ej.find_experts([str(model)], concepts, place / "out", settings)
    return model, folder


def test_the_main_job_makes_the_table(
    job: tuple[Path, ResultFolder], tmp_path: Path
) -> None:
    model, folder = load_model(str(job[0])), job[1]
    expertise = ej.Expertise(folder)
    table, units = expertise.writes, expertise.units
    assert list(table) == COLUMNS
    best = np.unique(expertise.intervals["unit"])
    writing = best[units["site"].iloc[best] != "attn.c_attn"]
    assert 0 < len(writing) < len(best)
    assert list(table["unit"]) == list(np.repeat(writing, 2 * writes.TOKENS))
    again = direct_effect(model, list(best))
    assert again.equals(table)
    copy = ResultFolder(shutil.copytree(folder.path, tmp_path / "tiny"))
    path = copy.path / "writes.parquet"
    before = path.stat().st_mtime_ns
    write_writes(copy, model)
    assert path.stat().st_mtime_ns == before  # nothing was done
    path.unlink()
    assert ej.Expertise(copy).writes.empty  # as results of old are
    write_writes(copy, model)
    assert contents(copy.path) == contents(folder.path)
    larger = load_model(str(make_tiny_gpt2(tmp_path / "large", n_layer=2)))
    with pytest.raises(InputError, match="it is another model"):
        write_writes(copy, larger)


def test_encoders_have_an_empty_table(tmp_path: Path) -> None:
    model = load_model(str(make_tiny_bert(tmp_path / "bert", num_hidden_layers=1)))
    folder = result(model, tmp_path / "tiny")
    write_writes(folder, model)
    assert folder.has_table("writes")
    assert list(ej.Expertise(folder).writes) == COLUMNS
    assert ej.Expertise(folder).writes.empty
