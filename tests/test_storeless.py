"""Without a store: the results of the way through it."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.capturing import capture as capturing
from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.runtime.mesh import make_mesh
from expertjax.scoring.score import score
from expertjax.scoring.settings import ScoreSettings
from expertjax.storeless import capture_and_score
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from tests import bounds
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.programs import assert_same, contents

CONCEPTS = tiny_concept_set(7)
CAPTURE = CaptureSettings(seq_len=SEQ_LEN, batch_tokens=128, block_rows=16)
NUM_UNITS = 864
ROW = 4 * NUM_UNITS  # bytes
TABLES = ("units", "sentences", "memberships", "dropped")
TABLES += ("concepts", "experts", "null")
# Bytes of memory -> groups of the 7 concepts. 54 sentences are not too long; a
# concept has at most 33 of them, two have 47, four 52.
GROUPS = {54 * ROW: 1, 52 * ROW: 2, 47 * ROW: 4, 33 * ROW: 7}


SCORE = ScoreSettings(block_bytes=1, bootstrap_resamples=50, holdout=0.3)


@pytest.fixture(scope="module")
def stored(tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory) -> ResultFolder:
    """The same through a store. Do not change it."""
    folder = tmp_path_factory.mktemp("stored") / "tiny"
    found = capture(tiny_gpt2, CONCEPTS, folder, CAPTURE)
    return score(found, settings=SCORE)


def assert_equal(there: ResultFolder, stored: ResultFolder) -> None:
    """To the bit: every metric of every unit, every table."""
    assert there.metrics == stored.metrics
    for name in stored.metrics:
        values = []
        for folder in (there, stored):
            array = folder.open_expertise(name)
            assert array.shape == (len(CONCEPTS.keys), NUM_UNITS)
            part = arrays.read(array, slice(0, array.shape[0]), slice(0, NUM_UNITS))
            values.append(part.view(np.uint32))
        wrong = (values[0] != values[1]).mean()
        assert wrong == 0, f"{name}: {wrong:.2%} differ"
    for table in TABLES:
        file = f"{table}.parquet"
        assert (there.path / file).read_bytes() == (stored.path / file).read_bytes()


@pytest.mark.parametrize("memory_bytes", GROUPS)
def test_results_are_those_of_the_way_through_a_store(
    stored: ResultFolder,
    tiny_gpt2: Model,
    tmp_path: Path,
    memory_bytes: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = capture_and_score(
        tiny_gpt2, CONCEPTS, tmp_path / "tiny", CAPTURE, SCORE, memory_bytes
    )
    size = there.read_run()["score"]["concepts_at_a_time"]
    groups = -(-len(CONCEPTS.keys) // size)
    print(f"{memory_bytes} bytes: {groups} groups of at most {size} concepts")
    assert groups == GROUPS[memory_bytes]
    bars = re.findall(r"score tiny(?: \((\d) of \d\))?: 100%", capsys.readouterr().err)
    bars = list(dict.fromkeys(bars))  # a bar may come to its end twice
    assert bars == ([""] if groups == 1 else [str(i + 1) for i in range(groups)])
    assert_equal(there, stored)
    assert not there.responses_path.exists()
    assert not there.experts_path.exists()
    with pytest.raises(InputError, match=r"responses were not kept.*keep_responses"):
        there.open_responses()


@pytest.mark.parametrize("on_devices", [False, True])
def test_narrow_responses_take_half_the_memory(
    tiny_gpt2: Model, tmp_path: Path, on_devices: bool
) -> None:
    how = dataclasses.replace(CAPTURE, store_dtype="bfloat16")
    scoring = dataclasses.replace(SCORE, metrics="ap")
    scoring = dataclasses.replace(scoring, kernel="jax" if on_devices else "auto")
    for memory_bytes, wanted in ((54 * ROW // 2, 7), (54 * ROW // 2 - 1, 4)):
        out = tmp_path / f"{memory_bytes}"
        there = capture_and_score(tiny_gpt2, CONCEPTS, out, how, scoring, memory_bytes)
        assert there.read_run()["score"]["concepts_at_a_time"] == wanted


def test_meshes_change_nothing_of_note(
    stored: ResultFolder, tiny_gpt2: Model, tmp_path: Path
) -> None:
    there = capture_and_score(
        tiny_gpt2,
        CONCEPTS,
        tmp_path / "tiny",
        CAPTURE,
        SCORE,
        40 * ROW,
        make_mesh("data:2,model:4"),
    )
    for name in ("ap", "off_mean"):
        ours, wanted = (
            arrays.read(f.open_expertise(name), slice(0, 7), slice(0, NUM_UNITS))
            for f in (there, stored)
        )
        allowed = bounds.of_model(tiny_gpt2) * wanted.std()
        assert np.median(np.abs(ours - wanted)) <= allowed


@pytest.mark.parametrize(
    ("store_dtype", "mesh"), [("float32", ""), ("float16", "data:4,model:2")]
)
def test_responses_that_stay_on_the_devices_give_the_same(
    tiny_gpt2: Model, tmp_path: Path, store_dtype: Any, mesh: str
) -> None:
    """As on accelerators, where the kernel that runs there scores them."""
    how = dataclasses.replace(CAPTURE, store_dtype=store_dtype)
    by_jax = dataclasses.replace(SCORE, kernel="jax", metrics="ap,off_mean")
    on = make_mesh(mesh)
    stored = capture(tiny_gpt2, CONCEPTS, tmp_path / "stored" / "tiny", how, on)
    stored = score(stored, settings=by_jax)
    there = capture_and_score(
        tiny_gpt2, CONCEPTS, tmp_path / "tiny", how, by_jax, 47 * ROW, on
    )
    assert_equal(there, stored)


def test_too_little_memory_names_the_concept_that_needs_most(
    tiny_gpt2: Model, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    with pytest.raises(InputError, match=r"--memory_bytes=9999: .*sense/tiny-\d alone"):
        capture_and_score(tiny_gpt2, CONCEPTS, out, CAPTURE, SCORE, 9999)
    folder = ResultFolder(out)
    assert not folder.expertise_path.exists()
    assert not folder.expertise_ledger.is_closed


class Cut(Exception):
    """As if the machine had gone."""


@pytest.mark.parametrize("after", [0, 5])
def test_what_was_cut_short_goes_on(
    stored: ResultFolder,
    tiny_gpt2: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    calls = []
    whole = capturing.MemoryCapture.__call__

    def count(self: Any, rows: np.ndarray, *more: Any) -> np.ndarray:
        calls.append(len(rows))
        if len(calls) == after + 1:
            raise Cut
        return whole(self, rows, *more)

    def run() -> ResultFolder:
        return capture_and_score(
            tiny_gpt2, CONCEPTS, tmp_path / "tiny", CAPTURE, SCORE, 33 * ROW
        )

    monkeypatch.setattr(capturing.MemoryCapture, "__call__", count)
    with pytest.raises(Cut):
        run()
    there = run()
    # The group that was cut is run again, those before it are not.
    assert len(calls) == 7 + 1
    assert_equal(there, stored)
    run()
    assert len(calls) == 7 + 1  # a finished one is not begun again
    with pytest.raises(InputError, match="concepts_at_a_time: there 1, here 7"):
        again = ResultFolder(tmp_path / "tiny")
        again.expertise_ledger.reopen()
        capture_and_score(tiny_gpt2, CONCEPTS, again.path, CAPTURE, SCORE, 54 * ROW)


def test_a_store_is_not_begun_in_the_folder_of_a_run_without(
    tiny_gpt2: Model, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    folder = capture_and_score(tiny_gpt2, CONCEPTS, out, CAPTURE, SCORE, 54 * ROW)
    folder.succeed()
    before = contents(out)
    with pytest.raises(InputError, match=r"--out: .* not kept.*keep_responses=false"):
        capture(tiny_gpt2, CONCEPTS, out, CAPTURE)
    assert_same(contents(out), before)
