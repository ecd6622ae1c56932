import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from expertjax.analysis.expertise import Expertise
from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.concepts.files import Concept
from expertjax.concepts.pool import (
    ConceptSet,
    Membership,
    build_concept_set,
)
from expertjax.errors import InputError
from expertjax.runtime.mesh import make_mesh
from expertjax.scoring import null
from expertjax.scoring.average_precision import average_precision
from expertjax.scoring.blocks import make_scorer
from expertjax.scoring.labels import load_memberships
from expertjax.scoring.metrics import METRICS
from expertjax.scoring.run import HELD_OUT, unit_blocks
from expertjax.scoring.score import score
from expertjax.scoring.settings import TOLERANCE, ScoreSettings
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from tests import bounds
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set, tiny_concepts

CONCEPTS = tiny_concept_set()
TWO_BLOCKS = ScoreSettings(block_bytes=1)  # 864 units are 512 and 352


@pytest.fixture(scope="module")
def captured(
    tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory
) -> ResultFolder:
    """Responses of 864 units, a few sentences dropped. Do not change it."""
    out = tmp_path_factory.mktemp("captured") / "tiny-gpt2"
    return capture(tiny_gpt2, CONCEPTS, out, CaptureSettings(seq_len=SEQ_LEN))


@pytest.fixture(scope="module")
def scored(
    captured: ResultFolder, tmp_path_factory: pytest.TempPathFactory
) -> ResultFolder:
    """The same with its expertise, from two blocks. Do not change it."""
    folder = copy(captured, tmp_path_factory.mktemp("scored"))
    return score(folder, settings=TWO_BLOCKS)


@pytest.fixture
def folder(captured: ResultFolder, tmp_path: Path) -> ResultFolder:
    return copy(captured, tmp_path)


def copy(folder: ResultFolder, parent: Path) -> ResultFolder:
    return ResultFolder(Path(shutil.copytree(folder.path, parent / folder.name)))


def read_all(array: Any) -> np.ndarray:
    return arrays.read(array, slice(0, array.shape[0]), slice(0, array.shape[1]))


def expertise(folder: ResultFolder) -> dict[str, np.ndarray]:
    return {name: read_all(folder.open_expertise(name)) for name in METRICS}


