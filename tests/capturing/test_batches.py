import itertools
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from expertjax.capturing.batches import Batch, BatchPlan, choose_buckets, shard_rows
from expertjax.concepts.pool import ConceptSet
from expertjax.concepts.tokens import Ragged, TokenizedPool
from expertjax.runtime import mesh as meshes
from expertjax.stores.arrays import MAX_SHARD_BYTES

PAD = 7


def pool_of(lengths: list[int]) -> TokenizedPool:
    """Row i has tokens 1000 i, 1000 i + 1, ...; the first is not to be pooled."""
    tokens, pooled = [], []
    for row, length in enumerate(sorted(lengths)):
        tokens.append(1000 * row + np.arange(length, dtype=np.int32))
        pooled.append(np.arange(length) != (0 if length > 1 else -1))
    texts = tuple(f"sentence {row}" for row in range(len(lengths)))
    return TokenizedPool(
        ConceptSet((), texts, ()), Ragged.of(tokens), Ragged.of(pooled), (), 0, PAD
    )


def plan_of(
    pool: TokenizedPool, batch_tokens: int, block_rows: int, multiple: int = 1
) -> BatchPlan:
    buckets = choose_buckets(pool.lengths, batch_tokens)
    return BatchPlan.of(
        pool.lengths,
        buckets,
        batch_tokens,
        block_rows,
        multiple,
        most_rows=len(pool.lengths),
    )


def check_row(batch: Batch, i: int, pool: TokenizedPool, row: int) -> None:
    ids, counts = pool.tokens.run(row, row + 1), pool.pooled.run(row, row + 1)
    assert batch.tokens[i, : len(ids)].tolist() == ids.tolist()
    assert (batch.tokens[i, len(ids) :] == PAD).all()
    assert (batch.mask[i] == (np.arange(batch.mask.shape[1]) < len(ids))).all()
    assert batch.pooled[i, : len(ids)].tolist() == counts.tolist()
    assert not batch.pooled[i, len(ids) :].any()


@pytest.mark.parametrize("multiple", [1, 4, 3])
@pytest.mark.parametrize("batch_tokens", [1, 100, 640, 4096])
@pytest.mark.parametrize("longest", [1, 5, 100, 2000])
def test_every_row_is_run_once_and_in_order(
    longest: int, batch_tokens: int, multiple: int
):
    random = np.random.default_rng(longest + batch_tokens + multiple)
    pool = pool_of(random.integers(1, longest + 1, 90).tolist())
    rows = shard_rows(90, 864, 4, 50, multiple)
    plan = plan_of(pool, batch_tokens, rows, multiple)
    spans = plan.spans()
    ends = {stop for _, stop in plan.blocks()}
    assert ends.issuperset(stop for _, stop in spans)
    following, shapes = 0, []
    for start, stop in spans:
        assert start == following
        for batch in plan.batches(pool, start, stop):
            first, last = batch.rows
            assert first == following < last <= stop
            following = last
            size, length = batch.tokens.shape
            shapes.append((size, length))
            assert last - first == size or last == 90  # filler at the very end only
            assert size % multiple == 0
            assert size * length <= 1.5 * batch_tokens or size == multiple
            assert length in plan.bucket_N
            for i, row in enumerate(range(first, last)):
                check_row(batch, i, pool, row)
            # Filler rows have one token each, so that they are finite, and no more.
            fill = slice(last - first, size)
            assert (batch.mask[fill].sum(axis=1) == 1).all()
            assert (batch.pooled[fill] == batch.mask[fill]).all()
            assert (batch.tokens[fill] == PAD).all()
    assert following == 90
    assert plan.shapes(spans) == list(dict.fromkeys(shapes))
    assert plan.shapes([]) == []  # of a process that has no block to run


@pytest.mark.parametrize(("batch_tokens", "num_spans"), [(512, 6), (16_384, 3)])
def test_a_sentence_stands_in_the_same_batch_whichever_spans_are_run(
    batch_tokens: int, num_spans: int
):
    pool = pool_of(np.random.default_rng(0).integers(1, 90, 700).tolist())
    plan = plan_of(pool, batch_tokens, 128)
    assert len(plan.spans()) == num_spans
    in_one = [batch.rows for batch in plan.batches(pool, 0, 700)]
    in_spans = [
        batch.rows for span in plan.spans() for batch in plan.batches(pool, *span)
    ]
    assert in_one == in_spans


def test_a_part_of_the_pool_is_run_at_the_same_lengths():
    pool = pool_of(np.random.default_rng(0).integers(1, 90, 700).tolist())
    plan = plan_of(pool, 512, 128)
    rows = np.sort(np.random.default_rng(1).choice(700, 300, replace=False))
    part, kept = plan.keep(rows), pool.keep(rows)
    following = 0
    for span in part.spans():
        for batch in part.batches(kept, *span):
            first, last = batch.rows
            assert first == following
            following = last
            assert set(plan.bucket_N[rows[first:last]]) == {batch.tokens.shape[1]}
            for i, row in enumerate(range(first, last)):
                check_row(batch, i, kept, row)
    assert following == 300


