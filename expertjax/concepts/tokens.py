"""Tokenising a pool and putting it in the order in which it is run."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from expertjax.concepts.pool import ConceptSet
from expertjax.errors import InputError, join_problems

Long = Literal["drop", "truncate"]
SpecialTokens = Literal["include", "exclude"]


_CHUNK = 1024  # sentences encoded at a time; encodings are large


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Rows of different lengths in one array.

    Attributes:
      values: all rows, one after the other.
      starts: [N + 1] where each begins, and the end of the last.
    """

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> "Ragged":
        """Joins some rows."""
        starts = np.cumsum([0, *map(len, rows)])
        return cls(np.concatenate(rows), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.run(row, row + 1) for row in range(len(self)))

    def take(self, rows: np.ndarray) -> "Ragged":
        """Some rows, in another order."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.starts[:-1][rows] - starts[:-1], lengths)
        return Ragged(self.values[np.arange(starts[-1]) + shift], starts)

    def run(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop, one after the other."""
        return self.values[self.starts[start] : self.starts[stop]]


@dataclasses.dataclass(frozen=True)
class TokenizedPool:
    """A concept set whose sentences stand by ascending length.

    Rows of like length are neighbours, so that a block of the store is a run
    of rows and is computed with little padding.

    Attributes:
      concepts: the set, in this order and without dropped sentences.
      tokens: [N] rows of token ids.
      pooled: [N] rows of bool: does the response take this token into account?
      dropped: sentences left out for being longer than seq_len.
      num_truncated: sentences cut at seq_len.
      pad_id: token for padding.
    """

    concepts: ConceptSet
    tokens: Ragged
    pooled: Ragged
    dropped: tuple[str, ...]
    num_truncated: int
    pad_id: int

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """[N] int32 tokens per sentence."""
        return np.diff(self.tokens.starts).astype(np.int32)

    def keep(self, rows: np.ndarray) -> "TokenizedPool":
        """Some of the sentences, ascending, without their concepts."""
        sentences = tuple(self.concepts.sentences[row] for row in rows)
        return dataclasses.replace(
            self,
            concepts=ConceptSet((), sentences, ()),
            tokens=self.tokens.take(rows),
            pooled=self.pooled.take(rows),
        )

    def digest(self) -> str:
        """SHA-256 of all tokens: tells data and tokenizer apart at once."""
        digest = hashlib.sha256()
        for ids, pooled in zip(self.tokens, self.pooled, strict=True):
            digest.update(np.int32(len(ids)).tobytes())
            digest.update(ids.astype(np.int32).tobytes())
            digest.update(pooled.tobytes())
        return digest.hexdigest()


def whole_texts(tokenizer: Any) -> Any:
    """The fast tokenizer behind Hugging Face's, which neither cuts nor pads."""
    backend = tokenizer.backend_tokenizer
    # Folders often carry settings of their own, which would cut silently.
    backend.no_truncation()
    backend.no_padding()
    return backend


def tokenize(
    concepts: ConceptSet,
    tokenizer: Any,
    *,
    seq_len: int,
    long: Long = "drop",
    special_tokens: SpecialTokens = "include",
    skip_first: int = 0,
) -> TokenizedPool:
    """Tokenises every sentence once.

    Args:
      concepts: the pool, in any order.
      tokenizer: a Hugging Face fast tokenizer.
      seq_len: the most tokens of a sentence, special tokens included.
      long: what happens to longer sentences.
      special_tokens: do CLS, SEP and BOS take part in pooling?
      skip_first: so many tokens at the beginning take no part in it.

    Raises:
      InputError: no sentence is left, a concept loses all of its positives or
        negatives, or a sentence has no token to pool over.
    """
    backend = whole_texts(tokenizer)
    # Joined chunk by chunk: an array for each sentence would take ten times the room.
    tokens, pooled, lengths = [], [], []
    for start in range(0, len(concepts.sentences), _CHUNK):
        texts = list(concepts.sentences[start : start + _CHUNK])
        of_chunk, counted = [], []
        for text, encoding in zip(texts, backend.encode_batch_fast(texts), strict=True):
            lengths.append(len(encoding.ids))
            of_chunk.append(np.array(encoding.ids[:seq_len], np.int32))
            counts = np.ones(len(of_chunk[-1]), bool)
            if special_tokens == "exclude":
                counts = np.array(encoding.special_tokens_mask[:seq_len], int) == 0
            counts[:skip_first] = False
            counted.append(counts)
            kept = len(encoding.ids) <= seq_len or long == "truncate"
            if kept and not counts.any():
                raise InputError(
                    f"sentence {text!r} has no token to pool over, with "
                    f"--special_tokens={special_tokens} --skip_first={skip_first}"
                )
        tokens.append(np.concatenate(of_chunk))
        pooled.append(np.concatenate(counted))
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, seq_len))])
    too_long = np.array(lengths) > seq_len
    is_dropped = too_long & (long == "drop")
    fits = np.flatnonzero(~is_dropped)
    if not len(fits):
        raise InputError(f"--seq_len={seq_len}: every sentence is longer")
    shown = np.minimum(np.array(lengths)[fits], seq_len)
    order = fits[np.argsort(shown, kind="stable")]
    return TokenizedPool(
        concepts=concepts.keep(order),
        tokens=Ragged(np.concatenate(tokens), starts).take(order),
        pooled=Ragged(np.concatenate(pooled), starts).take(order),
        dropped=tuple(concepts.sentences[row] for row in np.flatnonzero(is_dropped)),
        num_truncated=int((too_long & ~is_dropped).sum()),
        pad_id=_pad_id(tokenizer),
    )


def tell_long(concepts: ConceptSet, pool: TokenizedPool, seq_len: int) -> str:
    """What a user has to know of sentences that were too long; "" if none were.

    Args:
      concepts: as they were before `tokenize`.
      pool: what it made of them.
      seq_len: that it was given.
    """
    if pool.num_truncated:
        return f"--seq_len={seq_len}: {pool.num_truncated} longer sentences are cut"
    if not pool.dropped:
        return ""
    lost = []
    for key, all_, kept in zip(
        concepts.keys, concepts.members, pool.concepts.members, strict=True
    ):
        positives = all_.num_positives - kept.num_positives
        negatives = all_.num_negatives - kept.num_negatives
        line = (
            f"{key}: {positives} of {all_.num_positives} positives, "
            f"{negatives} of {all_.num_negatives} negatives"
        )
        lost.append((-positives - negatives, line))
    title = (
        f"--seq_len={seq_len}: {len(pool.dropped)} of {len(concepts.sentences)} "
        "sentences are longer and left out:"
    )
    return join_problems(title, [line for less, line in sorted(lost) if less])


def _pad_id(tokenizer: Any) -> int:
    """The padding token, or the end token where there is none (the reference)."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0
