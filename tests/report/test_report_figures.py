"""The figures show what a naive count finds."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from expertjax.analysis import counts
from expertjax.report import drawing, figures
from expertjax.report.null import expected_counts
from tests.report.figure_words import words_in_trouble
from tests.report.null_law import make_null


def test_over_gamma_against_a_naive_count(make_data):
    ap_CxU = make_data(5, 400).ap_CxU
    ap_CxU[0, :4] = [0.5, 0.9, 1.0, 0.499999]
    over = counts.over_gamma(ap_CxU)
    assert over.gammas.shape == (501,) and over.n_concepts == 5
    for g, gamma in enumerate(over.gammas):
        expert_CxU = ap_CxU >= gamma
        assert over.experts[g] == expert_CxU.sum()
        assert over.acquired[g] == expert_CxU.any(1).sum()
        assert over.units[g] == expert_CxU.any(0).sum()


def test_experts_over_gamma_draws_the_counts(make_data):
    ap_CxU = make_data().ap_CxU
    over = counts.over_gamma(ap_CxU)
    top, bottom = figures.experts_over_gamma(over, 0.7).axes
    lines = {line.get_label(): line for line in [*top.lines, *bottom.lines]}
    x, acquired = lines["acquired concepts"].get_data()
    naive = [(ap_CxU.max(1) >= np.float32(gamma)).sum() for gamma in x]
    np.testing.assert_array_equal(acquired, naive)
    naive = [(ap_CxU >= np.float32(gamma)).sum() for gamma in x]
    np.testing.assert_array_equal(lines["experts (pairs)"].get_ydata(), naive)
    assert lines["γ = 0.7"].get_xdata()[0] == 0.7


def test_experts_per_layer_stacks_to_the_count(make_data):
    data = make_data(4, 600, 5)
    table = counts.experts_by_layer_and_site(data.ap_CxU, data.units, 0.6)
    expert_U = (data.ap_CxU >= np.float32(0.6)).sum(0)
    naive = (
        data.units.assign(n=expert_U)
        .pivot_table(index="layer", columns="site", values="n", aggfunc="sum")
        .loc[table.index, table.columns]
    )
    np.testing.assert_array_equal(table, naive)
    (ax,) = figures.experts_per_layer(table, 0.6).axes
    tops = [max(b.get_y() + b.get_height() for b in bars) for bars in _by_x(ax)]
    np.testing.assert_allclose(tops, table.sum(axis=1))


@pytest.mark.parametrize("num_sites", [1, 4, 8, 26])
@pytest.mark.parametrize("name", ["{}", "mlp.part_{}", "model.layers.part.name_{}"])
def test_a_legend_of_sites_is_never_cut(num_sites, name):
    counted = np.random.default_rng(0).integers(0, 9, (30, num_sites))
    columns = [name.format(chr(97 + i)) for i in range(num_sites)]
    figure = figures.experts_per_layer(pd.DataFrame(counted, columns=columns), 0.9)
    assert words_in_trouble(figure) == []
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == columns
    assert figure.axes[0].get_window_extent().height > 0.5 * 3 * figure.dpi


def _by_x(ax):
    columns = {}
    for bar in ax.patches:
        columns.setdefault(round(bar.get_x(), 3), []).append(bar)
    return [columns[x] for x in sorted(columns)]


def test_units_in_any_order_give_the_same_counts(make_data):
    data = make_data(3, 300, 4)
    shuffled = np.random.default_rng(0).permutation(300)
    units, ap_CxU = data.units.iloc[shuffled], data.ap_CxU[:, shuffled]
    best = counts.max_ap_by_layer(data.ap_CxU, data.units, data.concepts)
    again = counts.max_ap_by_layer(ap_CxU, units, data.concepts)
    np.testing.assert_array_equal(best, again)
    naive = [data.ap_CxU[:, data.units["layer"] == n].max(1) for n in range(4)]
    np.testing.assert_array_equal(best.T, naive)


def test_heat_map_shows_layers_that_were_scored(make_data):
    data = make_data(3, 300, 8)
    kept = data.units["layer"].isin([2, 5, 7]).to_numpy()
    best = counts.max_ap_by_layer(data.ap_CxU[:, kept], data.units[kept], data.concepts)
    ax = figures.max_ap_heatmap(best).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "5", "7"]
    np.testing.assert_array_equal(ax.images[0].get_array(), best)


def test_distribution_counts_every_unit(make_data):
    ap_U = make_data().ap_CxU[0]
    ap_U[:2] = [0, 1]
    (ax,) = figures.ap_distribution(ap_U, make_null(), 0.35, 0.5, 0.9, "a/b").axes
    values, edges, _ = ax.patches[0].get_data()
    assert values.sum() == len(ap_U) and (edges[0], edges[-1]) == (0, 1)
    assert sorted(line.get_xdata()[0] for line in ax.lines) == [0.35, 0.5, 0.9]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "expected by chance" in labels and "5% threshold 0.500" in labels
    (ax,) = figures.ap_distribution(ap_U, make_null(), 0.35, np.inf, 0.9).axes
    assert [line.get_xdata()[0] for line in ax.lines] == [0.35, 0.9]


def test_distribution_draws_what_chance_gives(make_data):
    ap_U = make_data(1, 10_000).ap_CxU[0]
    law = make_null()
    (ax,) = figures.ap_distribution(ap_U, law, 0.35, 0.5, 0.9).axes
    expected, edges, _ = ax.patches[1].get_data()
    np.testing.assert_array_equal(expected, expected_counts(law, edges, 10_000))
    assert ax.patches[1].get_label() == "expected by chance"
    assert ax.get_ylim()[1] > expected.max()
    # The rest of the units are good ones.
    assert ax.patches[0].get_data().values[50:].sum() > 20 > expected[50:].sum()


@pytest.mark.parametrize("threshold", [0.5, np.inf])
def test_legend_of_the_distribution_stays_inside(make_data, threshold):
    ap_U = make_data(1).ap_CxU[0]
    figure = figures.ap_distribution(ap_U, make_null(), 0.35, threshold, 0.123456)
    (ax,) = figure.axes
    drawing.png(figure)
    box = ax.get_legend().get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert ax.bbox.y1 <= box.y0 and box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("n_concepts", [1, 60, 61])
def test_overview_has_every_concept(make_data, n_concepts):
    concepts = make_data(n_concepts).concepts
    (ax,) = figures.best_ap_overview(concepts, 0.9).axes
    (best,) = [line for line in ax.lines if line.get_label() == "best AP"]
    shown = best.get_xdata() if n_concepts <= 60 else best.get_ydata()
    np.testing.assert_array_equal(shown, concepts["max_ap"])


@pytest.mark.parametrize("n_concepts", [2, 80])
@pytest.mark.parametrize("thresholds", [[0.5, 0.5], [np.inf, 0.5], [np.inf, np.inf]])
def test_infinite_thresholds_are_not_drawn(make_data, n_concepts, thresholds):
    thresholds = np.array(thresholds * (n_concepts // 2))
    data = make_data(n_concepts, null_threshold=thresholds)
    figure = figures.best_ap_overview(data.concepts, 0.9)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    finite = np.isfinite(thresholds)
    assert ("5% threshold" in lines) == finite.any()
    if finite.any():
        x, y = lines["5% threshold"].get_data()
        shown = x if n_concepts <= 60 else y
        np.testing.assert_array_equal(shown, np.where(finite, thresholds, np.nan))
    assert drawing.png(figure)


def test_names_are_not_mathtext(make_data):
    names = ["a/$\\frac{", "b/_hidden", "c/" + "long" * 20]
    data = make_data(3, names=names)
    units = data.units.assign(site="$\\frac{")
    table = counts.experts_by_layer_and_site(data.ap_CxU, units, 0.5)
    best = counts.max_ap_by_layer(data.ap_CxU, units, data.concepts)
    for figure in (
        figures.experts_per_layer(table, 0.5),
        figures.max_ap_heatmap(best),
        figures.best_ap_overview(data.concepts, 0.9),
        figures.ap_distribution(data.ap_CxU[0], make_null(), 0.3, 0.5, 0.9, names[0]),
    ):
        assert drawing.png(figure).startswith(b"\x89PNG")


def test_nothing_global_is_touched(make_data):
    before = dict(matplotlib.rcParams)
    over = counts.over_gamma(make_data().ap_CxU)
    drawing.png(figures.experts_over_gamma(over, 0.9))
    assert dict(matplotlib.rcParams) == before
