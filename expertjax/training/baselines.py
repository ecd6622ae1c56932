"""Unigram and bigram models, to show what a trained model has learnt beyond."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

_DISCOUNT = 0.75  # Kneser and Ney 1995; the usual value


def unigram_perplexity(
    train: Sequence[Sequence[int]], heldout: Sequence[Sequence[int]], vocab_size: int
) -> float:
    """Perplexity of add-one unigram counts.

    Args:
      train: token lines.
      heldout: rows of tokens; the first of each is context only, as it is for a
        language model, so that all are measured on the same targets.
      vocab_size: V.
    """
    counts = np.ones(vocab_size)
    for line in train:
        np.add.at(counts, np.asarray(line), 1)
    log_p = np.log(counts / counts.sum())
    tokens = np.concatenate([np.asarray(row[1:]) for row in heldout])
    return float(np.exp(-log_p[tokens].mean()))


def bigram_perplexity(
    train: Sequence[Sequence[int]],
    heldout: Sequence[Sequence[int]],
    vocab_size: int,
    start: int,
) -> float:
    """Perplexity of an interpolated Kneser-Ney bigram model.

    Args:
      train: token lines.
      heldout: rows of tokens; the first of each is context only.
      vocab_size: V.
      start: the token taken as standing before each training line.
    """
    pairs: dict[int, Counter[int]] = defaultdict(Counter)
    for line in train:
        for before, token in zip([start, *line], line, strict=False):
            pairs[before][token] += 1
    # How many distinct tokens each token follows; one more for the unseen.
    continuation = np.ones(vocab_size)
    for following in pairs.values():
        continuation[list(following)] += 1
    continuation /= continuation.sum()
    total = {before: sum(following.values()) for before, following in pairs.items()}
    log_likelihood, count = 0.0, 0
    for row in heldout:
        for before, token in itertools.pairwise(row):
            p = continuation[token]
            if before in pairs:
                seen, n = pairs[before], total[before]
                p = max(seen[token] - _DISCOUNT, 0) / n + (
                    _DISCOUNT * len(seen) / n * p
                )
            log_likelihood += math.log(p)
            count += 1
    return math.exp(-log_likelihood / count)