def content(folder: ResultFolder) -> dict[str, bytes]:
    paths = [path for path in folder.path.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


def responses_to(folder: ResultFolder, texts: tuple[str, ...]) -> np.ndarray:
    """Responses by text, which knows nothing of rows."""
    there = folder.read_table("sentences")["text"].tolist()
    return read_all(folder.open_responses())[[there.index(text) for text in texts]]


def check_concept(
    folder: ResultFolder, row: int, concept: Concept, responses: ResultFolder
) -> None:
    """One concept's APs from its own sentences and the public function."""
    dropped = set(responses.read_table("dropped")["text"])
    texts = [text for text in concept.positives if text not in dropped]
    num_positives = len(texts)
    texts += [text for text in concept.negatives if text not in dropped]
    labels = (np.arange(len(texts)) < num_positives).astype(int)[:, None]
    x_NxU = responses_to(responses, tuple(texts))
    wanted = average_precision(x_NxU, labels, tie_tolerance=TOLERANCE)
    there = read_all(folder.open_expertise("ap"))[row]
    assert np.abs(there - wanted[0]).max() <= bounds.score(len(texts))


def test_every_unit_is_scored_for_every_concept(scored: ResultFolder):
    for row, concept in enumerate(tiny_concepts()):
        check_concept(scored, row, concept, scored)
    keys, members = load_memberships(scored)
    assert keys == CONCEPTS.keys
    x_NxU = read_all(scored.open_responses())
    wanted = make_scorer(members, tolerance=TOLERANCE)(x_NxU)
    there = expertise(scored)
    for name in METRICS:
        assert (there[name] == wanted[name]).all(), name


def test_tolerance_0_is_scikit_learns_rule(scored: ResultFolder, folder: ResultFolder):
    exact = score(folder, settings=ScoreSettings(tie_tolerance=0))
    _, members = load_memberships(exact)
    x_NxU = read_all(exact.open_responses())
    there = {f: read_all(f.open_expertise("ap")) for f in (exact, scored)}
    for row, member in enumerate(members):
        wanted = average_precision(x_NxU[member.sentence], member.label[:, None])
        error = np.abs(there[exact][row] - wanted).max()
        assert error <= bounds.score(len(member.label))
    assert exact.read_run()["score"]["tie_tolerance"] == 0
    assert scored.read_run()["score"]["tie_tolerance"] == TOLERANCE
    assert 0 < np.abs(there[exact] - there[scored]).max() < 0.2
    with pytest.raises(InputError, match=r"tie_tolerance: there 0"):
        score(exact)


def test_the_table_of_concepts_sums_it_up(scored: ResultFolder):
    table, there = scored.read_table("concepts"), expertise(scored)
    _, members = load_memberships(scored)
    assert table["concept"].tolist() == list(CONCEPTS.keys)
    assert table["group"].tolist() == ["sense"] * 3
    assert table["n_pos"].tolist() == [m.num_positives for m in members]
    assert table["n_neg"].tolist() == [m.num_negatives for m in members]
    assert table["chance"].tolist() == [m.chance for m in members]
    assert table["max_ap"].tolist() == there["ap"].max(axis=1).tolist()
    shapes = [(m.num_positives, m.num_negatives) for m in members]
    thresholds = null.thresholds(shapes, scored.read_run()["capture"]["num_units"])
    assert table["null_threshold"].tolist() == thresholds.tolist()
    above = there["ap"] >= thresholds[:, None]
    assert table["n_above"].tolist() == above.sum(1).tolist()
    law = scored.read_table("null")
    assert law.equals(null.null_table(shapes))
    assert set(zip(law["n_pos"], law["n_neg"], strict=True)) == set(shapes)


def test_others_can_read_the_expertise(scored: ResultFolder):
    group = zarr.open_group(scored.expertise_path, mode="r")
    assert sorted(name for name, _ in group.arrays()) == sorted(METRICS)
    for name, values in expertise(scored).items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        assert array.metadata.dimension_names == ("concept", "unit")
        assert array.dtype == np.float32
        assert (array[:] == values).all()


def test_blocks_change_nothing(folder: ResultFolder, scored: ResultFolder):
    whole = expertise(score(folder))
    assert len(list((folder.path / ".blocks" / "expertise").iterdir())) == 2
    for name, values in expertise(scored).items():
        assert (whole[name] == values).all(), name


@pytest.mark.parametrize("mesh", ["data:8", "data:4,model:2"])
def test_the_kernels_agree_through_the_store(
    folder: ResultFolder, scored: ResultFolder, mesh: str
):
    jax_kernel = ScoreSettings(kernel="jax")
    allowed = bounds.score(len(CONCEPTS.sentences))
    there = expertise(score(folder, settings=jax_kernel, mesh=make_mesh(mesh)))
    for name, values in expertise(scored).items():
        scale = np.maximum(np.abs(values), 1)
        assert (np.abs(there[name] - values) <= allowed * scale).all(), name


def test_blocks_are_whole_chunks_and_cover_all_units():
    for num_units in (1, 512, 513, 864, 82_944):
        for block_bytes in (1, 4 * 100 * 1500, 2**30):
            blocks = unit_blocks((100, num_units), 512, block_bytes)
            assert blocks[0][0] == 0 and blocks[-1][1] == num_units
            for (_, stop), (start, _) in itertools.pairwise(blocks):
                assert stop == start and start % 512 == 0
    assert unit_blocks((100, 5000), 512, 4 * 100 * 1500)[0] == (0, 1024)
    many_scores = unit_blocks((100, 5000), 512, 4 * 100 * 1500, 400)
    assert many_scores[0] == (0, 512)


@pytest.mark.parametrize("block", [0, 1])
def test_a_scoring_that_was_cut_short_ends_in_the_same_bytes(
    scored: ResultFolder, tmp_path: Path, block: int
):
    cut = copy(scored, tmp_path)
    cut_keys = list(CONCEPTS.keys)
    cut.succeed()
    cut.expertise_ledger.reopen()
    ledger = cut.path / ".blocks" / "expertise"
    (ledger / f"{block:06d}.json").unlink()
    cut.experts_path.mkdir()
    whole = cut.read_table("experts").drop(columns="rank")
    start, stop = ((0, 512), (512, 864))[1 - block]
    whole["concept"] = [cut_keys.index(key) for key in whole["concept"]]
    of_block = whole[(whole["unit"] >= start) & (whole["unit"] < stop)]
    of_block.to_parquet(cut.experts_path / f"{1 - block:06d}.parquet", index=False)
    shards = {i: cut.expertise_path / "ap" / "c" / "0" / str(i) for i in range(2)}
    kept = shards[1 - block].stat().st_mtime_ns
    shards[block].unlink()
    with pytest.raises(InputError, match=r"expertise\.zarr: incomplete"):
        cut.open_expertise("ap")
    again = score(cut, settings=TWO_BLOCKS)
    assert content(again) == content(scored)
    assert shards[1 - block].stat().st_mtime_ns == kept
    assert not (cut.path / "_SUCCESS").exists()


@pytest.mark.parametrize("concepts", [None, CONCEPTS])
def test_a_finished_scoring_is_not_run_again(
    scored: ResultFolder, tmp_path: Path, concepts: ConceptSet | None
):
    done = copy(scored, tmp_path)
    done.succeed()
    shard = done.expertise_path / "ap" / "c" / "0" / "0"
    before = shard.stat().st_mtime_ns
    score(done, concepts, settings=TWO_BLOCKS)
    assert shard.stat().st_mtime_ns == before
    assert (done.path / "_SUCCESS").is_file()


def test_other_concepts_over_the_same_sentences_go_elsewhere(
    scored: ResultFolder, tmp_path: Path
):
    first, second, third = tiny_concepts()
    negatives = tuple(t for t in third.negatives if t not in first.positives)
    other = Concept("mixed", "other", first.positives, negatives)
    concepts = build_concept_set([second, other])
    before = content(scored)
    there = score(scored, concepts, tmp_path / "elsewhere" / scored.name)
    assert content(scored) == before
    check_concept(there, 0, second, scored)
    check_concept(there, 1, other, scored)
    assert load_memberships(there)[0] == ("sense/tiny-1", "mixed/other")
    for name in ("units", "sentences", "dropped"):
        assert there.read_table(name).equals(scored.read_table(name))
    relative = there.read_run()["score"]["responses_folder"]
    assert (there.path / relative).resolve() == scored.path.resolve()
    assert not there.responses_path.exists()
    excited = Expertise(there).most_exciting([3], k=2)[3]
    assert excited.equals(Expertise(scored).most_exciting([3], k=2)[3])


def test_other_concepts_are_refused_in_a_folder_that_has_expertise(
    scored: ResultFolder,
):
    before = content(scored)
    concepts = build_concept_set(tiny_concepts()[:2])
    with pytest.raises(InputError, match="num_concepts: there 3, here 2"):
        score(scored, concepts, settings=TWO_BLOCKS)
    with pytest.raises(InputError, match=r"holdout: there 0\.0, here 0\.3"):
        score(scored, settings=ScoreSettings(block_bytes=1, holdout=0.3))
    assert content(scored) == before


def test_the_folder_of_another_capture_is_refused(scored: ResultFolder, tmp_path: Path):
    other = ResultFolder(tmp_path / "other")
    other.claim("capture", scored.read_run()["capture"] | {"pooling": "mean"})
    before = content(other)
    with pytest.raises(InputError, match="pooling: there 'mean', here 'max'"):
        score(scored, out=other.path)
    assert content(other) == before


def test_a_sentence_that_was_never_captured_is_named(
    captured: ResultFolder, tmp_path: Path
):
    # Some sentences of the capture were dropped; this is none of them.
    assert len(captured.read_table("dropped")) > 0
    first = tiny_concepts()[0]
    odd = Concept("sense", "odd", (*first.positives, "Never seen."), first.negatives)
    with pytest.raises(InputError, match="not captured: 'Never seen"):
        score(captured, build_concept_set([odd]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_concept_of_dropped_sentences_only_is_named(
    captured: ResultFolder, tmp_path: Path
):
    dropped = tuple(captured.read_table("dropped")["text"])
    others = (t for t in tiny_concepts()[0].negatives if t not in dropped)
    gone = Concept("sense", "gone", dropped, tuple(others))
    with pytest.raises(InputError, match="sense/gone has no positive left"):
        score(captured, build_concept_set([gone]), tmp_path / "out")


def test_responses_are_not_scored_before_their_capture_is_complete(
    folder: ResultFolder,
):
    folder.responses_ledger.reopen()
    with pytest.raises(InputError, match=r"responses\.zarr: incomplete"):
        score(folder)
    assert not folder.expertise_path.exists()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_responses_are_refused(folder: ResultFolder, damage: str):
    shard = folder.responses_path / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    if damage == "remove":
        shard.unlink()
    else:
        shard.write_bytes(data if damage == "flip" else data[:-100])
    with pytest.raises(InputError, match=r"responses\.zarr.*chunk is"):
        score(folder)
    assert not folder.expertise_ledger.is_closed
    with pytest.raises(InputError, match=r"expertise\.zarr: incomplete"):
        folder.open_expertise("ap")


def test_the_best_units_have_intervals(scored: ResultFolder):
    table, ap = scored.read_table("experts"), expertise(scored)["ap"]
    for c, key in enumerate(CONCEPTS.keys):
        rows = table[table["concept"] == key]
        best = np.argsort(-ap[c], kind="stable")[:10]
        assert rows["rank"].tolist() == list(range(1, 11))
        assert rows["unit"].tolist() == best.tolist()
        assert rows["ap"].tolist() == ap[c, best].tolist()
        assert (rows["ap_low"] < rows["ap_high"]).all()
        assert (rows["ap_low"] - 0.05 < rows["ap"]).all()


def test_without_intervals_it_goes_on_too(folder: ResultFolder):
    settings = ScoreSettings(bootstrap_top=0, block_bytes=1, metrics="ap")
    score(folder, settings=settings)
    folder.expertise_ledger.reopen()
    (folder.path / ".blocks" / "expertise" / "000001.json").unlink()
    result = Expertise(score(folder, settings=settings))
    assert len(result.intervals) == 0
    assert result.top(CONCEPTS.keys[0], k=3)["ap_low"].isna().all()


def test_tables_of_units_say_what_is_above_chance(scored: ResultFolder):
    result = Expertise(scored)
    for c, key in enumerate(CONCEPTS.keys):
        table = result.top(key, k=15)
        threshold = result.concepts["null_threshold"][c]
        assert (table["above_chance"] == (table["ap"] >= threshold)).all()
        assert table["ap_low"].notna().tolist() == [True] * 10 + [False] * 5
        assert "ap_heldout" not in table
        above = (result.metric("ap", key) >= threshold).sum()
        assert result.summary(0.9).set_index("concept")["above it"][key] == above


def test_held_out_sentences_take_no_part_in_scores(
    folder: ResultFolder, tmp_path: Path
):
    split = ScoreSettings(holdout=0.3, metrics="auroc")
    there = score(folder, settings=split)
    assert there.metrics == ["ap", HELD_OUT, "auroc"]
    table = there.read_table("memberships")
    x_NxU = read_all(there.open_responses())
    for c, key in enumerate(CONCEPTS.keys):
        for held_out, metric in ((False, "ap"), (True, HELD_OUT)):
            rows = table[(table["concept"] == key) & (table["held_out"] == held_out)]
            labels = rows["label"].to_numpy()[:, None]
            wanted = average_precision(
                x_NxU[rows["sentence"]], labels, tie_tolerance=TOLERANCE
            )[0]
            ap = read_all(there.open_expertise(metric))[c]
            assert np.abs(ap - wanted).max() <= bounds.score(len(rows))
        mine = table[table["concept"] == key]
        parts = [set(mine["sentence"][mine["held_out"] == part]) for part in (0, 1)]
        assert not parts[0] & parts[1]
        for label in (0, 1):
            share = mine["held_out"][mine["label"] == label].mean()
            assert abs(share - 0.3) < 0.08
    score(there, settings=split)  # the labels are read back as they were
    assert Expertise(there).top(CONCEPTS.keys[0])["ap_heldout"].notna().all()


def test_a_number_that_was_never_captured_is_named(folder: ResultFolder):
    zarr.open_array(folder.responses_path, mode="r+")[5, 700] = np.inf
    with pytest.raises(InputError, match=r"sentence 5, unit 700 is inf"):
        score(folder, settings=TWO_BLOCKS)


@pytest.mark.parametrize("store_dtype", ["float16", "bfloat16"])
def test_narrow_stores_are_scored_exactly(
    tiny_gpt2: Model, tmp_path: Path, store_dtype: Any
):
    settings = CaptureSettings(seq_len=SEQ_LEN, store_dtype=store_dtype)
    there = score(capture(tiny_gpt2, CONCEPTS, tmp_path / "narrow", settings))
    x_NxU = read_all(there.open_responses())
    _, members = load_memberships(there)
    for c, member in enumerate(members):
        wanted = average_precision(
            x_NxU[member.sentence], member.label[:, None], tie_tolerance=TOLERANCE
        )
        error = np.abs(expertise(there)["ap"][c] - wanted[0])
        assert error.max() <= bounds.score(len(member.label))


def test_memberships_come_back_in_their_order(captured: ResultFolder):
    keys, members = load_memberships(captured)
    assert keys == CONCEPTS.keys
    for member in members:
        assert isinstance(member, Membership)
        assert set(np.unique(member.label)) == {0, 1}
