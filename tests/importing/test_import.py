"""Round trips through the files of ml-selfcond, and what an import does not have."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import expertjax as ej
from expertjax.checkpoints.load import Model
from expertjax.importing import table as table_module
from expertjax.importing.importer import import_expertise
from expertjax.importing.settings import ImportSettings
from expertjax.report.build import build_report, report_data
from tests.capturing.tiny_concepts import SEQ_LEN
from tests.data import REPOSITORY
from tests.report.packed import model_of

TABLES = ("units", "sentences", "dropped", "memberships", "concepts", "null")
COUNTS = ImportSettings(n_pos=14, n_neg=20)


def imported(files: Path, out: Path, settings: ImportSettings) -> ej.Expertise:
    return ej.Expertise(import_expertise(files, out, settings))


def with_model(concepts: Path, model: Model) -> ImportSettings:
    return ImportSettings(
        concepts=str(concepts), model=str(model.path), seq_len=SEQ_LEN
    )


def same_edit(here: ej.UnitEdit, there: ej.UnitEdit) -> bool:
    names = ("site", "layer", "index", "scale", "shift")
    return all(np.array_equal(getattr(here, n), getattr(there, n)) for n in names)


@pytest.mark.parametrize("shard_bytes", [2**24, 1])
def test_a_round_trip_keeps_every_bit(
    original: ej.Expertise,
    exported: Path,
    concepts: Path,
    tiny_gpt2: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shard_bytes: int,
) -> None:
    monkeypatch.setattr(table_module, "_SHARD_BYTES", shard_bytes)
    back = imported(exported, tmp_path, with_model(concepts, tiny_gpt2))
    assert back.metrics == ["ap", "off_mean", "on_p50", "on_p90"]
    for metric in back.metrics:
        np.testing.assert_array_equal(back.metric(metric), original.metric(metric))
    for name in TABLES:
        known = original.folder.read_table(name)
        if name == "units":  # files do not say where a maximum stands
            known = known.drop(columns="at_first_token")
        pd.testing.assert_frame_equal(back.folder.read_table(name), known)
    ends = ["ap_low", "ap_high"]
    wanted = original.intervals.assign(**dict.fromkeys(ends, np.float32(np.nan)))
    pd.testing.assert_frame_equal(back.intervals, wanted)
    for key in original.concepts["concept"]:
        there, here = original.top(key, 50), back.top(key, 50)
        pd.testing.assert_frame_equal(here.drop(columns=ends), there.drop(columns=ends))
        assert same_edit(back.force(key, k=30), original.force(key, k=30))
    assert (back.folder.path / "_SUCCESS").is_file()
    assert len(original.folder.read_table("dropped"))  # else seq_len is not tried


def test_without_a_model_nothing_is_said_of_lengths(
    original: ej.Expertise, exported: Path, concepts: Path, tmp_path: Path
) -> None:
    back = imported(exported, tmp_path, ImportSettings(concepts=str(concepts)))
    # GPT-2's sites in alphabetical order stand as they are computed.
    # Files do not say where a maximum stands.
    known = original.units.drop(columns="at_first_token")
    pd.testing.assert_frame_equal(back.units, known)
    assert back.concepts["n_pos"].tolist() == [14] * 3
    assert back.folder.read_table("sentences")["n_tokens"].isna().all()
    capture = back.folder.read_run()["capture"]
    assert capture["num_dropped"] is None and capture["pooling"] is None


def test_counts_are_enough(
    original: ej.Expertise, exported: Path, tmp_path: Path
) -> None:
    back = imported(exported, tmp_path, COUNTS)
    assert back.concepts["chance"].tolist() == [14 / 34] * 3
    assert not (back.folder.path / "sentences.parquet").exists()
    key = back.concepts["concept"][0]
    top = original.top(key, 9)["module"]
    assert back.top(key, 9)["module"].tolist() == top.tolist()


def test_encoders_get_the_order_of_their_model(
    tiny_bert: Model, concepts: Path, tmp_path: Path
) -> None:
    from expertjax.analysis.export import export_expertise

    concept_set = ej.load_concepts(concepts)
    settings = ej.CaptureSettings(seq_len=64, sites="output.dense|:input")
    responses = ej.capture(tiny_bert, concept_set, tmp_path / "a" / "bert", settings)
    original = ej.score(responses)
    files = export_expertise(original, tmp_path / "files", "selfcond")
    back = imported(files, tmp_path / "b", with_model(concepts, tiny_bert))
    # Files do not say where a maximum stands.
    known = original.units.drop(columns="at_first_token")
    pd.testing.assert_frame_equal(back.units, known)
    np.testing.assert_array_equal(back.metric("ap"), original.metric("ap"))
    alone = imported(files, tmp_path / "c", COUNTS)
    assert set(alone.units["site"]) == set(original.units["site"])
    assert alone.units["module"].tolist() != original.units["module"].tolist()


def test_the_forks_column_is_imported_and_others_are_named(
    files: Path, original: ej.Expertise, tmp_path: Path
) -> None:
    for path in files.rglob("expertise.csv"):
        table = pd.read_csv(path)
        table["off_p50"] = np.float32(0.25)
        table["mine"] = "x"
        table.sample(frac=1, random_state=0).to_csv(path, index=False)
    back = imported(files, tmp_path / "out", COUNTS)
    assert (back.metric("off_p50") == 0.25).all()
    assert back.folder.read_run()["import"]["columns_ignored"] == ["mine"]
    np.testing.assert_array_equal(back.metric("ap"), original.metric("ap"))


def test_run_json_has_the_fingerprint_of_sha256sum(
    exported: Path, tmp_path: Path
) -> None:
    found = imported(exported, tmp_path, COUNTS).folder.read_run()["import"]
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(exported)}"
        for path in sorted(exported.glob("*/*/expertise/expertise.csv"))
    ]
    wanted = hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
    assert found["files_sha256"] == wanted and found["num_files"] == 3
    assert found["format"] == "selfcond"


def test_what_is_not_there_shows_as_such(
    exported: Path, concepts: Path, tiny_gpt2: Model, tmp_path: Path
) -> None:
    back = imported(exported, tmp_path, ImportSettings(concepts=str(concepts)))
    data = report_data(back, 0.8)
    assert all(not units for units in data.sentences.excited.values())
    assert data.facts["Response"] == data.facts["Computed in"] == "n/a"
    assert data.facts["Imported from"] == "3 files of the form selfcond"
    page = build_report(back, 0.8).read_text("utf-8")
    shown = model_of(page)
    assert all(set(top["low"]) == {None} for top in shown["top"])
    assert not shown["sentences"] and not any(shown["units"]["sentences"])
    key = back.concepts["concept"][0]
    for kind, message in (
        ("aura", "no metric 'auroc'; there are ap, off_mean, on_p50, on_p90"),
        ("gaussian", "need what units do at every token .* it was imported"),
        ("transport", "need what units do at every token .* it was imported"),
    ):
        with pytest.raises(ej.InputError, match=message):
            back.edit(key, tiny_gpt2, edit=kind)
    with pytest.raises(ej.InputError, match="has no responses; it was imported"):
        back.most_exciting([0])
    with pytest.raises(ej.InputError, match="has no responses; it was imported"):
        ej.score(back.folder)
    settings = ej.CaptureSettings(seq_len=SEQ_LEN)
    with pytest.raises(ej.InputError, match="holds the capture of another run"):
        ej.capture(tiny_gpt2, ej.load_concepts(concepts), back.folder.path, settings)


def test_the_program_and_its_edit_of_a_model(
    original: ej.Expertise,
    exported: Path,
    tiny_gpt2: Model,
    concepts: Path,
    tmp_path: Path,
) -> None:
    def program(name: str, *flags: str) -> str:
        command = [sys.executable, "-m", f"binaries.{name}", *flags]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = program(
        "import_expertise",
        f"--results={exported}",
        f"--concepts={concepts}",
        f"--out={tmp_path}",
        "--model_name=theirs",
    )
    assert said.startswith("3 concepts, 864 units; metrics: ap, off_mean")
    back = ej.Expertise.open(tmp_path / "theirs")
    key = str(back.concepts["concept"][1])
    here, there = (
        ej.generate(tiny_gpt2, "The", e.force(key, k=20), [0, 1], max_new_tokens=6)
        for e in (back, original)
    )
    assert here["sentence"].tolist() == there["sentence"].tolist()
