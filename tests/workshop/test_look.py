"""A close look at a text: activations, what comes next, what is unusual."""

import numpy as np
import pytest

import expertjax as ej
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.workshop.rendering import heat_html, token_html
from expertjax.workshop.studio import Studio

TEXT = "The players kicked the ball."


def test_activations_are_those_of_the_facade(studio: Studio, tiny_gpt2: Model) -> None:
    looked = studio.looker.look(TEXT)
    z = ej.token_activations(tiny_gpt2, TEXT, [3, 500])["activation"]
    np.testing.assert_allclose(
        looked.z_TxU[:, [3, 500]].T.ravel(), z, rtol=1e-4, atol=1e-5
    )
    html = heat_html(looked, [3, 500])
    assert html.count("data-token=") == 2 * len(looked.spans)
    assert "Unit 500" in html and f">{looked.spans[1].token}</button>" in html


def test_the_likeliest_next_token_is_the_one_that_is_written(
    studio: Studio, tiny_gpt2: Model
) -> None:
    looked = studio.looker.look(TEXT)
    token, p = looked.candidates[-1][0]
    settings = {"max_new_tokens": 1, "temperature": 0.0, "stop_at_end": False}
    [written] = ej.generate(tiny_gpt2, TEXT, **settings)["continuation"]
    assert token == written and 0 < p <= 1


def test_what_is_unusual_at_a_token(studio: Studio) -> None:
    looked = studio.looker.look(TEXT)
    table = studio.looker.unusual(looked, 2)
    mean_U, sd_U = studio.looker._usual
    far_U = np.abs((looked.z_TxU[2] - mean_U) / sd_U)
    assert table["unit"][0] == far_U.argmax()
    assert abs(table["deviations"][0]) == pytest.approx(far_U.max())
    html = token_html(looked, 2, table)
    assert "Most likely next" in html and f">{table['unit'][0]}</td>" in html


def test_what_cannot_be_looked_at_is_refused(studio: Studio) -> None:
    for text, said in (
        ("", "no text"),
        ("x" * 5000, "5,000 characters; at most 4,000"),
        ("ball " * 200, r"at most 64"),
    ):
        with pytest.raises(InputError, match=said):
            studio.looker.look(text)
    with pytest.raises(InputError, match="no token 99"):
        studio.looker.unusual(studio.looker.look(TEXT), 99)
    with pytest.raises(InputError, match="unit 9999 is not one"):
        studio.looker.check_units([9999])


def test_texts_are_escaped(studio: Studio) -> None:
    html = heat_html(studio.looker.look("<script>${alert(1)}</script> {{x}}"), [1])
    assert "<script" not in html and "${" not in html and "{{" not in html
