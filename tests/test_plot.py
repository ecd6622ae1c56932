"""`ej.plot` draws results that are there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import expertjax as ej
from expertjax.analysis.expertise import Expertise
from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.concepts.names import short_name
from expertjax.scoring.score import score
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set


@pytest.fixture(scope="module")
def result(tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory) -> Expertise:
    out = tmp_path_factory.mktemp("plotted") / "tiny-gpt2"
    settings = CaptureSettings(seq_len=SEQ_LEN)
    return Expertise(score(capture(tiny_gpt2, tiny_concept_set(), out, settings)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda e: ej.plot.ap_distribution(e, e.concepts["concept"][0], 0.7),
        lambda e: ej.plot.experts_over_gamma(e, 0.7),
        lambda e: ej.plot.experts_per_layer(e, 0.7),
        lambda e: ej.plot.experts_per_layer(e, 0.7, e.concepts["concept"][1]),
        lambda e: ej.plot.best_ap(e, 0.7),
        lambda e: ej.plot.best_ap_per_layer(e),
        lambda e: ej.plot.overlap(e, k=5),
        lambda e: ej.plot.presence([e], 0.7),
    ],
)
def test_every_figure_is_drawn(
    result: Expertise, draw: Callable[[Expertise], Figure], tmp_path: Path
) -> None:
    figure = draw(result)
    assert isinstance(figure, Figure) and figure.axes
    assert figure._repr_png_().startswith(b"\x89PNG")
    figure.savefig(tmp_path / "figure.svg")
    assert "</svg>" in (tmp_path / "figure.svg").read_text("utf-8")


def test_best_ap_shows_the_best_first(result: Expertise) -> None:
    (ax,) = ej.plot.best_ap(result).axes
    (best,) = [line for line in ax.lines if line.get_label() == "best AP"]
    shown = np.sort(result.metric("ap").max(1))[::-1]
    np.testing.assert_allclose(best.get_xdata(), shown, rtol=1e-6)


def test_one_concept_has_its_own_experts(result: Expertise) -> None:
    key = result.concepts["concept"][0]
    (ax,) = ej.plot.experts_per_layer(result, 0.6, key).axes
    drawn = sum(bar.get_height() for bar in ax.patches)
    floor = result.concepts["null_threshold"][0]  # luck makes no expert
    assert 0.6 < floor < 1
    assert drawn == (result.metric("ap", key) >= floor).sum() > 0


def test_a_concept_is_called_by_its_name(result: Expertise) -> None:
    key = result.concepts["concept"][0]
    figure = ej.plot.ap_distribution(result, short_name(key))
    assert figure.axes[0].get_xlabel() == f"AP for {short_name(key)}"
    pd.testing.assert_frame_equal(result.top(short_name(key)), result.top(key))


def test_unknown_concepts_and_too_few_models_are_refused(result: Expertise) -> None:
    with pytest.raises(ej.InputError, match="no concept 'a/b'"):
        ej.plot.ap_distribution(result, "a/b")
    with pytest.raises(ej.InputError, match="1 models have a result and a score"):
        ej.plot.ranking([result], {"tiny-gpt2": 1.0})
