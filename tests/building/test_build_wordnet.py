"""Concepts out of WordNet, the folder they are written to, and the shipped set."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import expertjax.building.write as write_room
from expertjax.building.build import Source, build_folder
from expertjax.building.build_wordnet import find_topics
from expertjax.building.draw import draw_concepts
from expertjax.building.inventory import concept_name
from expertjax.building.settings import BuildSettings
from expertjax.building.wordnet import WordNet, read_wordnet
from expertjax.building.wordnet_topics import choose_topics
from expertjax.building.write import write_concepts
from expertjax.concepts.files import Concept, read_concepts
from expertjax.concepts.form import forms
from expertjax.errors import InputError

SHIPPED = (
    Path(write_room.__file__).parents[1] / "assets" / "concepts" / "wordnet_topics"
)
BIRD, FISH = "bird%1:05:00::", "fish%1:05:00::"
SMALL = BuildSettings(min_positives=2, max_positives=50, num_negatives=50)


def build_concepts(wordnet: WordNet, roots: list[str], settings: BuildSettings):
    """The topics in the order of their roots."""
    drafts = find_topics(wordnet, settings, roots)
    return draw_concepts(drafts.concepts, drafts.texts, settings)


TOY = Concept("sense", "toy", ("A ball.",), ("The sea é.",))


def test_positives_are_texts_of_the_closure(tiny_wordnet: Path):
    bird, fish = build_concepts(read_wordnet(tiny_wordnet), [BIRD, FISH], SMALL)
    assert bird.key == "sense/bird-1_05_00__"
    assert "The eagle that lived in our town." in bird.positives
    assert "Flightless swimmer of cold seas." in bird.positives
    assert "Flightless swimmer of cold seas." in fish.positives
    assert "A seat for one person only." not in bird.positives


def test_negatives_are_of_other_topics_and_do_not_name_it(tiny_wordnet: Path):
    bird, fish = build_concepts(read_wordnet(tiny_wordnet), [BIRD, FISH], SMALL)
    assert "A seat for one person only." in bird.negatives
    assert "Food swimmer of clear cold streams." in bird.negatives
    # In both closures: negative of neither.
    assert "Flightless swimmer of cold seas." not in bird.negatives + fish.negatives
    # Names the topic, though it is outside its closure.
    assert "A structure in which a bird lays." not in bird.negatives
    assert "A structure in which a bird lays." in fish.negatives
    for concept in (bird, fish):
        assert not set(concept.positives) & set(concept.negatives)


def test_texts_over_the_draw_limit_are_no_negatives(tiny_wordnet: Path):
    """A text of the closure stays out of the negatives even where not drawn."""
    wordnet = read_wordnet(tiny_wordnet)
    for seed in range(5):
        settings = BuildSettings(1, 2, 50, seed=seed)
        concepts = build_concepts(wordnet, [BIRD, FISH], settings)
        full = build_concepts(wordnet, [BIRD, FISH], SMALL)
        for concept, whole in zip(concepts, full, strict=True):
            assert len(concept.positives) == 2
            assert not set(concept.negatives) & set(whole.positives)


def test_lengths_and_seed(tiny_wordnet: Path):
    wordnet = read_wordnet(tiny_wordnet)
    settings = BuildSettings(1, 3, 2, min_words=6, max_words=7, seed=3)
    first = build_concepts(wordnet, [BIRD], settings)
    assert first == build_concepts(wordnet, [BIRD], settings)
    for text in first[0].positives + first[0].negatives:
        assert 6 <= len(text.split()) <= 7
    draws = {
        build_concepts(wordnet, [BIRD], BuildSettings(1, 3, 2, seed=seed))[0].positives
        for seed in range(8)
    }
    assert len(draws) > 1


def test_roots_that_cannot_be_used_are_all_named(tiny_wordnet: Path):
    wordnet = read_wordnet(tiny_wordnet)
    roots = ["raptor%1:05:00::", "bird_of_prey%1:05:00::", "emu%1:05:00::", FISH]
    with pytest.raises(InputError) as caught:
        build_concepts(wordnet, roots, BuildSettings(min_positives=5))
    message = str(caught.value)
    assert "bird_of_prey%1:05:00::: same synset as raptor%1:05:00::" in message
    assert "'emu%1:05:00::' is not in" in message
    assert f"{FISH}: 4 texts, but --min_positives=5" in message


def test_automatic_topics_do_not_nest_much(tiny_wordnet: Path):
    topics = choose_topics(read_wordnet(tiny_wordnet), SMALL)
    names = [topic.sense_key for topic in topics]
    assert names[0] == "raptor%1:05:00::"  # the narrowest
    assert FISH in names
    for one in topics:
        for other in topics:
            both = one.inside & other.inside
            assert one is other or len(both) <= 0.5 * len(one.inside | other.inside)


def test_no_topic_is_large_enough(tiny_wordnet: Path):
    with pytest.raises(InputError, match="lower --min_positives"):
        find_topics(read_wordnet(tiny_wordnet), BuildSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_positives": 0},
        {"min_positives": 9, "max_positives": 8},
        {"min_words": 9, "max_words": 8},
        {"num_negatives": 0},
        {"seed": -1},
    ],
)
def test_settings_out_of_range(wrong: dict[str, int]):
    with pytest.raises(InputError, match="--"):
        BuildSettings(**wrong)


def test_concept_name():
    assert concept_name("football%1:04:00::") == "football-1_04_00__"
    assert concept_name("tcp/ip%1:10:00::") == "tcp_ip-1_10_00__"


def test_folder_has_the_format_of_the_reference(tiny_wordnet: Path, tmp_path: Path):
    out = tmp_path / "deep" / "concepts"
    source = Source("wordnet", (str(tiny_wordnet),), roots=(FISH, BIRD))
    fish_last, _ = build_folder(source, out, SMALL)
    assert read_concepts(out) == fish_last
    listed = (out / "concept_list.csv").read_text()
    assert listed == "group,concept\nsense,bird-1_05_00__\nsense,fish-1_05_00__\n"
    content = json.loads((out / "sense" / "bird-1_05_00__.json").read_text())
    assert list(content) == ["concept", "group", "source", "sentences"]
    assert content["source"] == "wordnet"
    assert tuple(content["sentences"]["positive"]) == fish_last[0].positives
    assert tuple(content["sentences"]["negative"]) == fish_last[0].negatives
    table = list(csv.DictReader((out / "concepts.csv").open()))
    assert int(table[0]["n_pos"]) == len(fish_last[0].positives)
    assert "licence" in (out / "LICENSE.wordnet.txt").read_text()
    assert [path.name for path in out.parent.iterdir()] == ["concepts"]
    again = tmp_path / "again"
    build_folder(source, again, SMALL)
    for path in out.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(out)).read_bytes()


def test_text_is_utf8(tmp_path: Path):
    write_concepts([TOY], tmp_path / "out", "test")
    assert "The sea é." in (tmp_path / "out/sense/toy.json").read_text("utf-8")


def test_refuses_a_full_folder_unless_told(tmp_path: Path):
    out = tmp_path / "out"
    write_concepts([TOY], out, "test")
    with pytest.raises(InputError, match="pass --overwrite"):
        write_concepts([TOY], out, "test")
    (out / "sense" / "stale.json").write_text("{}")
    write_concepts([TOY], out, "test", overwrite=True)
    assert [path.name for path in (out / "sense").iterdir()] == ["toy.json"]


def test_never_replaces_what_is_not_a_concept_folder(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match=r"holds no concept_list\.csv"):
        write_concepts([TOY], tmp_path, "test", overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        write_concepts([TOY], tmp_path / "thesis.tex", "test", overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "dear"


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    write_concepts([TOY], out, "test")
    before = (out / "sense" / "toy.json").read_bytes()

    def full(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left"):
        write_concepts([TOY], out, "test", overwrite=True)
    assert (out / "sense" / "toy.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("concepts", "message"),
    [
        ([], "no concept at all"),
        ([TOY, TOY], "given twice"),
        ([Concept("sense", "../x", ("a",), ("b",))], "no valid name"),
        ([Concept("..", "x", ("a",), ("b",))], "no valid name"),
        ([Concept("g", "x", ("a",), ())], "needs positive and negative"),
        ([Concept("g", "x", ("a",), ("a", "b"))], "both positive and"),
    ],
)
def test_unusable_concepts(tmp_path: Path, concepts: list[Concept], message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        write_concepts(concepts, tmp_path / "out", "test")
    assert not (tmp_path / "out").exists()


def test_program(tiny_wordnet: Path, tmp_path: Path):
    """Two roots in one flag; then a mistake: one line, status 1, nothing written."""
    command = [sys.executable, "-m", "binaries.build_concepts"]
    command += [f"--input={tiny_wordnet}", f"--out={tmp_path}/out"]
    sizes = ["--min_positives=2", f"--roots={BIRD},{FISH}"]
    root = Path(__file__).parents[2]
    done = subprocess.run([*command, *sizes], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 concepts")
    wrong = subprocess.run([*command, *sizes], cwd=root, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: ") and "--overwrite" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_shipped_set():
    assert len(read_concepts(SHIPPED)) >= 24
    rows = list(csv.DictReader((SHIPPED / "concept_list.csv").open()))
    assert len(rows) == len(list(SHIPPED.rglob("*.json"))) >= 24
    for row in rows:
        path = SHIPPED / row["group"] / f"{row['concept']}.json"
        content = json.loads(path.read_text("utf-8"))
        assert (content["group"], content["concept"]) == (row["group"], row["concept"])
        positive = content["sentences"]["positive"]
        negative = content["sentences"]["negative"]
        assert not set(positive) & set(negative)
        assert len(positive) == len(set(positive)) >= 100
        assert len(negative) == len(set(negative)) == 300
        assert 0.28 <= len(positive) / len(positive + negative) <= 0.41
    assert "Princeton" in (SHIPPED / "LICENSE.wordnet.txt").read_text()
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*.*")) <= 2 * 2**20


def test_the_form_of_the_shipped_sentences_tells_no_concept():
    """Years told scientists, capitals battles: negatives are matched in them now.

    WordNet has too few other texts of as many names as those of battles.
    """
    over = []
    for concept in read_concepts(SHIPPED):
        texts = concept.positives + concept.negatives
        label = np.repeat([1, 0], [len(concept.positives), len(concept.negatives)])
        form = forms(texts)
        for column in form.T:
            ap = max(average_precision_score(label, sign * column) for sign in (1, -1))
            over.append(ap - label.mean())
    assert max(over) < 0.12
    assert np.mean(over) < 0.03


def test_shipped_set_is_what_the_flags_make(real_wordnet: Path, tmp_path: Path):
    flagfile = SHIPPED.parents[3] / "configs" / "build_wordnet_topics.flags"
    if not flagfile.is_file():
        pytest.skip("no configs/ beside an installed package")
    command = [sys.executable, "-m", "binaries.build_concepts"]
    here = tmp_path / "here.flags"
    text = flagfile.read_text()
    here.write_text(re.sub("--input=.*", f"--input={real_wordnet}", text))
    command += [f"--flagfile={here}"]
    done = subprocess.run(
        [*command, f"--out={tmp_path}/out"],
        cwd=SHIPPED.parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for path in SHIPPED.rglob("*.*"):
        made = tmp_path / "out" / path.relative_to(SHIPPED)
        assert made.read_bytes() == path.read_bytes(), path.name
