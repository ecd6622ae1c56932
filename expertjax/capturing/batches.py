"""Cutting a pool into blocks of the store and batches of the model."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from expertjax.concepts.tokens import TokenizedPool
from expertjax.stores.arrays import MAX_SHARD_BYTES

# Padding costs at most the step between two of these; each is one compilation.
BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


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


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """How batches are shaped.

    Attributes:
      seq_len: the longest sentence.
      batch_tokens: tokens of a batch, padding included.
      multiple: the number of sentences in a batch is a multiple of this.
      full_padding: pad every sentence to seq_len and pool over the padding too,
        as the reference does.
    """

    seq_len: int
    batch_tokens: int
    multiple: int = 1
    full_padding: bool = False

    def bucket(self, length: int) -> int:
        """T: the compiled length that a sentence is run at."""
        if self.full_padding:
            return self.seq_len
        return min([b for b in BUCKETS if b >= length] + [self.seq_len])

    def batch_size(self, bucket: int) -> int:
        """B at one compiled length."""
        size = max(1, self.batch_tokens // bucket)
        return -(-size // self.multiple) * self.multiple

    def batches(self, pool: TokenizedPool, start: int, stop: int) -> Iterator[Batch]:
        """The batches of a run of rows, none of which spans two buckets."""
        lengths = [len(ids) for ids in pool.tokens[start:stop]]
        buckets = np.array([self.bucket(length) for length in lengths])
        while start < stop:
            bucket = int(buckets[0])
            count = min(self.batch_size(bucket), int((buckets == bucket).sum()))
            yield self._batch(pool, start, start + count, bucket)
            start, buckets = start + count, buckets[count:]

    def _batch(self, pool: TokenizedPool, start: int, stop: int, T: int) -> Batch:
        size = self.batch_size(T)
        tokens = np.full((size, T), pool.pad_id, np.int32)
        mask = np.zeros((size, T), bool)
        pooled = np.zeros((size, T), bool)
        for i, row in enumerate(range(start, stop)):
            ids = pool.tokens[row]
            tokens[i, : len(ids)] = ids
            mask[i, : len(ids)] = True
            pooled[i, : len(ids)] = pool.pooled[row]
        # Filler rows need a token each, or attention and pooling have nothing.
        mask[stop - start :, 0] = True
        pooled[stop - start :, 0] = True
        if self.full_padding:
            pooled[:] = True
        return Batch((start, stop), tokens, mask, pooled)


def block_bounds(
    num_sentences: int, num_units: int, item_size: int, block_rows: int
) -> Sequence[tuple[int, int]]:
    """The rows of each block: at most `block_rows`, at most 256 MB a shard."""
    rows = shard_rows(num_sentences, num_units, item_size, block_rows)
    return [
        (start, min(start + rows, num_sentences))
        for start in range(0, num_sentences, rows)
    ]


def shard_rows(
    num_sentences: int, num_units: int, item_size: int, block_rows: int
) -> int:
    """Rows of a block."""
    fitting = max(1, MAX_SHARD_BYTES // (num_units * item_size))
    return min(block_rows, fitting, num_sentences)
