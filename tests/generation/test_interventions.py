"""Edits made from a real expertise: which units, which numbers; the program."""

import copy
import dataclasses
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import expertjax as ej
from expertjax.checkpoints.load import Model, load_model
from expertjax.errors import InputError
from expertjax.generation.generate import generate
from expertjax.generation.interventions import Intervention
from expertjax.generation.table import COLUMNS
from expertjax.models.unit_edits import UnitEdit
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.programs import try_program
from tests.tiny_models import make_tiny_gpt2


@pytest.fixture(scope="module")
def expertise(tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("generation") / tiny_gpt2.name
    settings = ej.CaptureSettings(seq_len=SEQ_LEN)
    responses = ej.capture(tiny_gpt2, tiny_concept_set(), out, settings)
    return ej.score(responses, settings=ej.ScoreSettings(bootstrap_top=0))


@pytest.fixture
def concept(expertise: ej.Expertise) -> str:
    return str(expertise.concepts["concept"][0])


def numbers(expertise: ej.Expertise, edit: UnitEdit) -> np.ndarray:
    """Unit numbers of an edit."""
    units = expertise.units.set_index(["site", "layer", "index"])["unit"]
    return units.loc[
        list(zip(edit.site, edit.layer, edit.index, strict=True))
    ].to_numpy()


def test_force_sets_the_best_units_to_their_median(
    expertise: ej.Expertise, concept: str
) -> None:
    edit = expertise.force(concept, k=7)
    top = expertise.top(concept, 7)
    assert numbers(expertise, edit).tolist() == top["unit"].tolist()
    assert (edit.scale == 0).all()
    np.testing.assert_allclose(edit.shift, top["on_p50"])
    assert edit.about["concept"] == concept and edit.about["num_units"] == 7
    assert edit.about["mean_ap"] == pytest.approx(top["ap"].mean())


def test_other_units_can_be_chosen(expertise: ej.Expertise, concept: str) -> None:
    ap = expertise.metric("ap", concept)
    order = np.argsort(-ap, kind="stable")

    def chosen(**more: object) -> list[int]:
        return numbers(expertise, expertise.edit(concept, **more)).tolist()

    assert chosen(num_units=5, band=2) == order[10:15].tolist()
    bottom = chosen(num_units=5, select="bottom")
    assert bottom == np.argsort(ap, kind="stable")[:5].tolist()
    gamma = float(ap[order[8]])
    assert set(chosen(select="gamma", gamma=gamma)) == set(np.flatnonzero(ap >= gamma))
    first, again = (chosen(num_units=9, select="random", select_seed=3) for _ in "ab")
    assert first == again != chosen(num_units=9, select="random", select_seed=4)


@pytest.mark.parametrize("value", ["on_p90", "off_mean", "-1.5"])
def test_force_takes_any_metric_or_number(
    expertise: ej.Expertise, concept: str, value: str
) -> None:
    edit = expertise.force(concept, k=4, value=value)
    units = numbers(expertise, edit)
    wanted = -1.5 if value == "-1.5" else expertise.metric(value, concept)[units]
    np.testing.assert_allclose(edit.shift, wanted)


def test_the_affine_maps_are_those_of_their_papers(
    expertise: ej.Expertise, concept: str
) -> None:
    units = numbers(expertise, expertise.force(concept, k=6))

    def metric(name: str) -> np.ndarray:
        return expertise.metric(name, concept)[units]

    ablate, damp = expertise.ablate(concept, k=6), expertise.damp(concept, 6, 0.3)
    assert (ablate.scale == 0).all() and (ablate.shift == 0).all()
    assert (damp.scale == 0.3).all() and (damp.shift == 0).all()
    aura = expertise.aura(concept, k=6)
    np.testing.assert_allclose(
        aura.scale, 1 - 2 * np.maximum(metric("auroc") - 0.5, 0), rtol=1e-6
    )


OVER_TOKENS = (
    Intervention(edit="gaussian", num_units=6),
    Intervention(edit="force", num_units=2),
    Intervention(edit="transport", num_units=3, select="random"),
    Intervention(edit="transport", num_units=3, select="random", strength=0.5),
    Intervention(edit="transport", num_units=0),
)


@pytest.fixture(scope="module")
def moved(expertise: ej.Expertise, tiny_gpt2: Model) -> list[UnitEdit]:
    """The edits of `OVER_TOKENS`, for which the sentences are run once."""
    runs: list[int] = []

    def load() -> Model:
        runs.append(1)
        return tiny_gpt2

    edits = expertise.edits(expertise.concepts["concept"][0], OVER_TOKENS, load)
    assert len(runs) == 1
    return edits


def activations(
    expertise: ej.Expertise, concept: str, model: Model, edit: UnitEdit
) -> dict[int, list[np.ndarray]]:
    """[T, K] of each sentence, by label: what edited units do at every token."""
    rows, label = expertise.members(concept)
    text = expertise.folder.read_table("sentences")["text"].iloc[rows]
    units = numbers(expertise, edit)
    table = ej.token_activations(model, list(text), units)
    found: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for row, of_text in table.groupby("text"):
        wide = of_text.pivot(index="position", columns="unit", values="activation")
        found[label[row]].append(wide[units].to_numpy(float))
    return found


def test_gaussian_makes_of_negatives_tokens_those_of_positives(
    expertise: ej.Expertise, concept: str, tiny_gpt2: Model, moved: list[UnitEdit]
) -> None:
    edit = moved[0]
    found = activations(expertise, concept, tiny_gpt2, edit)
    negatives, positives = (np.concatenate(found[label]) for label in (0, 1))
    after = edit.scale * negatives + edit.shift
    for of in (np.mean, np.std):
        np.testing.assert_allclose(of(after, 0), of(positives, 0), rtol=1e-3, atol=1e-5)
    assert edit.about["over_tokens_of"] == sum(map(len, found.values()))


def test_transport_is_the_least_squares_line_through_means(
    expertise: ej.Expertise, concept: str, tiny_gpt2: Model, moved: list[UnitEdit]
) -> None:
    edit, half = moved[2:4]
    found = activations(expertise, concept, tiny_gpt2, edit)
    means = [np.array([z_TxK.mean(0) for z_TxK in found[label]]) for label in (0, 1)]
    count = min(map(len, means))
    ranks = (np.arange(count) + 0.5) / count
    for i in range(3):
        a, b = (np.quantile(mean_nxK[:, i], ranks) for mean_nxK in means)
        slope, offset = np.polyfit(a, b, 1)
        np.testing.assert_allclose(
            [edit.scale[i], edit.shift[i]], [slope, offset], rtol=1e-3, atol=1e-5
        )
    np.testing.assert_allclose(half.scale, 0.5 + 0.5 * edit.scale)
    np.testing.assert_allclose(half.shift, 0.5 * edit.shift)


def test_the_model_is_needed_only_for_edits_over_tokens(
    expertise: ej.Expertise, concept: str, moved: list[UnitEdit]
) -> None:
    assert [len(edit) for edit in moved] == [6, 2, 3, 3, 0]
    alone = expertise.edit(concept, edit="force", num_units=2)
    np.testing.assert_array_equal(moved[1].shift, alone.shift)
    with pytest.raises(InputError, match="gaussian and transport need the model"):
        expertise.edit(concept, edit="transport")


def test_what_cannot_be_is_refused(expertise: ej.Expertise, concept: str) -> None:
    with pytest.raises(InputError, match="no concept 'sense/none'"):
        expertise.force("sense/none")
    with pytest.raises(InputError, match=r"--num_units=10000: .* has only 864 units"):
        expertise.force(concept, k=10_000)
    with pytest.raises(InputError, match="no metric 'on_p51'"):
        expertise.force(concept, value="on_p51")
    with pytest.raises(InputError, match="--edit=push: expected one of force"):
        expertise.edit(concept, edit="push")
    with pytest.raises(InputError, match=r"--edit=damp needs --strength, the factor"):
        expertise.edit(concept, edit="damp")


def test_an_edit_is_kept_in_a_file(
    expertise: ej.Expertise, concept: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    edit = expertise.force(concept, k=9)
    edit.save(tmp_path / "edit.json")
    again = UnitEdit.load(tmp_path / "edit.json")
    settings = {"max_new_tokens": 6, "seeds": range(3)}
    texts, same = (
        ej.generate(tiny_gpt2, "The ball", e, **settings) for e in (edit, again)
    )
    assert texts.equals(same)
    (tmp_path / "edit.json").write_text('{"site": ["a"]}')
    with pytest.raises(InputError, match=r"edit\.json: is no edit"):
        UnitEdit.load(tmp_path / "edit.json")


def test_texts_do_not_depend_on_what_else_is_written(
    expertise: ej.Expertise, concept: str, tiny_gpt2: Model
) -> None:
    edits = [None, expertise.force(concept, k=20)]
    prompts = ["The ball", "Rain fell on the old market while"]
    more = {"max_new_tokens": 8, "temperature": 1.0, "batch_size": 5}
    every = ej.generate(tiny_gpt2, prompts, edits, range(4), **more)
    assert list(every.columns[:3]) == ["edit", "prompt", "seed"] and len(every) == 16
    alone = ej.generate(tiny_gpt2, prompts[1], edits[1], [2], **more)
    row = every[(every["edit"] == 1) & (every["prompt"] == 1) & (every["seed"] == 2)]
    assert row["sentence"].item() == alone["sentence"].item()
    assert row["sentence"].item().startswith(prompts[1])


def test_another_models_edit_is_refused(
    expertise: ej.Expertise, concept: str, tiny_bert: Model, tmp_path: Path
) -> None:
    edit = expertise.force(concept, k=2)
    other = load_model(str(make_tiny_gpt2(tmp_path / "other", seed=5)))
    with pytest.raises(InputError, match="expertise of tiny-gpt2, whose weights"):
        ej.generate(other, "The ball", edit)
    with pytest.raises(InputError, match="does not write from left to right"):
        ej.generate(tiny_bert, "The ball")


def test_a_single_text_is_shown_as_it_is_written(tiny_gpt2: Model) -> None:
    settings = ej.GenerateSettings(max_new_tokens=12, stop_at_end=False)
    shown: list[str] = []
    texts = generate(tiny_gpt2, ["The ball"], settings=settings, on_token=shown.append)
    [continuation] = texts["continuation"]
    # Once for each token, and what was no character to the end.
    assert "".join(shown) == continuation and 12 <= len(shown) <= 13
    with pytest.raises(InputError, match="only a single text"):
        generate(tiny_gpt2, ["The", "A"], settings=settings, on_token=shown.append)


def test_an_empty_prompt_needs_a_token_to_begin_with(tiny_gpt2: Model) -> None:
    assert ej.generate(tiny_gpt2, "", max_new_tokens=3)["context"].item() == ""
    tokenizer = copy.deepcopy(tiny_gpt2.tokenizer)
    tokenizer.bos_token = None
    other = dataclasses.replace(tiny_gpt2, tokenizer=tokenizer)
    with pytest.raises(InputError, match="--prompt='': has no token"):
        ej.generate(other, "")


def program(*flags: str) -> subprocess.CompletedProcess[str]:
    return try_program("generate_text", flags)


def test_the_program_writes_the_references_table(
    expertise: ej.Expertise, concept: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    flags = [
        f"--model={tiny_gpt2.path}",
        f"--expertise={expertise.folder.path}",
        f"--concept={concept.partition('/')[2]}",
        "--prompt=The ball",
        "--num_units=0,5",
        "--num_samples=3",
        "--max_new_tokens=6",
        f"--out={tmp_path / 'texts.csv'}",
        f"--figure={tmp_path / 'k.png'}",
        f"--report={tmp_path / 'sweep.html'}",
        "--words=the",
        f"--save_edit={tmp_path / 'edit.json'}",
    ]
    done = program(*flags)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "texts.csv")
    assert tuple(table.columns) == COLUMNS and len(table) == 6
    assert table["num_units"].tolist() == [0, 0, 0, 5, 5, 5]
    control = pd.read_csv(tmp_path / "texts.control.csv")  # apart: who reads the other
    assert tuple(control.columns) == COLUMNS and len(control) == 3  # expects none
    assert control["num_units"].tolist() == [5, 5, 5]
    assert control["mean_metric"][0] < table["mean_metric"][5]
    headings = re.findall(r"^k = (\d+), ([\w ,]+): with a word", done.stdout, re.M)
    assert headings == [
        ("0", "nothing edited"),
        ("5", "top units"),
        ("5", "units at random, the control"),
    ]
    shown = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    for sentence in [*table["sentence"], *control["sentence"]]:
        assert f"  {sentence!r}" in shown
    assert (tmp_path / "k.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "sweep.html").read_text("utf-8")
    assert f"<dd>{concept}</dd>" in page and page.count('class="written"') == 9
    edit = UnitEdit.load(tmp_path / "edit.json")
    assert len(edit) == 5 and edit.about["concept"] == concept


def test_the_program_runs_sentences_for_transport_and_escapes_the_page(
    expertise: ej.Expertise, concept: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    done = program(
        f"--model={tiny_gpt2.path}",
        f"--expertise={expertise.folder.path}",
        f"--concept={concept}",
        "--prompt=<script>alert(1)</script>",
        "--num_units=4",
        "--edit=transport",
        "--strength=0.5",
        "--max_new_tokens=4",
        "--control=random",
        f"--out={tmp_path / 'texts.csv'}",
        f"--report={tmp_path / 'sweep.html'}",
        f"--save_edit={tmp_path / 'edit.json'}",
    )
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "texts.csv")["forcing_value"].tolist() == [
        "transport"
    ]
    assert len(pd.read_csv(tmp_path / "texts.control.csv")) == 1
    page = (tmp_path / "sweep.html").read_text("utf-8")
    assert "<script" not in page and page.count("&lt;script&gt;alert(1)") >= 2
    saved = UnitEdit.load(tmp_path / "edit.json")
    wanted = expertise.transport(concept, tiny_gpt2, k=4, strength=0.5)
    assert saved.about["select"] == "top" and saved.about["strength"] == 0.5
    np.testing.assert_allclose(saved.scale, wanted.scale, rtol=1e-3)


def test_no_control_where_it_is_not_wanted(
    expertise: ej.Expertise, concept: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    flags = [
        f"--model={tiny_gpt2.path}",
        f"--expertise={expertise.folder.path}",
        f"--concept={concept}",
        "--num_units=2,4",
        "--num_samples=2",
        "--max_new_tokens=3",
        f"--out={tmp_path / 'texts.csv'}",
    ]
    for more in ("--control=none", "--select=random"):
        done = program(*flags, more)
        assert done.returncode == 0, done.stderr
        assert "the control" not in done.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["texts.csv"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--concept=sense/none"], "no concept 'sense/none'"),
        (["--num_units=9999"], "has only 864 units"),
        (["--num_units=many"], "--num_units=many: expected whole numbers"),
        (["--max_new_tokens=500"], "only 64 positions"),
        (["--top_p=0"], "--top_p=0.0: expected more than 0"),
        (["--edit=damp"], "--edit=damp needs --strength, the factor"),
        (["--control=random", "--concept="], "--control=random needs --concept"),
    ],
)
def test_the_program_refuses_in_one_line(
    expertise: ej.Expertise,
    concept: str,
    tiny_gpt2: Model,
    changes: list[str],
    message: str,
) -> None:
    done = program(
        f"--model={tiny_gpt2.path}",
        f"--expertise={expertise.folder.path}",
        f"--concept={concept}",
        *changes,
    )
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
