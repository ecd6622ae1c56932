"""Finding units for typed sentences: the scores of the main job, and only new work."""

from pathlib import Path

import numpy as np
import pytest

import expertjax as ej
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.workshop.find import KEY, Library, score_settings, verdict
from expertjax.workshop.limits import MOST_SENTENCES, unit_numbers
from expertjax.workshop.rendering import found_html
from expertjax.workshop.studio import Studio
from tests.capturing.tiny_concepts import random_sentences
from tests.workshop.conftest import sides


def test_scores_and_marks_are_those_of_the_main_job(
    studio: Studio, name: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    found = studio.found(name)
    concepts = ej.make_concepts({KEY: sides(1000)})
    settings = ej.CaptureSettings(seq_len=64)
    wanted = ej.score(ej.capture(tiny_gpt2, concepts, tmp_path / "out", settings))
    for metric in ("ap", "on_p50", "auroc"):
        np.testing.assert_allclose(
            found.expertise.metric(metric, KEY), wanted.metric(metric, KEY), atol=1e-5
        )
    threshold = wanted.concepts["null_threshold"][0]
    assert found.expertise.concepts["null_threshold"][0] == threshold
    row = found.excited.iloc[0]
    z = ej.token_activations(tiny_gpt2, row["text"], [row["unit"]])
    best = z.loc[z["activation"].idxmax()]
    assert (row["start"], row["end"], row["token"]) == tuple(
        best[["start", "end", "token"]]
    )
    assert row["response"] == pytest.approx(best["activation"], abs=1e-5)


def test_only_new_sentences_are_run(studio: Studio, name: str) -> None:
    positives, negatives = sides(1000)
    added = studio.found(studio.find([*positives, "A bird sang."], negatives, None))
    assert added.num_run == 1 and added.counts == (len(positives) + 1, len(negatives))
    assert "1 of these were run now" in found_html(added)


def test_too_few_sentences_say_nothing(studio: Studio) -> None:
    positives, negatives = sides(4)
    [said] = verdict(studio.found(studio.find(positives, negatives, None)))
    assert said.startswith("Too few sentences to say anything: with 4 and 4, some of")


def test_enough_sentences_keep_some_apart(studio: Studio) -> None:
    texts = random_sentences(80, 5)
    found = studio.found(studio.find(texts[:40], texts[40:], None))
    assert found.top["ap_heldout"].notna().all() and found.counts == (40, 40)
    assert not score_settings(39, 1000).holdout


@pytest.mark.parametrize(
    ("positives", "negatives", "said"),
    [
        ([], ["A hat."], "no sentence with it"),
        (["A hat."], [], "no sentence without it"),
        (["A hat."], ["A hat."], "as positive and as negative"),
        (["A hat."] * MOST_SENTENCES, ["A cat."], "1,001 sentences; at most 1,000"),
        (["A hat. " * 2_000_000], ["A cat."], "14,000,006 characters; at most 200,000"),
        (["hat " * 500], ["A cat."], "every|no positive"),
    ],
    ids=["none", "none without", "both", "many", "long", "too long to run"],
)
def test_what_cannot_be_found_is_refused(
    studio: Studio, positives: list[str], negatives: list[str], said: str
) -> None:
    before = sorted(studio.place.iterdir())
    with pytest.raises(InputError, match=said):
        studio.find(positives, negatives, None)
    assert sorted(studio.place.iterdir()) == before


def test_the_newest_results_are_kept(
    studio: Studio, tiny_gpt2: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expertjax.workshop.studio.MOST_KEPT", 2)
    small = Studio(tiny_gpt2)
    small._runner = studio._runner  # compiled already
    names = [
        small.find(["A hat."], [text], None) for text in ("A cat.", "Rain.", "Ha.")
    ]
    with pytest.raises(InputError, match="There are no units yet"):
        small.found(names[0])
    assert small.found(names[2]).counts == (1, 1)
    assert sorted(path.name for path in small.place.iterdir()) == sorted(names[1:])
    small.close()
    assert not small.place.exists()


def test_a_memory_that_is_too_small_is_said(tiny_gpt2: Model) -> None:
    small = Studio(tiny_gpt2, memory_bytes=1)
    with pytest.raises(InputError, match=r"4 sentences; at most 1 of this model"):
        small.find(["A.", "B."], ["C.", "D."], None)
    small.close()


def test_concepts_of_a_result_or_those_that_ship(studio: Studio, name: str) -> None:
    shipped = Library()
    assert "dog" in shipped.names
    positives, negatives = shipped.sentences("dog")
    assert 40 <= len(positives) <= 100 and not set(positives) & set(negatives)
    loaded = Library(studio.found(name).expertise)
    assert loaded.names == ["yours"]
    assert sorted(loaded.sentences("yours")[0]) == sorted(sides(1000)[0])
    with pytest.raises(InputError, match="no concept 'cow'"):
        loaded.sentences("cow")


def test_unit_numbers_are_read() -> None:
    assert unit_numbers("12, 407 12", 8) == [12, 407]
    for text, said in (("-3", "'-3' is no unit"), ("1 2 3", "3 units; at most 2")):
        with pytest.raises(InputError, match=said):
            unit_numbers(text, 2)
