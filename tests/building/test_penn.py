"""Sentences put together again from their tokens."""

import pytest

from expertjax.building.penn import has_placeholder, join_tokens


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("He did n't say `` yes '' .", 'He didn\'t say "yes."'),
        ("`` Stop '' ! she cried .", '"Stop!" she cried.'),
        ("The boys ' dog , Ann 's cat", "The boys' dog, Ann's cat"),
        ("She said , ' Do n't worry '", "She said, 'Don't worry'"),
        ("in ( ' 58 ) and then", "in ('58) and then"),
        ("It took_place in New_York .", "It took place in New York."),
        ("an 11 - year old won 6 - 3", "an 11-year old won 6-3"),
        ("no word - none - came", "no word - none - came"),
        ("$ 600 or .0044 % of it", "$600 or .0044% of it"),
        ("at 40 Mc / sec -LRB- often -RRB-", "at 40 Mc/sec (often)"),
        ("Pat O_'_Banion ate 'em , we 'll see", "Pat O'Banion ate 'em, we'll see"),
        ('a " b " c', 'a "b" c'),
        ("Charles 12 , , the king", "Charles 12, the king"),
        ("", ""),
    ],
)
def test_join(tokens: str, text: str):
    assert join_tokens(tokens.split()) == text


def test_gaps_of_the_corpus():
    for gap in ("**f", "*", "La^utner", "World_War_/2", "/1"):
        assert has_placeholder(["a", gap])
    assert not has_placeholder(["1/2", "/", "Mc", "-", "O_'_Banion"])
