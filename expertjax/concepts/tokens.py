"""Tokenising a pool and putting it in the order in which it is run."""

import dataclasses
import hashlib
from typing import Any, Literal

import numpy as np

from expertjax.concepts.pool import ConceptSet
from expertjax.errors import InputError

Long = Literal["drop", "truncate"]
SpecialTokens = Literal["include", "exclude"]


@dataclasses.dataclass(frozen=True)
class TokenizedPool:
    """A concept set whose sentences stand by ascending length.

    Rows of like length are neighbours, so that a block of the store is a run
    of rows and is computed with little padding.

    Attributes:
      concepts: the set, in this order and without dropped sentences.
      tokens: [N] arrays of token ids.
      pooled: [N] arrays of bool: does the response take this token into account?
      dropped: sentences left out for being longer than seq_len.
      num_truncated: sentences cut at seq_len.
      pad_id: token for padding.
    """

    concepts: ConceptSet
    tokens: tuple[np.ndarray, ...]
    pooled: tuple[np.ndarray, ...]
    dropped: tuple[str, ...]
    num_truncated: int
    pad_id: int

    @property
    def lengths(self) -> np.ndarray:
        """[N] int32 tokens per sentence."""
        return np.array([len(ids) for ids in self.tokens], np.int32)

    def digest(self) -> str:
        """SHA-256 of all tokens: tells data and tokenizer apart at once."""
        digest = hashlib.sha256()
        for ids, pooled in zip(self.tokens, self.pooled, strict=True):
            digest.update(np.int32(len(ids)).tobytes())
            digest.update(ids.astype(np.int32).tobytes())
            digest.update(pooled.tobytes())
        return digest.hexdigest()


def tokenize(
    concepts: ConceptSet,
    tokenizer: Any,
    *,
    seq_len: int,
    long: Long = "drop",
    special_tokens: SpecialTokens = "include",
) -> TokenizedPool:
    """Tokenises every sentence once.

    Args:
      concepts: the pool, in any order.
      tokenizer: a Hugging Face fast tokenizer.
      seq_len: the most tokens of a sentence, special tokens included.
      long: what happens to longer sentences.
      special_tokens: do CLS, SEP and BOS take part in pooling?

    Raises:
      InputError: no sentence is left, a concept loses all of its positives or
        negatives, or a sentence has no token to pool over.
    """
    backend = tokenizer.backend_tokenizer
    # Folders often carry settings of their own, which would cut silently.
    backend.no_truncation()
    backend.no_padding()
    encodings = backend.encode_batch_fast(list(concepts.sentences))
    lengths = np.array([len(encoding.ids) for encoding in encodings])
    too_long = lengths > seq_len
    is_dropped = too_long & (long == "drop")
    fits = np.flatnonzero(~is_dropped)
    if not len(fits):
        raise InputError(f"--seq_len={seq_len}: every sentence is longer")
    order = fits[np.argsort(np.minimum(lengths[fits], seq_len), kind="stable")]
    tokens, pooled = [], []
    for row in order:
        ids = np.array(encodings[row].ids[:seq_len], np.int32)
        counts = np.ones(len(ids), bool)
        if special_tokens == "exclude":
            special = encodings[row].special_tokens_mask[:seq_len]
            counts = np.array(special, int) == 0
        if not counts.any():
            raise InputError(
                f"sentence {concepts.sentences[row]!r} has no token to pool over"
            )
        tokens.append(ids)
        pooled.append(counts)
    return TokenizedPool(
        concepts=concepts.keep(order),
        tokens=tuple(tokens),
        pooled=tuple(pooled),
        dropped=tuple(concepts.sentences[row] for row in np.flatnonzero(is_dropped)),
        num_truncated=int((too_long & ~is_dropped).sum()),
        pad_id=_pad_id(tokenizer),
    )


def _pad_id(tokenizer: Any) -> int:
    """The padding token, or the end token where there is none (the reference)."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0
