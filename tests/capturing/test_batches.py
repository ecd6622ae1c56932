import itertools

import numpy as np
import pytest

from expertjax.capturing.batches import (
    BUCKETS,
    Batch,
    BatchPlan,
    block_bounds,
    shard_rows,
)
from expertjax.concepts.pool import ConceptSet
from expertjax.concepts.tokens import TokenizedPool
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
        ConceptSet((), texts, ()), tuple(tokens), tuple(pooled), (), 0, PAD
    )


def check_row(batch: Batch, i: int, pool: TokenizedPool, row: int) -> None:
    ids = pool.tokens[row]
    assert batch.tokens[i, : len(ids)].tolist() == ids.tolist()
    assert (batch.tokens[i, len(ids) :] == PAD).all()
    assert (batch.mask[i] == (np.arange(batch.mask.shape[1]) < len(ids))).all()
    assert batch.pooled[i, : len(ids)].tolist() == pool.pooled[row].tolist()
    assert not batch.pooled[i, len(ids) :].any()


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("batch_tokens", [1, 100, 640, 4096])
@pytest.mark.parametrize("seq_len", [5, 16, 100, 2000])
def test_every_row_is_run_once_and_in_order(
    seq_len: int, batch_tokens: int, multiple: int
):
    random = np.random.default_rng(seq_len + batch_tokens + multiple)
    pool = pool_of(random.integers(1, seq_len + 1, 90).tolist())
    plan = BatchPlan(seq_len, batch_tokens, multiple)
    start, stop = 3, 88
    following, shapes = start, set()
    for batch in plan.batches(pool, start, stop):
        first, last = batch.rows
        assert first == following < last <= stop
        following = last
        size, length = batch.tokens.shape
        shapes.add((size, length))
        assert last - first <= size
        assert size % multiple == 0
        assert size * length <= batch_tokens or size == multiple or multiple > 1
        assert length in BUCKETS or length == seq_len
        # No batch spans two buckets.
        assert {plan.bucket(n) for n in pool.lengths[first:last]} == {length}
        for i, row in enumerate(range(first, last)):
            check_row(batch, i, pool, row)
        # Filler rows have one token each, so that they are finite, and no more.
        fill = slice(last - first, size)
        assert (batch.mask[fill].sum(axis=1) == 1).all()
        assert (batch.pooled[fill] == batch.mask[fill]).all()
        assert (batch.tokens[fill] == PAD).all()
    assert following == stop
    # One compilation for each length at most.
    assert len(shapes) == len({length for _, length in shapes})


def test_a_bucket_is_the_least_that_holds_the_sentence():
    plan = BatchPlan(seq_len=100, batch_tokens=1)
    assert [plan.bucket(n) for n in (1, 16, 17, 96, 97, 100)] == [
        *(16, 16, 32, 96, 100, 100)
    ]
    assert BatchPlan(seq_len=8, batch_tokens=1).bucket(3) == 8


def test_batches_hold_as_many_tokens_as_they_may():
    plan = BatchPlan(seq_len=128, batch_tokens=2048)
    assert [plan.batch_size(t) for t in (16, 48, 128)] == [128, 42, 16]
    plan = BatchPlan(seq_len=128, batch_tokens=100, multiple=8)
    assert [plan.batch_size(t) for t in (16, 48, 128)] == [8, 8, 8]


def test_full_padding_pools_over_the_padding_too():
    pool = pool_of([3, 5, 20])
    [batch] = BatchPlan(32, 4 * 32, full_padding=True).batches(pool, 0, 3)
    assert batch.tokens.shape == (4, 32)
    assert batch.pooled.all()
    assert batch.mask.sum(axis=1).tolist() == [3, 5, 20, 1]


@pytest.mark.parametrize("rows", [1, 7, 512, 1000, 5000])
def test_blocks_cover_the_pool(rows: int):
    bounds = block_bounds(1000, 864, 4, rows)
    assert bounds[0][0] == 0 and bounds[-1][1] == 1000
    assert all(stop - start <= rows for start, stop in bounds)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))


def test_shards_of_wide_models_stay_small():
    assert shard_rows(10_000, 82_944, 4, 512) == 512
    rows = shard_rows(10_000, 691_200, 4, 512)
    assert rows * 691_200 * 4 <= MAX_SHARD_BYTES < (rows + 1) * 691_200 * 4
    assert shard_rows(10_000, 10**9, 4, 512) == 1
