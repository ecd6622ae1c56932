import numpy as np
import pytest

from expertjax.training.baselines import bigram_perplexity, unigram_perplexity


def test_unigram_counts_start_at_one():
    # Counts of [0, 1, 2] are 3, 1, 0, with one more each: 4/7, 2/7, 1/7.
    train, heldout = [[0, 0], [1, 0]], [[1, 0, 2], [0, 1]]
    wanted = (4 / 7 * 1 / 7 * 2 / 7) ** (-1 / 3)
    assert unigram_perplexity(train, heldout, 3) == pytest.approx(wanted)


def test_unigrams_of_even_text_are_as_many_as_the_vocabulary():
    lines = [list(range(50))]
    rows = [[0, *range(50)]]
    assert unigram_perplexity(lines, rows, 50) == pytest.approx(50)


def test_bigrams_are_discounted_and_backed_off():
    # After the start (9): 1 twice, 2 once. After 1: 2. After 2: 1.
    train = [[1, 2], [1], [2, 1]]
    # Token 1 follows {9, 2}, token 2 follows {9, 1}; all ten begin at one.
    continuation = {1: 3 / 14, 2: 3 / 14, 3: 1 / 14}
    p_1 = (2 - 0.75) / 3 + 0.75 * 2 / 3 * continuation[1]  # 1 after 9
    p_2 = 0 / 1 + 0.75 * 1 / 1 * continuation[3]  # 3 after 1
    p_3 = continuation[2]  # 2 after 3, which was never seen
    wanted = (p_1 * p_2 * p_3) ** (-1 / 3)
    assert bigram_perplexity(train, [[9, 1, 3, 2]], 10, 9) == pytest.approx(wanted)


def test_bigram_probabilities_sum_to_one():
    random = np.random.default_rng(0)
    train = [random.integers(0, 7, 9).tolist() for _ in range(20)]
    for before in range(7):
        total = sum(
            1 / bigram_perplexity(train, [[before, token]], 8, 7) for token in range(8)
        )
        assert total == pytest.approx(1)


def test_bigrams_know_order_that_unigrams_do_not():
    lines = [[i % 10, (i + 1) % 10, (i + 2) % 10] for i in range(100)]
    assert unigram_perplexity(lines, lines, 11) > 9
    assert bigram_perplexity(lines, lines, 11, 10) < 4
