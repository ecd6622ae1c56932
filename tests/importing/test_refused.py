"""Files that cannot be imported: each mistake is named, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.importing.importer import import_expertise
from expertjax.importing.settings import ImportSettings
from expertjax.importing.units import units_of_modules

COUNTS = ImportSettings(n_pos=14, n_neg=20)
Change = Callable[[pd.DataFrame], pd.DataFrame]


def change(files: Path, edit: Change, name: str = "tiny-1") -> None:
    path = files / "sense" / name / "expertise" / "expertise.csv"
    edit(pd.read_csv(path)).to_csv(path, index=False)


def change_info(files: Path, name: str = "tiny-1", **values: object) -> None:
    path = files / "sense" / name / "expertise" / "expertise_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(files: Path, out: Path, settings: ImportSettings = COUNTS) -> str:
    with pytest.raises(InputError) as caught:
        import_expertise(files, out, settings)
    assert not out.exists() or not any(out.iterdir())
    return str(caught.value)


def put(column: str, value: object, row: int = 5) -> Change:
    def edit(table: pd.DataFrame) -> pd.DataFrame:
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return edit


TABLES: dict[str, tuple[Change, str]] = {
    "no column ap": (lambda t: t.drop(columns="ap"), "no column ap"),
    "no column layer": (lambda t: t.drop(columns="layer"), "no column layer"),
    "a column twice": (lambda t: t.set_axis([*t.columns[:-1], "ap"], axis=1), "twice"),
    "no rows": (lambda t: t.head(0), "no rows"),
    "top units only": (
        lambda t: t.nlargest(100, "ap"),
        "units (0 is missing); expected all",
    ),
    "the last unit is missing": (lambda t: t.head(-1), "says total_neurons 864"),
    "a unit is missing": (lambda t: t.drop(index=5), "(5 is missing)"),
    "a unit twice": (lambda t: pd.concat([t, t.loc[[5]]]), "has unit 5 twice"),
    "AP above 1": (put("ap", 1.25), "ap is 1.25 in row 6, expected 0 to 1"),
    "AP below 0": (put("ap", -0.1), "ap is -0.1"),
    "NaN": (put("on_p50", np.nan), "on_p50 is nan in row 6"),
    "infinite": (put("off_mean", np.inf), "off_mean is inf in row 6"),
    "text for a number": (put("ap", "high"), "cannot be read as CSV"),
    "no unit": (put("unit", None), "rows without a unit"),
    "another concept": (put("concept", "x"), "of 'tiny-1', but its concept is 'x'"),
    "another group": (put("group", "x"), "of 'sense', but its group is 'x'"),
    "another output": (put("layer", "transformer.h.0:1"), "'transformer.h.0:1' is no"),
    "fewer metrics": (
        lambda t: t.drop(columns="on_p90"),
        "has the metrics ap, off_mean, on_p50; the first concept has ap",
    ),
}


@pytest.mark.parametrize(("edit", "message"), TABLES.values(), ids=list(TABLES))
def test_a_table_is_refused(
    files: Path, tmp_path: Path, edit: Change, message: str
) -> None:
    change(files, edit)
    said = refused(files, tmp_path / "out")
    assert message in said and "tiny-1/expertise/expertise.csv" in said


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_ap": 0.5}, "says max_ap 0.5, here it is"),
        ({"total_neurons": 9}, "says total_neurons 9, here it is 864"),
        ({"concept": "x"}, "says concept 'x', here it is 'tiny-1'"),
        ({"layer_names": ["a:0"]}, "has other layer_names"),
        ({"layer_names": None}, "is damaged"),
    ],
)
def test_an_info_file_that_disagrees_is_refused(
    files: Path, tmp_path: Path, values: dict[str, object], message: str
) -> None:
    change_info(files, **values)
    assert message in refused(files, tmp_path / "out")


def test_the_references_rounding_is_no_disagreement(
    files: Path, tmp_path: Path
) -> None:
    info = files / "sense" / "tiny-1" / "expertise" / "expertise_info.json"
    max_ap = json.loads(info.read_text())["max_ap"]
    change_info(files, max_ap=max_ap - 2e-8)  # float64 there, float32 in the table
    import_expertise(files, tmp_path / "out", COUNTS)


def test_all_mistakes_are_told_together(files: Path, tmp_path: Path) -> None:
    change(files, put("ap", 2.0), "tiny-0")
    change(files, lambda t: t.drop(index=5).assign(concept="x"), "tiny-1")
    (files / "sense" / "tiny-2" / "expertise" / "expertise_info.json").unlink()
    said = refused(files, tmp_path / "out")
    for part in ("ap is 2.0", "(5 is missing)", "concept is 'x'", "no expertise_info"):
        assert part in said, said


def test_concepts_of_two_models_are_refused(files: Path, tmp_path: Path) -> None:
    last = "transformer.h.2.mlp.c_proj:0"

    def narrower(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["layer"] != last) | (table["unit"] < 31)]

    change(files, narrower)
    table = pd.read_csv(files / "sense" / "tiny-1" / "expertise" / "expertise.csv")
    change_info(files, total_neurons=len(table), max_ap=table["ap"].max())
    said = refused(files, tmp_path / "out")
    module = last.removesuffix(":0")
    assert f"has 31 units of {module}, the first concept 32 (1 layers differ)" in said


def test_folders_without_results_are_refused(
    files: Path, concepts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "no such folder" in refused(tmp_path / "none", out)
    said = refused(files.parent, out)
    assert "no results; expected <group>/<concept>/expertise/expertise.csv" in said
    assert f"give one of {files}" in said
    assert "no results" in refused(concepts, out)
    for path in files.rglob("expertise.csv"):
        path.rename(path.with_name("expertise_limited_2000_both.csv"))
    assert "holds only expertise_limited_*.csv" in refused(files, out)


def test_names_that_are_none_are_refused(files: Path, tmp_path: Path) -> None:
    (files / "sense" / "tiny-1").rename(files / "sense" / ".tiny")
    (files / "sense" / "tiny-2").rename(files / "sense" / "<b>")
    said = refused(files, tmp_path / "out")
    assert "'<b>' is no valid name" in said
    settings = ImportSettings(n_pos=14, n_neg=20, model_name="../x")
    assert "--model_name '../x'" in refused(files, tmp_path / "out", settings)


def test_a_concept_that_is_not_listed_is_refused(
    files: Path, concepts: Path, tmp_path: Path
) -> None:
    (files / "sense" / "tiny-1").rename(files / "sense" / "other")
    settings = ImportSettings(concepts=str(concepts))
    assert "sense/other" in refused(files, tmp_path / "out", settings)


def test_another_model_is_refused(
    files: Path, tiny_bert: Model, tmp_path: Path
) -> None:
    settings = ImportSettings(n_pos=1, n_neg=1, model=str(tiny_bert.path))
    said = refused(files, tmp_path / "out", settings)
    assert "transformer.h.0.attn.c_attn is none of its sites" in said


def test_a_folder_that_is_not_empty_is_refused(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / files.name
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not empty"):
        import_expertise(files, tmp_path / "out", COUNTS)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "settings", [{}, {"n_pos": 3}, {"concepts": "x", "n_pos": 3, "n_neg": 4}]
)
def test_numbers_of_sentences_are_needed_once(settings: dict) -> None:
    with pytest.raises(InputError, match="--n_pos"):
        ImportSettings(**settings)


def test_units_from_the_names_of_modules() -> None:
    lists = {"transformer.ffns.10.lin1": 2, "transformer.attentions.2.q_lin": 1}
    table = units_of_modules(lists)
    assert table.layer.tolist() == [2, 10, 10]
    assert table.site.tolist() == ["attentions.q_lin", "ffns.lin1", "ffns.lin1"]
    points = {"model.layers.1:residual": 1, "model.layers.0.mlp.up_proj": 1}
    assert units_of_modules(points).site.tolist() == ["mlp.up_proj", ":residual"]
    assert units_of_modules({"encoder.groups.0@7.ffn": 1}).layer.tolist() == [7]
    with pytest.raises(InputError, match="pooler has no number of a layer"):
        units_of_modules({"bert.pooler": 3})
