"""Steering from the page: three texts, what reproduces them, and no compiling."""

import contextlib
import dataclasses
import io
import itertools
import runpy
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import expertjax as ej
from expertjax.checkpoints.load import Model, load_model
from expertjax.errors import InputError
from expertjax.generation.interventions import Intervention, make_edits
from expertjax.models.unit_edits import UnitEdit
from expertjax.workshop.find import KEY
from expertjax.workshop.rendering import texts_html
from expertjax.workshop.steer import ARMS, Wish, make_arms
from expertjax.workshop.studio import YOURS, Studio, Written
from tests.programs import run_program
from tests.tiny_models import make_tiny_gpt2

WISH = Wish("The \"ball\" & 'net'", num_units=20, max_new_tokens=9, seed=3)


def written(studio: Studio, name: str, wish: Wish, **more: Path) -> Written:
    *_, last = studio.write(name, YOURS, wish, **more)
    return last


@pytest.fixture(scope="module")
def first(studio: Studio, name: str) -> Written:
    return written(studio, name, WISH)


@pytest.fixture(scope="module")
def unpacked(first: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    assert first.file is not None
    zipfile.ZipFile(first.file).extractall(folder)
    return folder


def test_three_texts_grow_side_by_side(studio: Studio, name: str, tiny_gpt2) -> None:
    *growing, last = studio.write(name, YOURS, WISH)
    assert 1 < len(growing) <= 9 and growing[-1].file is None
    for before, after in itertools.pairwise(growing):
        for short, long in zip(before.texts, after.texts, strict=True):
            assert long.startswith(short)
    expertise = studio.found(name).expertise
    force = Intervention(edit="force", num_units=20, value="on_p50")
    control = dataclasses.replace(force, select="random", select_seed=1)
    edits = [None, *make_edits(expertise, KEY, [force, control])]
    settings = {"max_new_tokens": 9, "room": 128, "batch_size": 3}
    texts = ej.generate(tiny_gpt2, WISH.prompt, edits, [3], **settings)
    assert list(texts["continuation"]) == list(last.texts)
    wanted = ej.perplexity(tiny_gpt2, list(texts["sentence"]))
    np.testing.assert_allclose(last.perplexity, wanted, rtol=1e-4)


def test_the_snippet_writes_the_same(unpacked: Path, first: Written) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        runpy.run_path(str(unpacked / "steer.py"))
    again = pd.read_csv(io.StringIO(said.getvalue()), keep_default_na=False)
    kept = pd.read_csv(unpacked / "texts.csv", keep_default_na=False)
    assert list(kept["arm"]) == list(ARMS)
    assert list(again["sentence"]) == list(kept["prompt"] + kept["continuation"])
    assert list(kept["continuation"]) == list(first.texts)


def test_the_command_writes_the_same(unpacked: Path, first: Written) -> None:
    expertjax, steer, *flags = shlex.split((unpacked / "steer.sh").read_text())
    assert (expertjax, steer) == ("expertjax", "steer")
    # Programs of tests run in the repository.
    here = [
        flag.replace("edit=", f"edit={unpacked}/").replace("out=", f"out={unpacked}/")
        for flag in flags
    ]
    run_program("generate_text", *here)
    again = pd.read_csv(unpacked / "again.csv", keep_default_na=False)
    assert list(again["sentence"]) == [WISH.prompt + text for text in first.texts]
    assert list(again["num_units"]) == [0, 20, 20]


@contextlib.contextmanager
def counting() -> Iterator[list[str]]:
    """The programs that are compiled, or brought from the cache, while this lasts."""
    events: list[str] = []
    name = "/jax/core/compile/backend_compile_duration"
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: events.append(event) if event == name else None
    )
    yield events


def test_no_slider_compiles(studio: Studio, name: str, first: Written) -> None:
    del first  # has compiled
    sliders = {
        "num_units": 50, "max_new_tokens": 30, "temperature": 1.0, "top_p": 1.0,
        "seed": 8, "strength": 0.25, "kind": "damp", "value": "on_p90",
    }  # fmt: skip
    with counting() as events:
        for slider, value in sliders.items():
            written(studio, name, dataclasses.replace(WISH, **{slider: value}))
        assert events == []
        jax.jit(lambda x: x + 1)(1.0)
        assert events, "nothing is counted"


def test_units_by_number_and_an_edit_that_was_saved(
    studio: Studio, name: str, unpacked: Path, first: Written
) -> None:
    expertise = studio.found(name).expertise
    _, edit, control = make_arms(expertise, Wish("A", KEY, units=(7, 30)))
    table = expertise.units.iloc[[7, 30]]
    assert edit is not None and control is not None and len(control) == 2
    assert list(edit.index) == list(table["index"])
    wish = dataclasses.replace(WISH, words=("ball",))
    again = written(studio, "", wish, edit_file=unpacked / "edited.json")
    assert list(again.texts[:2]) == list(first.texts[:2])


def test_what_cannot_be_written_is_refused(
    studio: Studio, name: str, tiny_bert: Model, unpacked: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no units yet"):
        written(studio, "", WISH)
    with pytest.raises(InputError, match=r"tokens to write: 500; .* at most 128"):
        dataclasses.replace(WISH, max_new_tokens=500)
    with pytest.raises(InputError, match="no unit 99999"):
        written(studio, name, dataclasses.replace(WISH, units=(99999,)))
    other = load_model(str(make_tiny_gpt2(tmp_path / "other", seed=5)))
    for model, said in (
        (other, "whose weights"),
        (tiny_bert, "no unit|does not write"),
    ):
        elsewhere = Studio(model)
        with pytest.raises(InputError, match=said):
            written(elsewhere, "", WISH, edit_file=unpacked / "edited.json")
        elsewhere.close()
    with pytest.raises(InputError, match="whose weights"):
        Studio(other, studio.found(name).expertise)
    (tmp_path / "wrong.json").write_text("[]")
    with pytest.raises(InputError, match="is no edit"):
        written(studio, "", WISH, edit_file=tmp_path / "wrong.json")


def test_whoever_stops_listening_stops_the_writing(studio: Studio, name: str) -> None:
    writing = studio.write(name, YOURS, WISH)
    next(writing)
    assert studio.num_writing == 1
    writing.close()
    assert studio.num_writing == 0


def test_texts_are_escaped_and_words_marked() -> None:
    html = texts_html("<b>", ["a Ball.", "<script>", "${x}"], ["ball"], [1.0, 2.0, 3.0])
    assert "a <mark>Ball</mark>." in html and "1 marked word, perplexity 1.0" in html
    assert "&lt;script&gt;" in html and "${" not in html and "<b>" not in html


def test_an_edit_of_no_unit_keeps_its_file(tmp_path: Path) -> None:
    edit = UnitEdit((), *(np.zeros(0, kind) for kind in (int, int, float, float)))
    edit.save(tmp_path / "plain.json")
    assert len(UnitEdit.load(tmp_path / "plain.json")) == 0
