from typing import Any

import numpy as np
import pytest

import expertjax as ej
from expertjax.models.sites import UnitTable
from tests import bounds
from tests.capturing.every_token import every_token

TEXTS = ["The crowd cheered.", "She read the old letter twice and put it away.", "Rain"]
COLUMNS = ["text", "unit", "position", "token", "start", "end", "activation"]


def test_every_token_of_every_text(tiny_bert: Any) -> None:
    table = UnitTable.build(tiny_bert.sites, tiny_bert.num_layers)
    units = [700, 3, table.num_units - 1]
    found = ej.token_activations(tiny_bert, TEXTS, units)
    assert list(found) == COLUMNS
    assert list(found["text"].unique()) == [0, 1, 2]
    wanted = every_token(tiny_bert, table, TEXTS, units)
    allowed = bounds.of_model(tiny_bert) * np.concatenate(wanted).std()
    for number, z_TxU in enumerate(wanted):
        of_text = found[found["text"] == number]
        assert list(of_text["unit"].unique()) == units
        for unit, z_T in zip(units, z_TxU.T, strict=True):
            rows = of_text[of_text["unit"] == unit]
            assert np.abs(rows["activation"] - z_T).max() < allowed
            assert list(rows["position"]) == list(range(len(z_T)))
            assert [rows["token"].iloc[i] for i in (0, -1)] == ["[CLS]", "[SEP]"]
            inner = rows.iloc[1:-1]
            for start, end, token in inner[["start", "end", "token"]].to_numpy():
                assert TEXTS[number][start:end] == token


def test_sites_and_a_single_text(tiny_gpt2: Any) -> None:
    found = ej.token_activations(tiny_gpt2, TEXTS[0], [1], sites=":residual")
    table = UnitTable.build(tiny_gpt2.sites, tiny_gpt2.num_layers, ":residual")
    [z_TxU] = every_token(tiny_gpt2, table, TEXTS[:1], [1])
    bounds.assert_outputs(found["activation"], z_TxU[:, 0], bounds.of_model(tiny_gpt2))


@pytest.mark.parametrize(
    ("texts", "units", "message"),
    [
        (TEXTS, [-1], "unit -1 is not one of"),
        (TEXTS, [10**6], "unit 1000000 is not one of"),
        (TEXTS, [], "at least one text and one unit"),
        ([], [1], "at least one text and one unit"),
        ([""], [1], "has no token"),
        (["ball " * 100], [1], "only 64 positions"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tiny_gpt2: Any, texts: list[str], units: list[int], message: str
) -> None:
    with pytest.raises(ej.InputError, match=message):
        ej.token_activations(tiny_gpt2, texts, units)