@pytest.mark.parametrize("spread", ["even", "long tail", "one length"])
def test_buckets_leave_little_padding(spread: str):
    random = np.random.default_rng(0)
    lengths = {
        "even": random.integers(5, 128, 20_000),
        "long tail": np.clip(random.lognormal(3.3, 0.5, 20_000).astype(int), 3, 128),
        "one length": np.full(20_000, 77),
    }[spread]
    pool = pool_of(lengths.tolist())
    plan = plan_of(pool, 1024, 512)
    computed = real = 0
    for span in plan.spans():
        for batch in plan.batches(pool, *span):
            computed += batch.tokens.size
            real += batch.mask.sum()
    print(f"{spread}: {set(plan.bucket_N.tolist())}, padding {1 - real / computed:.1%}")
    assert real / computed > 0.9
    assert len(set(plan.bucket_N)) <= 24


@pytest.mark.parametrize(("data", "most"), [(1, 0.15), (8, 0.4)])
def test_accelerators_pad_little(
    data: int, most: float, monkeypatch: pytest.MonkeyPatch
):
    """Of 17,000 sentences of running text, GPT-2 medium; on 8 devices of 2100 each."""
    random = np.random.default_rng(0)
    lengths = np.sort(random.lognormal(3.3, 0.6, 17_000).astype(int).clip(3, 128))
    devices = np.array(jax.devices()[:data]).reshape(data, 1)
    mesh = Mesh(devices, ("data", "model"))
    monkeypatch.setattr(meshes, "is_on_cpus", lambda _: False)
    assert meshes.data_size(mesh) == data
    buckets = choose_buckets(lengths, meshes.compile_flops(mesh) // (604 * 10**6))
    plan = BatchPlan.of(
        lengths,
        buckets,
        meshes.batch_tokens(mesh),
        512,
        data,
        most_rows=meshes.most_batch_rows(mesh, len(lengths)),
    )
    sizes, counts = np.unique(plan.bucket_N, return_counts=True)
    shapes = [(plan.batch_size(T), T) for T in sizes.tolist()]
    computed = sum(
        B * T * -(-count // B)
        for (B, T), count in zip(shapes, counts.tolist(), strict=True)
    )
    print(f"{data} devices: {shapes}, padding {1 - lengths.sum() / computed:.1%}")
    assert 1 - lengths.sum() / computed < most
    assert len(shapes) <= 16


def test_few_sentences_are_not_worth_many_buckets():
    lengths = np.sort(np.random.default_rng(0).integers(3, 100, 50))
    assert choose_buckets(lengths, 2048) == (int(lengths[-1]),)


def test_buckets_are_the_best_of_all_sets():
    """Against all sets of at most four buckets, one after the other."""
    lengths = np.sort(np.random.default_rng(1).geometric(0.1, 400).clip(1, 40))
    fixed = max(2 * 64, 0.005 * lengths.sum())

    def cost(buckets: Sequence[int]) -> float:
        at = np.array(buckets)[np.searchsorted(buckets, lengths)]
        return at.sum() + fixed * len(buckets)

    longest = int(lengths[-1])
    every = [
        (*some, longest)
        for size in range(4)
        for some in itertools.combinations(range(4, longest, 4), size)
    ]
    assert cost(choose_buckets(lengths, 64)) <= min(map(cost, every))


def test_batches_hold_about_as_many_tokens_as_asked():
    plan = BatchPlan(np.array([128]), 2048, 512)
    assert [plan.batch_size(t) for t in (16, 48, 64, 128)] == [128, 32, 32, 16]
    plan = BatchPlan(np.array([128]), 100, 512, multiple=8)
    assert [plan.batch_size(t) for t in (16, 48, 128)] == [8, 8, 8]
    limited = BatchPlan(np.array([128]), 10**6, 24, multiple=8, most_rows=24)
    assert limited.batch_size(128) == 16


def test_full_padding_pools_over_the_padding_too():
    pool = pool_of([3, 5, 20])
    plan = BatchPlan.of(pool.lengths, (32,), 4 * 32, 4, full_padding=True)
    [batch] = plan.batches(pool, 0, 3)
    assert batch.tokens.shape == (4, 32)
    assert batch.pooled.all()
    assert batch.mask.sum(axis=1).tolist() == [3, 5, 20, 1]


@pytest.mark.parametrize("rows", [1, 7, 512, 1000, 5000])
def test_blocks_cover_the_pool(rows: int):
    bounds = BatchPlan(np.full(1000, 9), 100, shard_rows(1000, 864, 4, rows)).blocks()
    assert bounds[0][0] == 0 and bounds[-1][1] == 1000
    assert all(stop - start <= rows for start, stop in bounds)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))


def test_shards_of_wide_models_stay_small():
    assert shard_rows(10_000, 82_944, 4, 512) == 512
    assert shard_rows(10_000, 82_944, 4, 500) == 256
    rows = shard_rows(10_000, 691_200, 4, 512)
    assert rows * 691_200 * 4 <= MAX_SHARD_BYTES < 2 * rows * 691_200 * 4
    assert shard_rows(10_000, 10**9, 4, 512) == 1
    assert shard_rows(10_000, 864, 4, 100, multiple=24) == 96
