"""A report in its folder: whole or not there at all; what makes none is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from expertjax.errors import InputError
from expertjax.report import write
from expertjax.report.write import write_report


def test_figures_are_beside_the_page(make_data, tmp_path):
    names = ["sense/bird-1_05_00__", "sense/../../etc"]
    path = write_report(tmp_path / "report", make_data(2, names=names))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert path == tmp_path / "report" / "index.html"
    names = {path.name for path in (tmp_path / "report").iterdir()}
    figures = (
        "best_ap_overview", "max_ap_heatmap", "experts_over_gamma",
        "experts_per_layer", "ap_concept-bird", "ap_concept-etc",
    )  # fmt: skip
    wanted = {f"{name}.{form}" for name in figures for form in ("png", "svg")}
    assert names == {"index.html", *wanted}
    png = (tmp_path / "report" / "ap_concept-bird.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    svg = (tmp_path / "report" / "ap_concept-bird.svg").read_text("utf-8")
    assert svg.startswith("<?xml") and svg.rstrip().endswith("</svg>")


def test_same_data_same_bytes(make_data, tmp_path):
    for name in "ab":
        write_report(tmp_path / name, make_data(1))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path


def _with_first(data, change):
    """The tables of experts, the first one changed."""
    first = next(iter(data.experts))
    return data.experts | {first: change(data.experts[first])}


def _without_texts(sentences):
    return dataclasses.replace(sentences, texts=pd.Series([], dtype=object))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: {"ap_CxU": d.ap_CxU[:, 1:]}, "shape"),
        (lambda d: {"ap_CxU": d.ap_CxU * np.float32(np.nan)}, "spans nan"),
        (lambda d: {"ap_CxU": d.ap_CxU[::-1]}, "max_ap"),
        (lambda d: {"units": d.units.drop(columns="site")}, "units has no column site"),
        (lambda d: {"concepts": d.concepts.drop(columns="max_ap")}, "max_ap"),
        (lambda d: {"gamma": 90}, "gamma is 90"),
        (lambda d: {"null": d.null.drop(columns="tail")}, "null has no column tail"),
        (lambda d: {"null": d.null.assign(n_pos=9)}, "no rows for n_pos 175 and n_neg"),
        (lambda d: {"null": d.null.iloc[::-1]}, "expected ap to ascend"),
        (lambda d: {"concepts": d.concepts.assign(n_above=1)}, "n_above 1, but"),
        (
            lambda d: {"concepts": d.concepts.assign(null_threshold=np.nan)},
            "null_threshold is nan",
        ),
        (
            lambda d: {"concepts": d.concepts.drop(columns="null_threshold")},
            "concepts has no column null_threshold",
        ),
        (
            lambda d: {"experts": _with_first(d, lambda t: t.drop(columns="ap_low"))},
            "no column ap_low",
        ),
        (
            lambda d: {"experts": _with_first(d, lambda t: t.assign(ap_heldout=0.5))},
            "some tables have a column ap_heldout, not all",
        ),
        (
            lambda d: {"sentences": _without_texts(d.sentences)},
            "no text of sentence 10",
        ),
    ],
)
def test_unusable_results_are_refused(make_data, spoil, message):
    data = make_data()
    with pytest.raises(ValueError, match=message):
        type(data)(**(vars(data) | spoil(data)))


def test_failure_leaves_the_old_report(make_data, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    before = write_report(folder, make_data(3)).read_bytes()
    (folder / "notes.txt").write_text("mine")

    def full_disk(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(write.Path, "write_text", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_report(folder, make_data(2))
        with pytest.raises(OSError, match="No space left"):
            write_report(tmp_path / "new", make_data(2))
    assert (folder / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]

    write_report(folder, make_data(2))
    shown = sorted(path.stem for path in folder.glob("ap_concept-*.png"))
    assert shown == ["ap_concept-concept_0", "ap_concept-concept_1"]
    assert (folder / "notes.txt").read_text() == "mine"


def test_folder_that_is_a_file(make_data, tmp_path):
    (tmp_path / "report").write_text("")
    with pytest.raises(InputError, match="report: is a file"):
        write_report(tmp_path / "report", make_data())
