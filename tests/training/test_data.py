import numpy as np
import pytest

from expertjax.training.data import END, PackedLines, split_lines, train_tokenizer

LINES = [f"line number {i} of the text" for i in range(2000)]


def test_a_line_falls_on_the_same_side_whatever_else_there_is():
    train, heldout = split_lines(LINES, 0.1)
    assert sorted(train + heldout) == sorted(LINES)
    few_train, few_heldout = split_lines(LINES[::-3], 0.1)
    assert set(few_train) <= set(train)
    assert set(few_heldout) <= set(heldout)


def test_the_share_that_is_held_out_is_about_what_was_asked_for():
    _, heldout = split_lines(LINES, 0.1)
    assert 0.07 < len(heldout) / len(LINES) < 0.13
    # A larger share holds the smaller one.
    assert set(heldout) < set(split_lines(LINES, 0.2)[1])


def test_repeated_lines_are_kept_once_so_that_none_is_on_both_sides():
    train, heldout = split_lines(LINES + LINES[::-1], 0.1)
    assert len(train + heldout) == len(set(train + heldout)) == len(LINES)
    assert train == split_lines(LINES, 0.1)[0]


def test_a_tokenizer_gives_back_any_text():
    tokenizer = train_tokenizer(LINES, 300)
    assert len(tokenizer) == 300
    for text in ("line number 7", "  two  spaces", "犬 Ærø\tx"):
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.convert_tokens_to_ids(END) == tokenizer.eos_token_id
    assert len(tokenizer("line number 7").input_ids) < 6


def token_lines(count: int, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [
        [100 * i + j for j in range(random.integers(1, 12))] for i in range(1, count)
    ]


@pytest.mark.parametrize("length", [1, 5, 31])
def test_rows_are_whole_lines_but_for_the_last(length: int):
    lines = token_lines(50)
    rows = PackedLines(lines, 0, length).epoch(3)
    assert rows.shape[1] == length + 1
    assert rows.dtype == np.int32
    known = {line[0]: [*line, 0] for line in lines}
    used: list[int] = []
    for row in rows:
        at = 0
        while at < len(row):
            line = known[row[at]]  # every piece begins where a line begins
            assert row[at : at + len(line)].tolist() == line[: len(row) - at]
            used.append(line[0])
            at += len(line)
    assert len(used) == len(set(used))


def test_every_epoch_has_an_order_of_its_own_that_can_be_had_again():
    packed = PackedLines(token_lines(50), 0, 16)
    assert packed.num_tokens == sum(len(line) + 1 for line in token_lines(50))
    assert (packed.epoch(1) == packed.epoch(1)).all()
    assert packed.epoch(1)[0].tolist() != packed.epoch(2)[0].tolist()


def test_too_few_tokens_make_no_row():
    assert PackedLines([[1, 2, 3]], 0, 16).epoch(0).shape == (0, 17)
