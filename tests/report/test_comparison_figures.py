"""Figures of several models show the numbers, and name the series."""

import numpy as np
import pandas as pd
import pytest

from expertjax.analysis import colearning
from expertjax.analysis.presence import Presence, model_presence
from expertjax.analysis.ranking import rank
from expertjax.report import colearning_figures, drawing, ranking_figures
from tests.report.figure_words import words_in_trouble

GAMMAS = np.linspace(0.5, 1, 51)


def make_presence(num_models: int) -> Presence:
    rng = np.random.default_rng(0)
    models = []
    for i in range(num_models):
        ap_CxU = rng.random((12, 600), np.float32) ** (1 + i / num_models)
        layer_U = np.arange(600) * (2 + i % 3) // 600
        models.append(model_presence(f"model_${i}$", ap_CxU, layer_U, GAMMAS))
    return Presence(tuple("abcdefghijkl"), GAMMAS, tuple(models), False, {})


@pytest.mark.parametrize("num_models", [1, 10, 20])
def test_curves_show_the_counts(num_models: int) -> None:
    made = make_presence(num_models)
    figure = ranking_figures.presence_curves(made, 0.8)
    top = figure.axes[0]
    drawn = {tuple(line.get_ydata()) for line in top.lines if len(line.get_ydata()) > 2}
    assert drawn == {tuple(row) for row in made.counts("acquired")}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == min(num_models, ranking_figures.MAX_NAMED + 1)
    assert ("6 other models" in labels) == (num_models == 20)
    assert drawing.png(figure)  # $ in a name is no mathtext


def test_depth_is_per_thousand_units() -> None:
    layers = make_presence(2).layers(0.9)
    (ax,) = ranking_figures.experts_by_depth(layers, 0.9).axes
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    expected = 1000 * layers["experts"] / layers["num_units"]
    assert sorted(drawn) == pytest.approx(sorted(expected))


def test_ranking_marks_its_best_gamma() -> None:
    made = make_presence(10)
    ranking = rank(made, {name: float(-i) for i, name in enumerate(made.names)})
    curves = ranking_figures.r2_over_gamma(ranking, "glue").axes[0]
    marked = [line for line in curves.lines if len(line.get_xdata()) == 1]
    heights = [float(line.get_ydata()[0]) for line in marked]
    assert heights == pytest.approx(list(ranking.best["r2"]))
    figure = ranking_figures.scores_scatter(made, ranking, "experts", "glue")
    (points,) = figure.axes
    gamma = ranking.best.set_index("measure")["gamma"]["experts"]
    at = made.counts("experts")[:, made.column(gamma)]
    np.testing.assert_array_equal(points.lines[1].get_xdata(), at)
    # Scores fall with the number of the model here, so that numbers rise.
    placed = {text.get_text(): text.get_position() for text in points.texts}
    assert placed == {str(i + 1): (at[i], -float(i)) for i in range(10)}
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key[0].startswith("1  model_") and len(key) == 10
    assert drawing.png(figure)


@pytest.mark.parametrize("num_concepts", [1, 2, 12, 80])
def test_map_is_the_overlap_in_order(num_concepts: int) -> None:
    rng = np.random.default_rng(0)
    keys = [f"sense/c{i}" for i in range(num_concepts)]
    units = [rng.choice(60, 20, replace=False) for _ in keys]
    found = colearning.overlap(keys, units, 60)
    groups = pd.DataFrame(
        {"concept": keys, "group": [f"g{i % 11}" for i in range(len(keys))]}
    )
    figure = colearning_figures.overlap_map(found, groups)
    order = colearning.cluster_order(found.overlap)
    shown = figure.axes[1].images[0].get_array().filled(1)
    expected = found.overlap[np.ix_(order, order)]
    np.testing.assert_allclose(shown, expected)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    named = num_concepts <= colearning_figures.MAX_NAMED
    assert labels == ([keys[i][6:] for i in order] if named else [])
    assert drawing.png(figure)


@pytest.mark.parametrize(
    ("num_concepts", "num_units"),
    [(2, 400), (5, 60), (20, 100_000), (34, 400), (34, 100_000), (200, 60)],
)
def test_words_of_the_map_do_not_collide(num_concepts: int, num_units: int) -> None:
    rng = np.random.default_rng(0)
    keys = [f"sense/quite_a_long_name_{i}-1_04_00__" for i in range(num_concepts)]
    units = [rng.choice(num_units, 50, replace=False) for _ in keys]
    found = colearning.overlap(keys, units, num_units)
    groups = pd.DataFrame({"concept": keys, "group": [f"noun.group_{i % 9}" for i in
                           range(num_concepts)]})  # fmt: skip
    for of in (None, groups):
        figure = colearning_figures.overlap_map(found, of)
        assert words_in_trouble(figure) == []
        ticks = figure.axes[-1].get_xticks()
        assert 2 <= len(ticks) <= 6 and ticks[0] == 0


def test_bars_are_the_means() -> None:
    table = pd.DataFrame(
        {
            "group": ["(all groups)", "$a"],
            "within": [0.2, 0.0],
            "across": [0.1, 0.05],
            "ratio": [2.0, 0.0],
            "p": [0.01, 1.0],
        }
    )
    figure = colearning_figures.within_and_across(table)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [0.2, 0.0, 0.1, 0.05]
    assert figure.axes[0].texts[0].get_text() == "×2.0, p = 0.01"
    assert drawing.png(figure)
