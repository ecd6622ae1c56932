"""Reading WordNet's database files: lines, glosses, senses, closures, damage."""

from pathlib import Path

import pytest

from expertjax.building.glosses import as_sentence, parse_gloss
from expertjax.building.wordnet import (
    parse_synset,
    read_licence,
    read_synsets,
    read_wordnet,
)
from expertjax.errors import InputError


def test_reads_every_field(tiny_wordnet: Path):
    wordnet = read_wordnet(tiny_wordnet)
    raptor = wordnet.synset("bird_of_prey%1:05:00::")
    assert raptor.lemmas == ("raptor", "bird of prey")
    assert (raptor.part, raptor.pos, raptor.lexname) == ("n", "n", 5)
    assert raptor.definition == "any of many carnivorous hunters of the air"
    assert len(raptor.hyponyms) == 2  # the instance `~i` counts
    assert wordnet.sense_key(raptor) == "raptor%1:05:00::"
    ardent = wordnet.synset("ardent%5:00:00::")
    assert (ardent.part, ardent.pos, ardent.lemmas) == ("a", "s", ("ardent",))
    assert ardent.examples == ("ardent eyes",)
    assert wordnet.synset("wing%2:38:00::").examples == ("man cannot fly",)


def test_closure_goes_down_once_through_shared_hyponyms(tiny_wordnet: Path):
    wordnet = read_wordnet(tiny_wordnet)
    closure = wordnet.hyponym_closure(wordnet.synset("animal%1:05:00::"))
    words = [synset.lemmas[0] for synset in closure]
    assert words[0] == "animal"
    assert sorted(words[1:]) == sorted(
        ["bird", "fish", "crow", "penguin", "raptor", "trout", "Tom", "eagle"]
    )


def test_order_is_that_of_the_files(tiny_wordnet: Path):
    parts = [synset.part for synset in read_synsets(tiny_wordnet)]
    assert "".join(dict.fromkeys(parts)) == "nvar"


def test_licence_without_line_numbers(tiny_wordnet: Path):
    licence = read_licence(tiny_wordnet)
    assert licence == "This is the licence of a tiny WordNet.\n\nKeep it.\n"


@pytest.mark.parametrize(
    ("gloss", "definition", "examples"),
    [
        ("a plain one  ", "a plain one", []),
        ("one; two (three)", "one; two (three)", []),
        ('lit; "a b"; "c d"', "lit", ["a b", "c d"]),
        ('lit; "a; b c"', "lit", ["a; b c"]),  # a semicolon inside quotes
        (
            'lit; "darts her eyes"- Alexander Pope; "x y"',
            "lit",
            ["darts her eyes", "x y"],
        ),
        ('lit; "from the sea" - G.H.Johnston', "lit", ["from the sea"]),
        ('lit; "a b", "c d"', "lit", ["a b", "c d"]),
        ('lit; "no end', "lit", ["no end"]),
        ('lit; drop names"', "lit", ["drop names"]),
        ('lit; "he feared:; "he fled"', "lit", ["he feared:", "he fled"]),
        ('move, "He pushed it"', "move", ["He pushed it"]),
        ('reach a goal, e.g., "make it"', 'reach a goal, e.g., "make it"', []),
        ('in the phrase "make strides"', 'in the phrase "make strides"', []),
        ('lit; "block" is a British term', "lit", []),
        ('lit; "the `new\' nations"', "lit", ["the 'new' nations"]),
        ('"only quoted words"', "only quoted words", []),
    ],
)
def test_parse_gloss(gloss: str, definition: str, examples: list[str]):
    assert parse_gloss(gloss) == (definition, examples)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a  bird", "A bird."),
        ("who goes there?", "Who goes there?"),
        ('she said "no."', 'She said "no."'),
        ("he feared:", "He feared."),
        ("", ""),
    ],
)
def test_as_sentence(text: str, sentence: str):
    assert as_sentence(text) == sentence


def test_parse_synset_counts_lemmas_in_hexadecimal():
    words = " ".join(f"w{at} 0" for at in range(16))
    line = f"00000007 03 n 10 {words} 001 ~ 00000009 n 0000 | many words"
    synset = parse_synset(line, "n")
    assert len(synset.lemmas) == 16
    assert synset.hyponyms == (9,)


def test_unknown_sense_names_the_ones_there_are(tiny_wordnet: Path):
    wordnet = read_wordnet(tiny_wordnet)
    with pytest.raises(InputError, match="this word has bird%1:05:00::"):
        wordnet.synset("bird%1:18:00::")
    with pytest.raises(InputError, match="expected WordNet's form"):
        wordnet.synset("bird")


def test_missing_file_is_named(tiny_wordnet: Path):
    (tiny_wordnet / "index.sense").unlink()
    with pytest.raises(InputError, match=r"index\.sense: not found"):
        read_wordnet(tiny_wordnet)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("data.noun", "00000001 05 n zz bird\n", "data.noun, line 16"),
        ("data.noun", "00000001 05 n 02 bird 0 000 | x\n", "data.noun, line 16"),
        (
            "data.noun",
            "00000001 05 n 01 x 0 001 ~ 00000002 n 0000 | x\n",
            "points to 2",
        ),
        ("index.sense", "bird%1:05:00:: 00000001 1 0\n", "index.sense, line 18"),
        ("index.sense", "nonsense\n", "index.sense, line 18"),
    ],
)
def test_damage_is_named(tiny_wordnet: Path, name: str, line: str, message: str):
    with (tiny_wordnet / name).open("a") as file:
        file.write(line)
    with pytest.raises(InputError, match=message):
        read_wordnet(tiny_wordnet)


def test_not_text(tiny_wordnet: Path):
    (tiny_wordnet / "data.verb").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"data\.verb: cannot be read"):
        list(read_synsets(tiny_wordnet))


def test_real_wordnet(real_wordnet: Path):
    wordnet = read_wordnet(real_wordnet)
    assert len(wordnet.synsets) == 117659  # wnstats(7WN)
    assert all(synset.definition for synset in wordnet.synsets.values())
    bird = wordnet.synset("bird%1:05:00::")
    assert bird.definition.startswith("warm-blooded egg-laying vertebrates")
    assert len(wordnet.hyponym_closure(bird)) == 872
    assert "Princeton" in read_licence(real_wordnet)
