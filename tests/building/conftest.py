"""A WordNet of a few synsets, in the files and columns of the real one."""

import os
from pathlib import Path

import pytest

HEADER = "  1 This is the licence of a tiny WordNet.  \n  2   \n  3 Keep it.  \n"

# (part, ss_type, lexname, lemmas, pointers [(sign, lemma)], gloss)
SYNSETS = [
    ("n", "n", 5, ["animal"], [("~", "bird"), ("~", "fish")], "a living organism"),
    (
        "n",
        "n",
        5,
        ["bird"],
        [("@", "animal"), ("~", "crow"), ("~", "penguin"), ("~", "raptor")],
        'warm-blooded vertebrates with feathers; lay eggs; "the bird sang all day"',
    ),
    ("n", "n", 5, ["crow"], [("@", "bird")], "black bird having a raucous call"),
    ("n", "n", 5, ["penguin"], [("@", "bird")], "flightless swimmer of cold seas"),
    (
        "n",
        "n",
        5,
        ["raptor", "bird_of_prey"],
        [("~i", "Tom"), ("~", "eagle")],
        "any of many carnivorous hunters of the air",
    ),
    ("n", "n", 5, ["eagle"], [], "large keen-sighted hunter of the day"),
    ("n", "n", 18, ["Tom"], [], "the eagle that lived in our town"),
    (
        "n",
        "n",
        5,
        ["fish"],
        [("~", "penguin"), ("~", "trout")],
        'scaly swimmers that breathe by gills; "the fish ate a crow somehow"',
    ),
    ("n", "n", 5, ["trout"], [], "food swimmer of clear cold streams"),
    ("n", "n", 6, ["chair"], [], "a seat for one person only"),
    ("n", "n", 6, ["nest"], [], "a structure in which a bird lays"),
    ("n", "n", 6, ["lamp"], [], "a device that gives us light"),
    ("v", "v", 38, ["fly", "wing"], [], 'travel through the air; "man cannot fly"'),
    (
        "a",
        "s",
        0,
        ["ardent(a)"],
        [],
        'glowing like fire; "ardent eyes"- Alexander Pope',
    ),
    ("r", "r", 2, ["badly"], [], 'in a bad way; "he sings badly'),
]
NAMES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
DIGITS = {"n": 1, "v": 2, "a": 3, "r": 4, "s": 5}
FRAMES = " 01 + 08 00"


def _write(folder: Path) -> Path:
    folder.mkdir()
    offsets = {row[3][0]: 1000 + 10 * at for at, row in enumerate(SYNSETS)}
    senses = []
    lines: dict[str, list[str]] = {part: [] for part in NAMES}
    for part, kind, lexname, lemmas, pointers, gloss in SYNSETS:
        offset = offsets[lemmas[0]]
        words = " ".join(f"{lemma} 0" for lemma in lemmas)
        links = "".join(f" {sign} {offsets[to]:08d} n 0000" for sign, to in pointers)
        frames = FRAMES if part == "v" else ""
        lines[part].append(
            f"{offset:08d} {lexname:02d} {kind} {len(lemmas):02x} {words} "
            f"{len(pointers):03d}{links}{frames} | {gloss}  \n"
        )
        for lemma in lemmas:
            key = f"{lemma.removesuffix('(a)').lower()}%{DIGITS[kind]}:{lexname:02d}"
            senses.append(f"{key}:00:: {offset:08d} 1 0\n")
    for part, name in NAMES.items():
        (folder / f"data.{name}").write_text(HEADER + "".join(lines[part]))
    (folder / "index.sense").write_text("".join(sorted(senses)))
    return folder


@pytest.fixture
def tiny_wordnet(tmp_path: Path) -> Path:
    return _write(tmp_path / "dict")


@pytest.fixture(scope="session")
def real_wordnet() -> Path:
    places = [os.environ.get("EXPERTJAX_WORDNET"), "/usr/share/wordnet"]
    if home := os.environ.get("WNHOME"):
        places.append(f"{home}/dict")
    for place in places:
        if place and (Path(place) / "index.sense").is_file():
            return Path(place)
    pytest.skip("no WordNet 3.0 here; set EXPERTJAX_WORDNET to its dict folder")
