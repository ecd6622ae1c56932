"""Words, Self-BLEU, perplexity, parity points."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation import scores
from expertjax.generation.perplexity import log_likelihood, perplexity
from expertjax.generation.sweep import at_parity, parity_points
from tests import bounds

TEXTS = [
    "The players kicked the ball across the muddy field.",
    "Rain fell on the market.",
    "She",
    "",
    "Two white cranes flew low above the quiet water while it rained and rained.",
]


def test_words_stand_alone() -> None:
    texts = ["Her ball.", "a football", "BALL", "balls", "the goal-keeper"]
    found = scores.has_word(texts, ["ball", "goal"])
    assert found.tolist() == [True, False, True, False, True]


def test_a_pronoun_has_to_end_within_five_characters() -> None:
    cases = {
        " she said": True,
        " her, too": True,
        " he's": True,
        " hers": False,
        ", she went": False,  # ends with the fifth character
        ", sheet": False,
        " the man, he": False,
        " herself": False,
        "": False,
    }
    words = ["she", "her", "he"]
    assert scores.begins_with_word(list(cases), words).tolist() == list(cases.values())


def test_self_bleu_is_one_for_copies_and_low_for_strangers() -> None:
    assert scores.self_bleu(["a b c d e"] * 3, 4) == pytest.approx(1)
    few = scores.self_bleu(["a b c d e", "f g h i j", "k l m n o"], 4)
    assert few < 0.1
    some = scores.self_bleu(["a b c d e", "a b c x y", "k l m n o"], 3)
    assert few < some < 1


def test_self_bleu_by_hand() -> None:
    """BLEU-2 of "a b c" against "a b d": unigrams 2/3, bigrams 1/2."""
    got = scores.self_bleu(["a b c", "a b d"], 2)
    assert got == pytest.approx((2 / 3 * 1 / 2) ** 0.5)


def test_perplexity_is_that_of_torch(tiny_gpt2: Model, tiny_gpt2_folder: Any) -> None:
    torch = pytest.importorskip("torch")
    from tests.torch_reference import load_torch

    model = load_torch(tiny_gpt2_folder, "GPT2LMHeadModel")
    got = perplexity(tiny_gpt2, TEXTS)
    for text, ours in zip(TEXTS, got, strict=True):
        ids = torch.tensor([tiny_gpt2.tokenizer(text).input_ids], dtype=torch.long)
        if ids.shape[1] < 2:
            assert np.isnan(ours)
            continue
        with torch.no_grad():
            loss = model(ids, labels=ids).loss
        allowed = bounds.of_model(tiny_gpt2)
        assert ours == pytest.approx(float(torch.exp(loss)), rel=allowed)


def test_log_likelihood_does_not_depend_on_the_batch(tiny_gpt2: Model) -> None:
    total, count = log_likelihood(tiny_gpt2, TEXTS * 3)
    for i, text in enumerate(TEXTS):
        alone, number = log_likelihood(tiny_gpt2, [text])
        allowed = bounds.of_model(tiny_gpt2)
        np.testing.assert_allclose(total[i :: len(TEXTS)], alone[0], rtol=allowed)
        assert (count[i :: len(TEXTS)] == number[0]).all()


def test_an_encoder_has_no_perplexity(tiny_bert: Model) -> None:
    with pytest.raises(InputError, match="bert is no causal model"):
        perplexity(tiny_bert, TEXTS)


def test_parity_points_are_where_the_difference_crosses() -> None:
    k = [0, 1, 3, 10]
    cases = {
        "between": ([-0.4, -0.2, 0.2, 0.5], 2.0),
        "at": ([-0.4, 0.0, 0.2, 0.5], 1.0),
        "downwards": ([0.3, 0.1, 0.1, -0.6], 4.0),
        "never": ([0.3, 0.1, 0.2, 0.1], np.nan),
        "from the start": ([0.0, 0.1, 0.2, 0.1], 0.0),
    }
    table = pd.DataFrame(
        [
            {"forced": "x", "context": name, "num_units": n, "difference": d}
            for name, (differences, _) in cases.items()
            for n, d in zip(k, differences, strict=True)
        ]
    )
    points = parity_points(table).set_index("context")["num_units"]
    for name, (_, wanted) in cases.items():
        np.testing.assert_allclose(points[name], wanted)


def test_the_cost_of_parity_lies_between_the_values_of_k() -> None:
    table = pd.DataFrame(
        {
            "forced": ["x"] * 4,
            "context": ["a", "a", "b", "b"],
            "num_units": [0, 10, 0, 10],
            "difference": [-0.1, 0.3, -0.3, 0.1],
            "perplexity": [10.0, 30.0, 20.0, 40.0],
            "self_bleu_3": [0.2, 0.4, 0.2, 0.4],
            "self_bleu_4": [0.1, 0.1, 0.1, 0.1],
        }
    )
    [row] = at_parity(table, parity_points(table)).to_dict("records")
    # Parity at 2.5 and 7.5; the mean perplexity goes from 15 to 35.
    assert row == pytest.approx(
        {
            "forced": "x",
            "prompts": 2,
            "num_units": 5.0,
            "perplexity": 25.0,
            "self_bleu_3": 0.3,
            "self_bleu_4": 0.1,
        }
    )
