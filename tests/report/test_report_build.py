"""From real results to a report's data."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expertjax.analysis.compare import CompareSettings, compare
from expertjax.analysis.expertise import Expertise
from expertjax.capturing.excited import write_excited
from expertjax.capturing.writes import write_writes
from expertjax.checkpoints.load import Model
from expertjax.report import build
from expertjax.report.build import report_data
from expertjax.report.limits import Limits
from expertjax.report.spread import read_labelled, spread_of
from expertjax.scoring.score import score
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder
from tests.report.packed import Reader, model_of, unpack

LIMITS = Limits(units=12, concepts=10, excited=4, sentences=3, missed=2)


def copy(expertise: Expertise, parent: Path, name: str = "tiny-gpt2") -> ResultFolder:
    return ResultFolder(shutil.copytree(expertise.folder.path, parent / name))


def test_top_units_are_those_of_expertise(scored: Expertise) -> None:
    built = report_data(scored, 0.7, LIMITS)
    for key, table in built.experts.items():
        pd.testing.assert_frame_equal(
            table, scored.top(key, 12)[table.columns], check_dtype=False
        )
        assert table["ap_low"].notna().sum() == 3


def test_sentences_are_those_that_excite(scored: Expertise) -> None:
    built = report_data(scored, 0.7, LIMITS)
    shown = {int(u) for table in built.experts.values() for u in table["unit"][:4]}
    assert built.sentences.excited.keys() == shown
    for unit, table in scored.most_exciting(sorted(shown), 3).items():
        found = built.sentences.excited[unit]
        assert found["sentence"].tolist() == table["sentence"].tolist()
        texts = built.sentences.texts.loc[found["sentence"]]
        assert texts.tolist() == table["text"].tolist()
        assert (found["start"] == -1).all()


def test_missed_positives_are_the_lowest(scored: Expertise) -> None:
    built = report_data(scored, 0.7, LIMITS)
    for key, missed in built.sentences.missed.items():
        best = int(scored.metric("ap", key).argmax())
        sentences, labels = scored.members(key)
        positives = sentences[labels == 1]
        x_N = scored.responses(np.array([best]))[:, 0]
        assert set(missed["sentence"]) <= set(positives)
        lowest = np.sort(x_N[positives])[: len(missed)]
        np.testing.assert_array_equal(missed["response"], lowest)
    members = built.sentences.members
    assert set(members["concept"]) == set(built.concepts["concept"])
    assert set(members["sentence"]) <= set(built.sentences.texts.index)


def test_few_columns_at_once_give_the_same(
    scored: Expertise, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = report_data(scored, 0.7, LIMITS).sentences
    monkeypatch.setattr("expertjax.report.sentences._BYTES", 1)
    again = report_data(scored, 0.7, LIMITS).sentences
    for unit, table in whole.excited.items():
        pd.testing.assert_frame_equal(table, again.excited[unit])


def test_tokens_are_marked_where_they_are_known(
    scored: Expertise, tiny_gpt2: Model, tmp_path: Path
) -> None:
    folder = copy(scored, tmp_path)
    write_excited(folder, tiny_gpt2, 2)
    built = report_data(Expertise(folder), 0.7, LIMITS)
    best = {int(table["unit"].iloc[0]) for table in built.experts.values()}
    marked = [built.sentences.excited[unit] for unit in best]
    assert all(len(table) == 2 for table in marked)
    assert any((table["end"] > table["start"]).any() for table in marked)
    # The others are looked up as before.
    assert {len(t) for t in built.sentences.excited.values()} == {2, 3}


def test_own_sentences_are_the_concepts(scored: Expertise) -> None:
    built = report_data(scored, 0.7, LIMITS)
    assert built.sentences.own.keys() == built.sentences.excited.keys()
    for unit, own in built.sentences.own.items():
        key = built.concepts["concept"][built.ap_CxU[:, unit].argmax()]
        sentences, labels = scored.members(key)
        x_N = scored.responses(np.array([unit]))[:, 0]
        order = sentences[np.argsort(-x_N[sentences], kind="stable")]
        assert own["sentence"].tolist() == order[own["rank"] - 1].tolist()
        np.testing.assert_array_equal(own["response"], x_N[own["sentence"]])
        assert own["rank"].tolist()[:3] == [1, 2, 3]
        negatives = order[np.isin(order, sentences[labels == 0])][:3]
        assert set(negatives) <= set(own["sentence"])
        assert len(own) <= 6


def test_responses_are_counted_by_class(scored: Expertise) -> None:
    built = report_data(scored, 0.7, LIMITS)
    for unit, spread in built.sentences.spreads.items():
        best = np.argsort(-built.ap_CxU[:, unit], kind="stable")[:3]
        x_N = scored.responses(np.array([unit]))[:, 0]
        for counts, row in zip(spread.counts, best, strict=True):
            key = built.concepts["concept"][row]
            sentences, labels = scored.members(key)
            for side, label in zip(counts, (1, 0), strict=True):
                x_n = x_N[sentences[labels == label]]
                assert side.sum() == len(x_n)
                inner = (x_n > spread.low) & (x_n < spread.high)
                edges = np.linspace(spread.low, spread.high, len(side) + 1)
                naive = np.histogram(x_n[inner], edges)[0]
                assert (side >= naive).all()
                assert (side - naive)[1:-1].sum() == 0  # all others are in the ends


def test_sentences_held_out_are_not_counted() -> None:
    members = pd.DataFrame(
        {
            "concept": "a",
            "sentence": [3, 1, 2],
            "label": [1, 0, 1],
            "held_out": [False, False, True],
        }
    )
    labelled = read_labelled(members)["a"]
    assert labelled.sentence.tolist() == [3, 1]
    spread = spread_of(np.float32([9, 1, 5, 1]), [labelled])  # all are equal
    assert spread.low < 1 < spread.high and spread.counts.sum() == 2


def test_what_units_write_is_shown(
    scored: Expertise, tiny_gpt2: Model, tmp_path: Path
) -> None:
    assert report_data(scored, 0.7, LIMITS).writes is None  # made without the table
    folder = copy(scored, tmp_path)
    write_writes(folder, tiny_gpt2)
    path = build.build_report(Expertise(folder), 0.7)
    model = model_of(path.read_text("utf-8"))
    table = folder.read_table("writes")
    for unit, tokens in zip(
        model["units"]["unit"], model["writes"]["token"], strict=True
    ):
        assert (tokens is None) == (unit not in set(scored.intervals["unit"]))
        texts = [model["writes"]["texts"][place] for place in tokens or []]
        assert texts == table["token"][table["unit"] == unit].tolist()
    tokens_of = model["writes"]["token"]
    kinds = {None if tokens is None else bool(tokens) for tokens in tokens_of}
    assert None in kinds and True in kinds


@pytest.mark.parametrize(
    ("holdout", "share"), [(0.0, None), (0.3, "30%"), (0.125, "12.5%")]
)
def test_held_out_is_said_and_shown(
    captured: ResultFolder, tmp_path: Path, holdout: float, share: str | None
) -> None:
    folder = ResultFolder(shutil.copytree(captured.path, tmp_path / "tiny-gpt2"))
    for there in ("expertise.zarr", ".blocks/expertise", ".blocks/experts"):
        shutil.rmtree(folder.path / there, ignore_errors=True)
    folder.forget("score")
    result = score(folder, settings=ScoreSettings(holdout=holdout, metrics="ap"))
    built = report_data(Expertise(result), 0.9, LIMITS)
    assert built.facts.get("Held out") == (
        share and f"{share} of each concept's sentences"
    )
    assert built.has_held_out == bool(holdout)
    assert all(table["on_p50"].isna().all() for table in built.experts.values())
    path = build.build_report(Expertise(result), 0.9)
    top = model_of(path.read_text("utf-8"))["top"][0]
    assert set(top["on_p50"]) == {None} and ("held_out" in top) == bool(holdout)


@pytest.mark.parametrize("known", [True, False])
def test_units_that_only_see_the_beginning_are_told(
    scored: Expertise, tmp_path: Path, known: bool
) -> None:
    folder = copy(scored, tmp_path)
    units = folder.read_table("units")
    shares = np.linspace(0, 1, len(units), dtype=np.float32)
    units["at_first_token"] = shares
    if not known:
        del units["at_first_token"]
    folder.write_table("units", units)
    expertise = Expertise(folder)
    said = report_data(expertise, 0.7, LIMITS).facts["Maximum at the first token"]
    assert said.startswith(
        "in over 90% of the sentences for 10.1% of the units" if known else "n/a"
    )
    model = model_of(build.build_report(expertise, 0.7).read_text("utf-8"))
    shown = model["units"]["unit"]
    wanted = shares[shown] if known else [None] * len(shown)
    assert model["units"]["atFirst"] == [
        None if share is None else pytest.approx(share, abs=1e-4) for share in wanted
    ]


def test_without_responses_no_sentences_are_shown(
    scored: Expertise, tmp_path: Path
) -> None:
    folder = copy(scored, tmp_path)
    shutil.rmtree(folder.path / "responses.zarr")
    run = folder.read_run()["score"] | {"keep_responses": False}
    folder.forget("score")
    folder.claim("score", run)
    built = report_data(Expertise(folder), 0.9)
    assert built.facts["Stored in"].startswith("not kept")
    assert not built.sentences.excited and not built.sentences.missed
    model = model_of(build.build_report(Expertise(folder), 0.9).read_text("utf-8"))
    assert model["sentences"] == [] and model["units"]["sentences"][0] == []


def test_several_results_stand_in_one_page(scored: Expertise, tmp_path: Path) -> None:
    results = [Expertise(copy(scored, tmp_path, f"model-{i}")) for i in range(3)]
    scores = tmp_path / "glue.csv"
    scores.write_text("model,score\nmodel-0,1\nmodel-1,2\nmodel-2,2.5\n")
    settings = CompareSettings(gamma=0.7, top_k=20, benchmarks=(str(scores),))
    path = build.build_comparison(results, tmp_path / "all", compare(results, settings))
    html = path.read_text("utf-8")
    index = json_of(html)
    assert index["models"] == ["model-0", "model-1", "model-2"]
    shown = index["comparison"]
    for m, result in enumerate(results):
        assert model_of(html, m)["name"] == result.folder.name
        at = shown["gammas"].index(0.7)
        ap_CxU, floor_C = result.metric("ap"), result.floors()
        experts = ((ap_CxU >= np.float32(0.7)) & (ap_CxU >= floor_C[:, None])).sum()
        assert shown["measures"]["experts"][m][at] == experts
    assert shown["rankings"]["glue"]["scores"]["model-2"] == 2.5
    assert "nothing can be concluded" in shown["rankings"]["glue"]["warnings"][0]
    assert shown["held_out"] == [[None] * len(shown["concepts"])] * 3
    for m, of in enumerate(shown["depth"]):
        assert sum(of["experts"]) == experts and len(of["layer"]) == 3
        units = results[m].units.groupby("layer").size()
        rate = 1000 * np.array(of["experts"]) / units.to_numpy()
        np.testing.assert_allclose(of["rate"], rate, rtol=1e-4)


def test_held_out_ap_stands_in_the_comparison(
    captured: ResultFolder, scored: Expertise, tmp_path: Path
) -> None:
    path = score(captured, None, tmp_path / "out", ScoreSettings(holdout=0.3)).path
    held_out = Expertise.open(path)
    plain = Expertise(copy(scored, tmp_path, "plain"))
    page = build.build_comparison([held_out, plain], tmp_path / "all")
    shown = json_of(page.read_text("utf-8"))["comparison"]
    best_C = held_out.metric("ap").argmax(1)
    known = held_out.metric("ap_heldout")[np.arange(len(best_C)), best_C]
    order = [held_out.row(key) for key in shown["concepts"]]
    np.testing.assert_allclose(shown["held_out"][0], known[order], atol=1e-5)
    assert set(shown["held_out"][1]) == {None}


def json_of(html: str) -> dict:
    return json.loads(unpack(Reader(html).scripts["index"]))
