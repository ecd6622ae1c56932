"""Names with combining marks through the real programs; what is said of long texts."""

import re
from pathlib import Path

import pandas as pd
import pytest

from expertjax.concepts.files import read_concepts
from tests.binaries.conftest import NAMES, Found
from tests.programs import run_program


def test_names_with_combining_marks_go_all_the_way(found: Found, tmp_path: Path):
    concepts = pd.read_parquet(found.folder / "concepts.parquet")
    assert set(concepts["concept"]) == {f"भाषा/{name}" for name in NAMES}
    assert (found.folder / "report" / "index.html").is_file()
    assert "Warning" not in found.said  # of letters that the figures' font lacks
    flags = {"results": found.folder, "out": tmp_path / "out"}
    run_program("export_expertise", **flags)
    written = {path.parent.parent.name for path in tmp_path.rglob("expertise.csv")}
    assert written == set(NAMES)
    flags = {"model": found.flags["model"], "expertise": found.folder}
    flags |= {"max_new_tokens": 3, "out": tmp_path / "texts.csv"}
    run_program("generate_text", **flags, concept=f"भाषा/{NAMES[0]}", num_units=3)
    assert list(pd.read_csv(tmp_path / "texts.csv")["concept"]) == [f"भाषा/{NAMES[0]}"]


def test_what_is_left_out_as_too_long_is_said_for_each_concept(found: Found):
    concepts = {one.key: one for one in read_concepts(Path(found.flags["concepts"]))}
    dropped = set(pd.read_parquet(found.folder / "dropped.parquet")["text"])
    assert dropped
    said = re.findall(
        r"- (\S+): (\d+) of (\d+) positives, (\d+) of (\d+) negatives", found.said
    )
    wanted = {
        (
            key,
            *(
                str(count)
                for texts in (one.positives, one.negatives)
                for count in (len(dropped.intersection(texts)), len(texts))
            ),
        )
        for key, one in concepts.items()
        if dropped.intersection(one.positives + one.negatives)
    }
    assert set(said) == wanted
    assert re.search(rf"{len(dropped)} of \d+ sentences are longer", found.said)


@pytest.mark.parametrize("seq_len", [20, 64])
def test_sentences_that_are_cut_are_counted(found: Found, tmp_path: Path, seq_len: int):
    flags = found.flags | {"seq_len": seq_len, "out": tmp_path, "long": "truncate"}
    said = run_program("capture_responses", "--dry_run", **flags)
    assert ("longer sentences are cut" in said) == (seq_len == 20)
    assert 0 < float(re.search(r"^seconds +(\S+)$", said, re.M)[1]) < 600
