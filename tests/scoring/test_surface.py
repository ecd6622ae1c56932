"""What needs no model: baselines of the surface, and units without it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from expertjax.concepts.form import ALL_FORM, ALL_WORDS, FORM, FORMS
from expertjax.concepts.pool import Membership
from expertjax.scoring import fitted
from expertjax.scoring.settings import ScoreSettings
from expertjax.scoring.surface import (
    best_features,
    measure_surface,
    read_pool,
    telling_forms,
)
from expertjax.scoring.without import average_precisions, without

_EXACT = ScoreSettings(tie_tolerance=0.0, bootstrap_resamples=100)
_FILLER = "river stone window letter garden market winter paper".split()


def _sentences(seed: int = 0, count: int = 300) -> tuple[list[str], np.ndarray]:
    """Sentences of random words, a third of them labelled positive."""
    random = np.random.default_rng(seed)
    texts = [
        f"A {' '.join(random.choice(_FILLER, random.integers(4, 12)))} number {i % 7}."
        for i in range(count)
    ]
    return texts, (np.arange(count) % 3 == 0).astype(np.int8)


def _pool(texts: list[str]):
    n_tokens = [len(text.split()) for text in texts]
    return read_pool(pd.DataFrame({"text": texts, "n_tokens": n_tokens}))


def _measure(texts: list[str], label: np.ndarray, held_out: np.ndarray | None = None):
    rows = np.arange(len(texts), dtype=np.int32)
    out = np.zeros(len(texts), bool) if held_out is None else held_out
    members = [Membership(rows[~out], label[~out])]
    others = [Membership(rows[out], label[out])]
    return measure_surface(["g/c"], _pool(texts), members, others, _EXACT)


def test_every_feature_has_the_ap_of_scikit_learn():
    texts, label = _sentences()
    texts = [t + " In 1999." * int(i % 5 == 0) for i, t in enumerate(texts)]
    table = _measure(texts, label).set_index("feature")["ap"]
    pool = _pool(texts)
    for at, name in enumerate(FORM):
        values = pool.form_NxF[:, at]
        (found,) = [f for f in table.index if f.removeprefix("-") == name]
        sign = -1 if found.startswith("-") else 1
        expected = average_precision_score(label, sign * values)
        assert table[found] == pytest.approx(expected, abs=1e-5)
        assert expected >= average_precision_score(label, -sign * values) - 1e-5


def test_a_concept_that_is_only_years_is_told_by_them_and_a_real_one_is_not():
    texts, label = _sentences()
    years = [t + " In 1879." * int(y) for t, y in zip(texts, label, strict=True)]
    best = best_features(_measure(years, label)).loc["g/c"]
    assert best["surface_ap"] == pytest.approx(1, abs=1e-6)
    assert telling_forms(_measure(years, label), [(100, 200)]) == ["digits"]
    # A random label has nothing to be told by.
    nothing = _measure(texts, label)
    assert best_features(nothing).loc["g/c", "surface_ap"] < 0.5
    assert telling_forms(nothing, [(100, 200)]) == [None]


def test_words_are_chosen_and_fitted_on_other_sentences():
    texts, label = _sentences()
    table = _measure(texts, label).set_index("feature")["ap"]
    # Chance is a third: nothing that was fitted to noise may look like knowledge.
    assert table[ALL_WORDS] < 0.45 and table[ALL_FORM] < 0.45
    told = [
        t.replace("A ", "A wolf ") if y else t
        for t, y in zip(texts, label, strict=True)
    ]
    table = _measure(told, label).set_index("feature")["ap"]
    assert table["word wolf"] == 1 and table[ALL_WORDS] > 0.99
    # A word that each sentence has alone tells nothing of another one.
    own = [f"{text} w{i}" for i, text in enumerate(texts)]
    assert _measure(own, label).set_index("feature")["ap"][ALL_WORDS] < 0.5


def test_the_linear_model_of_words_is_scikit_learns_ridge():
    texts, label = _sentences(count=120)
    vocabulary = fitted.read_vocabulary(texts)
    x = vocabulary.tfidf_NxV
    assert np.sqrt(x.multiply(x).sum(1)) == pytest.approx(1, abs=1e-6)
    ours = fitted._ridge(x[:90], label[:90])
    target = label[:90] - label[:90].mean()
    theirs = Ridge(1.0, fit_intercept=False).fit(x[:90], target).coef_
    assert np.abs(ours - theirs).max() < 1e-2 * np.abs(theirs).max()


def test_held_out_sentences_take_no_part():
    texts, label = _sentences()
    out = np.arange(len(texts)) % 10 < 3
    told = [
        t.replace("A ", "A wolf ") if y and not o else t
        for t, y, o in zip(texts, label, out, strict=True)
    ]
    table = _measure(told, label, out).set_index("feature")
    assert table.loc["word wolf", "ap"] == 1
    chance = label[out].mean()
    assert table.loc["word wolf", "ap_heldout"] == pytest.approx(chance, abs=1e-6)
    assert table.loc[ALL_WORDS, "ap_heldout"] < 0.6


def test_tokens_that_are_not_known_are_no_feature():
    texts, label = _sentences(count=60)
    sentences = pd.DataFrame(
        {"text": texts, "n_tokens": pd.array([pd.NA] * 60, "Int32")}
    )
    members = [Membership(np.arange(60, dtype=np.int32), label)]
    table = measure_surface(
        ["g/c"], read_pool(sentences), members, [Membership.none()], _EXACT
    )
    names = table["feature"].str.removeprefix("-")
    assert "tokens" not in set(names) and set(FORMS) <= set(names)
    assert np.isfinite(table["ap"]).all()


def test_tiny_concepts_have_a_surface_too():
    table = _measure(["One 1.", "Two words.", "Three", "no"], np.array([1, 0, 1, 0]))
    assert table["ap"].between(0, 1).all()
    assert len(best_features(table)) == 1
    table = _measure(["?", "!", "...", ""], np.array([1, 0, 1, 0]))  # no word at all
    assert table["ap"].between(0, 1).all() and len(best_features(table)) == 1


def test_sentences_without_years_are_kept_or_lengths_are_matched():
    label = np.repeat([1, 0], [60, 120]).astype(np.int8)
    member = Membership(np.arange(180, dtype=np.int32), label)
    years = np.r_[np.ones(40), np.zeros(20), np.ones(10), np.zeros(110)]
    kept = without("g/c", member, "years", years)
    assert kept.sentence.tolist() == np.flatnonzero(years == 0).tolist()
    # Positives are longer; what is kept is as long as the negatives kept.
    lengths = np.r_[np.arange(60) // 3 + 10, np.arange(120) // 6 + 4]
    kept = without("g/c", member, "length", lengths)
    assert kept.num_negatives == pytest.approx(2 * kept.num_positives, abs=8)
    assert kept.num_positives >= 20
    both = [lengths[kept.sentence[kept.label == y]].mean() for y in (1, 0)]
    assert abs(both[0] - both[1]) < 0.5 < abs(lengths[:60].mean() - lengths[60:].mean())
    same = without("g/c", member, "length", lengths)
    assert same.sentence.tolist() == kept.sentence.tolist()
    # Where the form tells every sentence apart, nothing is left to be scored.
    assert not len(without("g/c", member, "length", 5 * label).label)


def test_ap_of_a_few_units_is_scikit_learns():
    random = np.random.default_rng(1)
    label = (random.random(80) < 0.3).astype(np.int8)
    x = np.round(random.normal(size=(100, 5)), 1).astype(np.float32)
    rows = random.permutation(100)[:80].astype(np.int32)
    ap = average_precisions(Membership(rows, label), x, 0.0)
    expected = [average_precision_score(label, x[rows, k]) for k in range(5)]
    assert ap == pytest.approx(expected, abs=1e-6)
    assert np.isnan(average_precisions(Membership.none(), x, 0.0)).all()
