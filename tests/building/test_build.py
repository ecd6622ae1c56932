"""Whole folders from every source, and the program."""

import subprocess
import sys
from pathlib import Path

import pytest

from expertjax.building.build import Source, build_folder
from expertjax.building.settings import BuildSettings
from expertjax.concepts.files import read_concepts
from expertjax.errors import InputError
from tests.building.corpora import document, plain, semcor_tar, sentence, tagged
from tests.data import data_folder

NAMES = ("bird", "crow", "eagle", "fish", "trout", "chair", "lamp", "nest")
SMALL = BuildSettings(
    min_positives=4, num_negatives=20, min_words=2, hyponyms=True, max_jaccard=0.9
)


@pytest.fixture
def semcor(tmp_path: Path) -> Path:
    sentences = []
    for at in range(64):
        name = NAMES[at % 8]
        file = 6 if name in ("chair", "lamp", "nest") else 5
        sense = f"{name}%1:{file:02d}:00::"
        sentences.append(sentence(plain(f"Number n{at} is a"), tagged(name, sense)))
    files = {f"brown1_br-a0{at}": document(*sentences[at::2]) for at in (0, 1)}
    return semcor_tar(tmp_path / "semcor.tar.xz", files)


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_semcor(semcor: Path, tiny_wordnet: Path, tmp_path: Path):
    source = Source("semcor", (str(semcor),), str(tiny_wordnet))
    built, _ = build_folder(source, tmp_path / "a", SMALL)
    assert read_concepts(tmp_path / "a") == built
    bird = next(one for one in built if one.key == "sense/bird-1_05_00__")
    assert len(bird.positives) == 24  # bird, crow, eagle
    assert not any(name in text for text in bird.negatives for name in NAMES[:3])
    # raptor has the same sentences as eagle, which alone is named.
    keys = [one.key for one in built]
    assert "sense/eagle-1_05_00__" in keys and "sense/raptor-1_05_00__" not in keys
    for concept in built:
        assert not set(concept.positives) & set(concept.negatives)
    files = _bytes(tmp_path / "a")
    assert b"Keep this licence" in files["semcor.LICENSE"]
    assert b"licence of a tiny WordNet" in files["LICENSE.wordnet.txt"]
    assert b"warm-blooded vertebrates" in files["definitions.csv"]
    assert b"positive and negative: 0" in files["report.md"]
    build_folder(source, tmp_path / "b", SMALL)
    assert _bytes(tmp_path / "b") == files


def test_tasks_and_merging(semcor: Path, tiny_wordnet: Path, tmp_path: Path):
    source = Source("semcor", (str(semcor),), str(tiny_wordnet))
    settings = BuildSettings(4, 50, 20, 2, hyponyms=True, tasks_share=0.3)
    built, tasks = build_folder(source, tmp_path / "a", settings, tmp_path / "t")
    assert tasks and not {one.key for one in built} & {one.key for one in tasks}
    for task in read_concepts(tmp_path / "t"):
        assert len(task.positives) == len(task.negatives)
    folders = tuple(str(tmp_path / name) for name in ("a", "t", "a"))
    merge = BuildSettings(4, 1000, 1000, 2)
    merged, _ = build_folder(Source("selfcond", folders), tmp_path / "m", merge)
    assert sorted(one.key for one in built + tasks) == [one.key for one in merged]
    assert set(built + tasks) == set(merged)  # sentence by sentence
    files = _bytes(tmp_path / "m")
    assert files["semcor.LICENSE"] == _bytes(tmp_path / "a")["semcor.LICENSE"]
    assert b"warm-blooded vertebrates" in files["definitions.csv"]
    assert f"earlier --input has too | {len(built)}".encode() in files["report.md"]
    cut = BuildSettings(4, 1000, 3, 2, num_concepts=4)
    merged, _ = build_folder(Source("selfcond", folders), tmp_path / "c", cut)
    assert len(merged) == 4 and max(len(one.negatives) for one in merged) == 3


