"""Cutting a pool into blocks of the store and batches of the model.

Sentences stand by ascending length. They are run at a few lengths (buckets), which are
chosen for the pool so that padding and compiling together cost least. The number of
sentences of a batch is a power of two (times the devices that share it), as a block's
is. A span is a block, or as many as the largest batch covers: batches begin and end
where spans do. So whichever blocks are left to be run, a sentence stands in the same
batch.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from expertjax.concepts.tokens import TokenizedPool
from expertjax.stores.arrays import MAX_SHARD_BYTES

_GRAIN = 2  # buckets are multiples of this many tokens
_LEAST_SHARE = 0.003  # of all tokens, for fewer programs where many would do


@dataclasses.dataclass(frozen=True)
class Batch:
    """Sentences of one compiled shape [B, T].

    Attributes:
      rows: (start, stop) of the pool; fewer than B where the last rows are filler.
      tokens: [B, T] int32, padded on the right.
      mask: [B, T] bool, True at real tokens.
      pooled: [B, T] bool, True at tokens that count for the response.
    """

    rows: tuple[int, int]
    tokens: np.ndarray
    mask: np.ndarray
    pooled: np.ndarray


def choose_buckets(lengths_N: np.ndarray, bucket_tokens: int) -> tuple[int, ...]:
    """The lengths at which sentences are run.

    The least sum of computed tokens and of what buckets cost, by dynamic programming
    over all sets of multiples of `_GRAIN`.

    Args:
      lengths_N: tokens of the sentences, ascending.
      bucket_tokens: so many tokens has a bucket to save to be worth its compilation.

    Returns:
      ascending; the last is the longest sentence's own length.
    """
    longest = int(lengths_N[-1])
    ends = np.array([0, *range(_GRAIN, longest, _GRAIN), longest])
    count = np.searchsorted(lengths_N, ends, side="right")
    fixed = max(bucket_tokens, _LEAST_SHARE * lengths_N.sum())
    # Least cost of the sentences up to each end, and the bucket before it.
    cost, before = np.zeros(len(ends)), np.zeros(len(ends), int)
    for j in range(1, len(ends)):
        each = cost[:j] + (count[j] - count[:j]) * ends[j] + fixed
        before[j] = each.argmin()
        cost[j] = each.min()
    chosen, j = [], len(ends) - 1
    while j:
        chosen.append(int(ends[j]))
        j = before[j]
    return tuple(reversed(chosen))


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """How the sentences of a pool are batched.

    Attributes:
      bucket_N: the length at which each sentence is run, ascending.
      batch_tokens: about as many tokens has a batch, padding included.
      block_rows: sentences of a block.
      multiple: a batch's number of sentences is this times a power of two.
      full_padding: pool over the padding too, as the reference does.
      most_rows: sentences of a batch at most.
    """

    bucket_N: np.ndarray
    batch_tokens: int
    block_rows: int
    multiple: int = 1
    full_padding: bool = False
    most_rows: int = 2**31

    @classmethod
    def of(
        cls,
        lengths_N: np.ndarray,
        buckets: tuple[int, ...],
        batch_tokens: int,
        block_rows: int,
        multiple: int = 1,
        *,
        full_padding: bool = False,
        most_rows: int = 2**31,
    ) -> "BatchPlan":
        """Gives each sentence a bucket.

        Sentences that do not fill a batch of their own bucket are run with the first
        of the next, so that there is no filler but in the last batch of the pool.

        Args:
          lengths_N: tokens of the sentences, ascending.
          buckets: ascending; the last holds every sentence.
          batch_tokens: see the class, as the others.
          block_rows: likewise.
          multiple: likewise.
          full_padding: likewise.
          most_rows: likewise.
        """
        bucket_N = np.zeros(len(lengths_N), np.int32)
        plan = cls(
            bucket_N, batch_tokens, block_rows, multiple, full_padding, most_rows
        )
        start = 0
        while start < len(lengths_N):
            for bucket in buckets:
                stop = min(start + plan.batch_size(bucket), len(lengths_N))
                if lengths_N[stop - 1] <= bucket:
                    break
            bucket_N[start:stop] = bucket
            start = stop
        return plan

    def keep(self, rows: np.ndarray) -> "BatchPlan":
        """Some of the sentences, ascending, each in the bucket that it has."""
        return dataclasses.replace(self, bucket_N=self.bucket_N[rows])

    def batch_size(self, bucket: int) -> int:
        """B at one compiled length: the power of two that is nearest by ratio."""
        wanted = max(1.0, self.batch_tokens / (bucket * self.multiple))
        most = max(1, self.most_rows // self.multiple).bit_length() - 1
        return self.multiple << min(round(np.log2(wanted)), most)

    def blocks(self) -> list[tuple[int, int]]:
        """The rows of each block."""
        return self._runs(self.block_rows)

    def spans(self) -> list[tuple[int, int]]:
        """The rows of each span: whole blocks that no batch reaches beyond."""
        return self._runs(self.span_rows)

    @property
    def span_rows(self) -> int:
        """Sentences of a span: of a block, or of the largest batch."""
        return max(self.block_rows, self.batch_size(int(self.bucket_N[0])))

    def _runs(self, rows: int) -> list[tuple[int, int]]:
        count = len(self.bucket_N)
        return [(start, min(start + rows, count)) for start in range(0, count, rows)]

    def shapes(self, runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """The distinct (B, T) that some runs of rows are run at, in this order."""
        buckets = [T for run in runs for T in self.bucket_N[slice(*run)].tolist()]
        return [(self.batch_size(T), T) for T in dict.fromkeys(buckets)]

    def batches(self, pool: TokenizedPool, start: int, stop: int) -> Iterator[Batch]:
        """The batches of one span, or of all rows."""
        while start < stop:
            T = int(self.bucket_N[start])
            end = int(np.searchsorted(self.bucket_N[:stop], T, side="right"))
            last = min(start + self.batch_size(T), end)
            yield self._batch(pool, start, last, T)
            start = last

    def _batch(self, pool: TokenizedPool, start: int, stop: int, T: int) -> Batch:
        size = self.batch_size(T)
        lengths_B = np.ones(size, np.int64)
        # Filler rows need a token each, or attention and pooling have nothing.
        lengths_B[: stop - start] = pool.lengths[start:stop]
        mask = np.arange(T) < lengths_B[:, None]
        there = mask.copy()
        there[stop - start :] = False
        tokens = np.full((size, T), pool.pad_id, np.int32)
        tokens[there] = pool.tokens.run(start, stop)
        pooled = mask.copy()
        pooled[there] = pool.pooled.run(start, stop)
        if self.full_padding:
            pooled[:] = True
        return Batch((start, stop), tokens, mask, pooled)


def shard_rows(
    num_sentences: int,
    num_columns: int,
    item_size: int,
    block_rows: int,
    multiple: int = 1,
) -> int:
    """Sentences of a block: a power of two times `multiple`, at most 256 MB a shard.

    Args:
      num_sentences: N; a pool of fewer is one block.
      num_columns: units of one shard.
      item_size: bytes of a response.
      block_rows: the most.
      multiple: see `BatchPlan`.
    """
    fitting = max(1, MAX_SHARD_BYTES // (num_columns * item_size))
    most = max(1, min(block_rows, fitting) // multiple)
    return min(multiple << (most.bit_length() - 1), num_sentences)
