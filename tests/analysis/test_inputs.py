"""Benchmarks and groups are read strictly, and all mistakes are named at once."""

from pathlib import Path

import pytest

from expertjax.analysis.compare import CompareSettings
from expertjax.analysis.inputs import read_benchmark, read_benchmarks, read_groups
from expertjax.errors import InputError


def write(folder: Path, text: str, name: str = "glue.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_benchmark(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffmodel,score\nm1,0.5\n"m,2", -1e3 \n\n')
    assert read_benchmark(path) == ("glue", {"m1": 0.5, "m,2": -1000.0})
    with pytest.raises(InputError, match="another file is called glue too"):
        (tmp_path / "more").mkdir()
        read_benchmarks([path, write(tmp_path / "more", path.read_text("utf-8"))])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model,accuracy\na,1\n", "expected the columns model,score; got model,acc"),
        ("", "got nothing"),
        ("model,score\n", "has no rows"),
        ("model,score\na,1\nb\n", "line 3: expected two fields"),
        ("model,score\na,1,2\n", "line 2: expected two fields"),
        ("model,score\n,1\n", "line 2: expected two fields"),
        ("model,score\na,high\n", "line 2: score 'high' is no number"),
        ("model,score\na,nan\n", "line 2: score 'nan' is no number"),
        ("model,score\na,1\na,2\n", "line 3: the model 'a' is listed twice"),
        ('model,score\na,"1\n', "cannot be read as CSV"),
    ],
)
def test_what_is_wrong_with_a_benchmark(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(InputError, match=r"--benchmark_csv=.*glue\.csv") as caught:
        read_benchmark(write(tmp_path, text))
    assert problem in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_benchmark(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is no valid name"):
        read_benchmark(write(tmp_path, "model,score\na,1\n", "a b<c>.csv"))


def test_groups_by_full_bare_or_short_name(tmp_path: Path) -> None:
    concepts = ["sense/cat", "sense/dog", "other/dog", "sense/sea_cow-1_05_00__"]
    text = "concept,group\nsense/cat,pet\ndog,pet\ndog,wild\nunknown,x\nsea cow,wild\n"
    table = read_groups(str(write(tmp_path, text)), concepts)
    assert sorted(table.itertuples(index=False, name=None)) == [
        ("other/dog", "pet"),
        ("other/dog", "wild"),
        ("sense/cat", "pet"),
        ("sense/dog", "pet"),
        ("sense/dog", "wild"),
        ("sense/sea_cow-1_05_00__", "wild"),
    ]
    with pytest.raises(InputError, match="names none of the results' concepts"):
        read_groups(str(write(tmp_path, "concept,group\nx,y\n")), concepts)
    with pytest.raises(InputError, match=r"none/data\.noun: not found"):
        read_groups(f"wordnet:{tmp_path}/none", concepts)


@pytest.mark.parametrize(
    "wrong", [{"gamma": 0.0}, {"gamma": 1.5}, {"top_k": 0}, {"group_depth": -1}]
)
def test_settings_name_the_flag(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(wrong))}="):
        CompareSettings(**wrong)