def test_wordnet_without_roots(tiny_wordnet: Path, tmp_path: Path):
    settings = BuildSettings(min_positives=2, num_negatives=50)
    source = Source("wordnet", (str(tiny_wordnet),))
    built, _ = build_folder(source, tmp_path / "out", settings)
    fish = next(one for one in built if one.name == "fish-1_05_00__")
    assert "Food swimmer of clear cold streams." in fish.positives
    assert "A structure in which a bird lays." in fish.negatives
    assert not any("fish" in text.lower() for text in fish.negatives)
    assert read_concepts(tmp_path / "out") == built


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ({"kind": "nltk", "inputs": ("a",)}, {}, "--source=nltk"),
        ({"kind": "semcor", "inputs": ("a", "b")}, {}, "--input is given 2 times"),
        ({"kind": "selfcond", "inputs": ()}, {}, "--input is given 0 times"),
        ({"kind": "table", "inputs": ("a",), "wordnet": "w"}, {}, "--wordnet is for"),
        ({"kind": "wsd", "inputs": ("a",), "roots": ("r",)}, {}, "--roots is for"),
        ({"kind": "semcor", "inputs": ("a",)}, {"hyponyms": True}, "needs --wordnet"),
        ({"kind": "wsd", "inputs": ("a",)}, {"tasks_share": 0.1}, "give both"),
        ({"kind": "wsd", "inputs": ("a",)}, {"kinds": ("topic",)}, "--kinds=topic"),
        ({"kind": "wsd", "inputs": ("a",)}, {"parts": ("pronoun",)}, "--parts="),
        ({"kind": "wsd", "inputs": ("a",)}, {"max_jaccard": 2.0}, "--max_jaccard=2"),
        ({"kind": "wsd", "inputs": ("a",)}, {"negative_pool": 9}, "--negative_pool=9"),
        ({"kind": "wsd", "inputs": ("a",)}, {"num_concepts": 0}, "--num_concepts=0"),
        ({"kind": "wordnet", "inputs": ("a",)}, {"kinds": ("homograph",)}, "--kinds"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, given: dict, more: dict, message: str):
    with pytest.raises(InputError, match=message):
        build_folder(Source(**given), tmp_path / "out", BuildSettings(**more))
    assert not (tmp_path / "out").exists()


def test_tasks_need_a_folder_of_their_own(semcor: Path, tmp_path: Path):
    settings = BuildSettings(4, 50, 20, 2, tasks_share=0.3)
    source, out = Source("semcor", (str(semcor),)), tmp_path / "out"
    with pytest.raises(InputError, match="is --out"):
        build_folder(source, out, settings, tmp_path / "x" / ".." / "out")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="not empty"):
        build_folder(source, out, settings, tmp_path / "t")
    assert not out.exists()  # the first is not written where the second cannot be


def test_program(tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_text("text,concept\na red ball,toy\na long ship,boat\nthe sea,\n")
    command = [sys.executable, "-m", "binaries.build_concepts", "--source=table"]
    command += [f"--input={table}", f"--out={tmp_path}/out", "--min_positives=1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*command, "--min_words=2"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"2 concepts in {tmp_path}/out\n"
    assert "| table | 2 |" in (tmp_path / "out" / "report.md").read_text()
    wrong = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert wrong.returncode == 1 and "--overwrite" in wrong.stderr


def test_real_semcor(real_wordnet: Path, tmp_path: Path):
    """Nouns of 300 positives or more; no sentence is both, none has a gap."""
    archive = data_folder("semcor") / "semcor_orig.tar.xz"
    settings = BuildSettings(
        *(300, 300, 300, 5, 60), hyponyms=True, min_negatives=300, max_share=0.3
    )
    source = Source("semcor", (str(archive),), str(real_wordnet))
    built, _ = build_folder(source, tmp_path / "out", settings)
    assert read_concepts(tmp_path / "out") == built
    assert len(built) >= 100
    for concept in built:
        assert len(set(concept.positives) | set(concept.negatives)) == 600
        for text in concept.positives + concept.negatives:
            assert "``" not in text and "_" not in text and " n't" not in text
            assert 5 <= len(text.split()) <= 60
    names = {one.name for one in built}
    assert {"animal-1_03_00__", "city-1_15_00__"} & names
