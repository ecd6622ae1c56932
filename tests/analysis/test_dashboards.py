"""Exports for SAEDashboard and Neuronpedia: written by real results and read back.

The fields are those of SAEDashboard 0.8.0 and of Neuronpedia's schema.prisma at
ebb8426; docs/dashboards.md says what else was checked against them.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import expertjax as ej
from expertjax.analysis.dashboards import BOT, features_of, sources
from expertjax.capturing.excited import write_excited
from expertjax.capturing.excited_tokens import excited_tokens
from expertjax.capturing.writes import write_writes
from expertjax.checkpoints.load import Model
from expertjax.storeless import capture_and_score
from tests import bounds
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.programs import contents, run_program

K = 4
# NeuronpediaDashboardFeature.to_dict and NeuronpediaDashboardActivation.to_dict.
FEATURE = {
    "feature_index", "neuron_alignment_indices", "neuron_alignment_values",
    "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_l1",
    "correlated_neurons_pearson", "correlated_features_indices",
    "correlated_features_l1", "correlated_features_pearson", "neg_str", "neg_values",
    "pos_str", "pos_values", "frac_nonzero", "freq_hist_data_bar_values",
    "freq_hist_data_bar_heights", "logits_hist_data_bar_heights",
    "logits_hist_data_bar_values", "n_prompts_total", "n_tokens_in_prompt", "dataset",
    "decoder_weights_dist", "activations", "vector",
}  # fmt: skip
ACTIVATION = {
    "bin_min", "bin_max", "bin_contains", "tokens", "values", "qualifying_token_index"
}  # fmt: skip
# What each of Neuronpedia's tables wants given, and what else we give.
TABLES = {
    "release": ({"name", "description", "creatorName", "creatorId", "urls"}, set()),
    "model": (
        {"id", "creatorId", "layers", "neuronsPerLayer", "owner"},
        {"displayName", "displayNameShort"},
    ),
    "sourceset": (
        {"modelId", "name", "description", "creatorName", "creatorId", "urls"},
        {"releaseName"},
    ),
    "source": (
        {"id", "modelId", "setName", "creatorId"},
        {"num_prompts", "num_tokens_in_prompt", "notes"},
    ),
    "features": (
        {"modelId", "layer", "index"},
        {
            "creatorId", "sourceSetName", "maxActApprox", "pos_str", "pos_values",
            "neg_str", "neg_values", "frac_nonzero", "freq_hist_data_bar_heights",
            "freq_hist_data_bar_values",
        },
    ),
    "activations": (
        {
            "id", "modelId", "layer", "index", "creatorId", "tokens", "values",
            "maxValue", "maxValueTokenIndex", "minValue",
        },
        {"binMin", "binMax", "binContains", "qualifyingTokenIndex"},
    ),
    "explanations": (
        {"id", "modelId", "layer", "index", "authorId", "description"},
        {"scoreV1", "notes"},
    ),
}  # fmt: skip
HIDDEN = ("release", "model", "sourceset", "source")  # unless they say otherwise


def result(model: Model, out: Path, **changes: Any) -> ej.Expertise:
    """A result of a tiny model, as find_experts leaves it."""
    settings = ej.CaptureSettings(**{"seq_len": SEQ_LEN} | changes)
    scoring = ej.ScoreSettings(bootstrap_resamples=20, bootstrap_top=4)
    responses = ej.capture(model, tiny_concept_set(), out, settings)
    expertise = ej.score(responses, settings=scoring)
    write_excited(expertise.folder, model, K)
    write_writes(expertise.folder, model)
    return expertise


@pytest.fixture(scope="module")
def made(tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory) -> ej.Expertise:
    """Do not change it."""
    return result(tiny_gpt2, tmp_path_factory.mktemp("made") / "Tiny.gpt2")


@pytest.fixture(scope="module")
def of_bert(tiny_bert: Model, tmp_path_factory: pytest.TempPathFactory) -> ej.Expertise:
    """Do not change it."""
    return result(tiny_bert, tmp_path_factory.mktemp("made") / "tiny-bert")


def lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.decode().splitlines()]


def check_tokens(
    expertise: ej.Expertise, table: pd.DataFrame, names: tuple[str, ...] = ()
) -> None:
    """Tokens give the text; the highest value is the response, at the marked token."""
    shown = expertise.excited
    columns = ["unit", "rank", "sentence", "response"]
    assert table[columns].equals(shown[columns])
    units = expertise.units.iloc[shown["unit"].unique()]
    allowed = bounds.by_unit(units, expertise.responses(units["unit"].to_numpy()))
    allowed_of = dict(zip(units["unit"], allowed, strict=True))
    for wanted, row in zip(shown.itertuples(), table.itertuples(), strict=True):
        words = [token for token in row.tokens if token not in names]
        assert "".join(words) == wanted.text
        highest = int(np.argmax(row.values))
        assert abs(row.values[highest] - wanted.response) <= allowed_of[row.unit]
        assert row.tokens[highest].strip() == wanted.token
        if wanted.start >= 0 and not names:
            assert len("".join(row.tokens[: highest + 1]).rstrip()) == wanted.end


def test_tokens_and_values_are_those_of_the_responses(
    made: ej.Expertise, of_bert: ej.Expertise, tiny_gpt2: Model, tiny_bert: Model
) -> None:
    check_tokens(made, excited_tokens(made.folder, tiny_gpt2))
    names = ("[CLS]", "[SEP]")
    check_tokens(of_bert, excited_tokens(of_bert.folder, tiny_bert), names)


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "mean", "special_tokens": "exclude", "skip_first": 1},
        {"pooling": "max", "long": "truncate", "seq_len": 6},
        {"pooling": "max", "compat": "selfcond", "seq_len": 40},
    ],
    ids=["mean", "cut", "padding"],
)
def test_tokens_that_do_not_count_are_zero(
    tiny_bert: Model, tiny_gpt2: Model, tmp_path: Path, changes: dict[str, Any]
) -> None:
    model = tiny_bert if "special_tokens" in changes else tiny_gpt2
    expertise = result(model, tmp_path / "tiny", **changes)
    table = excited_tokens(expertise.folder, model)
    lengths = expertise.folder.read_table("sentences")["n_tokens"]
    shown = expertise.excited
    for wanted, row in zip(shown.itertuples(), table.itertuples(), strict=True):
        assert len(row.tokens) == len(row.values) == lengths[row.sentence]
        if changes["pooling"] == "mean":
            assert row.values[0] == row.values[-1] == 0  # [CLS], [SEP]
            mean = np.mean(row.values[1:-1])
            assert mean == pytest.approx(wanted.response, rel=1e-4, abs=1e-5)
        elif "compat" in changes:  # padding may be higher than all of them
            assert max(row.values) <= wanted.response + 1e-4 * abs(wanted.response)
        else:
            assert wanted.text.startswith("".join(row.tokens))
            assert max(row.values) == pytest.approx(wanted.response, rel=1e-4, abs=1e-5)


def test_saedashboard_reads_its_own_fields(
    made: ej.Expertise, tiny_gpt2: Model, tmp_path: Path
) -> None:
    folder = made.export(tmp_path / "out", "saedashboard", tiny_gpt2)
    assert folder == tmp_path / "out" / "Tiny.gpt2"
    units = made.units.iloc[np.unique(made.intervals["unit"])]
    found = 0
    for place in folder.iterdir():
        batch = json.loads((place / "batch-0.json").read_text())
        features = batch.pop("features")
        assert place.name == f"{batch['layer']}-{batch['sae_set']}"
        assert batch["model_id"] == "tiny-gpt2" and batch["sae_id_suffix"] is None
        site = batch["sae_set"].removeprefix("expertjax-").replace("-", ".", 1)
        here = units[(units["layer"] == batch["layer"]) & (units["site"] == site)]
        assert [f["feature_index"] for f in features] == list(here["index"])
        for feature, unit in zip(features, here["unit"], strict=True):
            found += 1
            assert feature.keys() == FEATURE
            assert sum(feature["freq_hist_data_bar_heights"]) == len(
                made.folder.read_table("sentences")
            )
            rows = made.excited[made.excited["unit"] == unit]
            texts = ["".join(a["tokens"]) for a in feature["activations"]]
            assert texts == list(rows.sort_values("rank")["text"])
            assert all(a.keys() == ACTIVATION for a in feature["activations"])
            writes = made.writes[made.writes["unit"] == unit]
            promoted = writes[writes["side"] == "promoted"]
            assert feature["pos_str"] == list(promoted["token"])
            assert np.allclose(feature["pos_values"], promoted["effect"], rtol=1e-5)
        concepts = pd.read_csv(place / "concepts.csv")
        assert set(concepts["concept"]) <= set(made.concepts["concept"])
        assert set(concepts["feature_index"]) == set(here["index"])
    assert found == len(units)


def test_neuronpedia_finds_every_field_that_it_wants(
    made: ej.Expertise, tiny_gpt2: Model, tmp_path: Path
) -> None:
    settings = ej.DashboardSettings("gpt2-tiny.1", "mine", "ours", "me", "cuser")
    first = made.export(tmp_path / "a", "neuronpedia", tiny_gpt2, settings)
    again = made.export(tmp_path / "b", "neuronpedia", lambda: tiny_gpt2, settings)
    assert contents(first) == contents(again)
    sums = dict.fromkeys(TABLES, 0)
    identifiers: set[str] = set()
    for place in sorted(first.iterdir()):
        rows = {}
        for table, (required, more) in TABLES.items():
            names = (f"{table}.jsonl", f"{table}/batch-0.jsonl.gz")
            (path,) = (place / name for name in names if (place / name).is_file())
            rows[table] = lines(path)
            more = more | ({"visibility"} if table in HIDDEN else set())
            assert all(row.keys() == required | more for row in rows[table])
            sums[table] += len(rows[table])
        ((release,), (model,), (group,), (source,)) = (rows[name] for name in HIDDEN)
        assert group["releaseName"] == release["name"] == "ours"
        assert source["setName"] == group["name"]
        assert source["id"] == place.name == f"{source['id'][0]}-{group['name']}"
        assert {group["modelId"], source["modelId"]} == {model["id"]} == {"gpt2-tiny.1"}
        features = {row["index"]: row for row in rows["features"]}
        for table in ("features", "activations", "explanations"):
            for row in rows[table]:
                assert (row["modelId"], row["layer"]) == (model["id"], source["id"])
                assert row["index"] in features
                who = row["authorId" if table == "explanations" else "creatorId"]
                assert who == "cuser"
                identifiers.add(row.get("id", row["layer"] + row["index"]))
        for row in rows["activations"]:
            assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"]
            assert min(row["values"]) == row["minValue"]
            assert row["maxValue"] <= features[row["index"]]["maxActApprox"] or (
                row["maxValue"] < 0
            )
    assert sums["features"] == made.excited["unit"].nunique()
    assert sums["activations"] == len(made.excited)
    assert sums["explanations"] == len(made.intervals)
    all_ids = sums["features"] + sums["activations"] + sums["explanations"]
    assert len(identifiers) == all_ids
    best = made.top("tiny-0", 1).iloc[0]
    place = first / f"{best['layer']}-mine-{best['site'].replace('.', '-')}"
    said = [
        row["description"]
        for row in lines(place / "explanations" / "batch-0.jsonl.gz")
        if row["index"] == str(best["index"])
    ]
    assert f"tiny-0 (expertjax AP {best['ap']:.2f})" in said


def test_encoders_have_no_logits(
    of_bert: ej.Expertise, tiny_bert: Model, tmp_path: Path
) -> None:
    folder = of_bert.export(tmp_path, "neuronpedia", tiny_bert)
    for path in folder.glob("*/features/batch-0.jsonl.gz"):
        assert all(row["pos_str"] == row["neg_values"] == [] for row in lines(path))
    assert lines(next(folder.glob("*/source.jsonl")))[0]["creatorId"] == BOT


def test_factors_of_a_negative_product_change_sides(
    made: ej.Expertise, tiny_gpt2: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = excited_tokens(made.folder, tiny_gpt2)
    turned = ej.Expertise(made.folder)
    monkeypatch.setitem(turned.__dict__, "writes", made.writes.assign(sign=-1))
    how = ej.DashboardSettings()
    for source in sources(made, how):
        both = (features_of(each, source, tokens) for each in (made, turned))
        for before, after in zip(*both, strict=True):
            assert after["pos_str"] == before["neg_str"]
            assert after["neg_values"] == [-x for x in before["pos_values"]]


def test_refusals_write_nothing(
    made: ej.Expertise, tiny_gpt2: Model, tiny_bert: Model, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ej.InputError, match="give the --model of"):
        made.export(out, "neuronpedia")
    with pytest.raises(ej.InputError, match="whose weights"):
        made.export(out, "neuronpedia", tiny_bert)
    settings = ej.CaptureSettings(seq_len=SEQ_LEN)
    concepts = tiny_concept_set()
    scoring = ej.ScoreSettings(bootstrap_resamples=20, bootstrap_top=4)
    loose = capture_and_score(
        tiny_gpt2, concepts, tmp_path / "loose", settings, scoring, 0
    )
    with pytest.raises(ej.InputError, match="were not kept"):
        ej.Expertise(loose).export(out, "saedashboard", tiny_gpt2)
    bare = ej.score(ej.capture(tiny_gpt2, concepts, tmp_path / "bare", settings))
    with pytest.raises(ej.InputError, match=r"excited\.parquet"):
        bare.export(out, "saedashboard", tiny_gpt2)
    assert not out.exists()
    for name, value in (("source_set", "a__b"), ("release", "../x"), ("model_id", "/")):
        with pytest.raises(ej.InputError, match=f"--{name}={value}"):
            ej.DashboardSettings(**{name: value})


def test_the_program(
    made: ej.Expertise, tiny_gpt2_folder: Path, tiny_gpt2: Model, tmp_path: Path
) -> None:
    flags = {"results": made.folder.path, "out": tmp_path / "out"}
    flags |= {"format": "neuronpedia", "source_set": "mine", "model_id": "tiny"}
    said = run_program("export_expertise", **flags, status=1)
    assert "error: --format=neuronpedia" in said and not list(tmp_path.iterdir())
    run_program("export_expertise", **flags, model=tiny_gpt2_folder)
    settings = ej.DashboardSettings("tiny", "mine")
    expected = made.export(tmp_path / "same", "neuronpedia", tiny_gpt2, settings)
    assert contents(tmp_path / "out" / "Tiny.gpt2").keys() == contents(expected).keys()
