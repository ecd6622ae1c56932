"""Features of the surface that are chosen or fitted for a concept.

The word that tells it best, a linear model of all form, and one of all words. Each
scores other sentences than it was fitted on: positives and negatives are dealt into
folds, and each fold is scored by what the others gave. The linear models are ridge
regression of the label (Hoerl and Kennard 1970, *Ridge Regression: Biased Estimation
for Nonorthogonal Problems*).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from expertjax.concepts.form import words

FOLDS = 5
_PENALTY = 1.0  # of the squared weights
_ACCURACY = 1e-4  # of the least squares, relative


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The words of a pool of sentences.

    Attributes:
      words: [V] in ascending order.
      has_NxV: scipy's sparse matrix of 1 where a sentence has a word.
      tfidf_NxV: the same weighted by log(N / sentences with the word), rows of length
        1.
    """

    words: list[str]
    has_NxV: Any
    tfidf_NxV: Any

    @property
    def sentences_V(self) -> np.ndarray:
        """How many sentences have each word."""
        return np.bincount(self.has_NxV.indices, minlength=len(self.words))


def read_vocabulary(texts: Sequence[str]) -> Vocabulary:
    """Finds the words of texts, [N]."""
    from scipy import sparse

    of_each = [sorted(set(words(text))) for text in texts]
    known = sorted({word for found in of_each for word in found})
    number = {word: v for v, word in enumerate(known)}
    columns = np.array([number[w] for found in of_each for w in found], np.int32)
    ends = np.cumsum([0, *map(len, of_each)])
    ones = np.ones(len(columns), np.float32)
    shape = len(texts), len(known)
    has = sparse.csr_matrix((ones, columns, ends), shape)
    idf = np.log(len(texts) / np.maximum(np.bincount(columns, minlength=shape[1]), 1))
    weights = idf[columns]
    squares = np.add.reduceat(np.append(weights**2, 0), ends[:-1]) * (np.diff(ends) > 0)
    norms = np.sqrt(np.maximum(squares, 1e-12))
    scaled = weights / np.repeat(norms, np.diff(ends))
    tfidf = sparse.csr_matrix((scaled, columns, ends), shape)
    return Vocabulary(known, has, tfidf)


@dataclasses.dataclass(frozen=True)
class FittedScores:
    """What fitted features say of a concept's sentences.

    Attributes:
      word: the best of all, by what it separates in all fitted sentences.
      fitted_nx3: scores of the fitted sentences, each by the other folds: has the best
        word; the model of form; that of words.
      others_mx3: scores of other sentences by all fitted ones.
    """

    word: str
    fitted_nx3: np.ndarray
    others_mx3: np.ndarray


def score_fitted(
    vocabulary: Vocabulary,
    form_NxF: np.ndarray,
    fitted: np.ndarray,
    label_n: np.ndarray,
    others: np.ndarray,
    seed: Sequence[int],
) -> FittedScores:
    """Scores a concept's sentences.

    Args:
      vocabulary: of the pool.
      form_NxF: what is counted in its sentences.
      fitted: [n] rows of the pool.
      label_n: 1 or 0.
      others: [m] rows that take no part in any fit.
      seed: of dealing sentences into folds.
    """
    rows, n = np.concatenate([fitted, others]), len(fitted)
    words, has, tfidf = _of_rows(vocabulary, rows)
    form = _as_features(form_NxF[rows], n)
    fold_n = deal(label_n, seed)
    counts = _word_counts(has[:n], label_n, fold_n)
    of_all = counts.sum(0)

    def score(here: np.ndarray, by: np.ndarray, counts_2xV: np.ndarray) -> np.ndarray:
        """[here, 3] scores of some rows by what others gave."""
        label = label_n[by]
        columns = (
            _column(has, _best_word(counts_2xV, label))[here],
            form[here] @ _ridge_of_few(form[by], label),
            tfidf[here] @ _ridge(tfidf[by], label),
        )
        return np.column_stack(columns)

    scores = np.zeros((n, 3), np.float32)
    for fold in range(FOLDS):
        here, by = np.flatnonzero(fold_n == fold), np.flatnonzero(fold_n != fold)
        if len(here) and 0 < label_n[by].sum() < len(by):
            scores[here] = score(here, by, of_all - counts[fold])
    others_mx3 = np.zeros((len(others), 3), np.float32)
    if len(others):
        others_mx3[:] = score(np.arange(n, len(rows)), np.arange(n), of_all)
    return FittedScores(words[_best_word(of_all, label_n)], scores, others_mx3)


def deal(label_n: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """[n] the fold of each sentence; each class is spread evenly over `FOLDS`."""
    random = np.random.default_rng(seed)
    fold_n = np.zeros(len(label_n), np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(label_n == label)
        fold_n[random.permutation(rows)] = np.arange(len(rows)) % FOLDS
    return fold_n


def _as_features(form_nxF: np.ndarray, num_fitted: int) -> np.ndarray:
    """[n, 2 F] logarithms of what is counted, and whether there is any; standardised.

    One year more matters less than one where there was none.
    """
    features = np.hstack([np.log1p(form_nxF), form_nxF > 0]).astype(np.float64)
    mean, std = features[:num_fitted].mean(0), features[:num_fitted].std(0)
    return (features - mean) / np.maximum(std, 1e-6)


def _of_rows(vocabulary: Vocabulary, rows: np.ndarray) -> tuple[list[str], Any, Any]:
    """The words of some rows, and both matrices over these."""
    has_nxV, tfidf_nxV = vocabulary.has_NxV[rows], vocabulary.tfidf_NxV[rows]
    used = np.unique(has_nxV.indices)
    known = [vocabulary.words[v] for v in used]
    return known, has_nxV[:, used], tfidf_nxV[:, used]


def _word_counts(has_nxV: Any, label_n: np.ndarray, fold_n: np.ndarray) -> np.ndarray:
    """[FOLDS, 2, V] sentences of each fold and class that have each word."""
    cell_n = fold_n * 2 + label_n
    of_cell = np.eye(2 * FOLDS, dtype=np.float32)[cell_n]
    return (has_nxV.T @ of_cell).T.reshape(FOLDS, 2, -1)


def _best_word(counts_2xV: np.ndarray, label_n: np.ndarray) -> int:
    """The word whose presence has the highest AP."""
    false, true = counts_2xV
    recall = true / label_n.sum()
    precision = true / np.maximum(true + false, 1)
    return int(np.argmax(recall * precision + (1 - recall) * label_n.mean()))


def _column(has_nxV: Any, word: int) -> np.ndarray:
    """[n] 1 where a sentence has the word."""
    return has_nxV[:, [word]].toarray()[:, 0]


def _ridge_of_few(x_nxK: np.ndarray, label_n: np.ndarray) -> np.ndarray:
    """[K] weights of the linear model of standardised features."""
    target = label_n - label_n.mean()
    gram = x_nxK.T @ x_nxK + _PENALTY * np.eye(x_nxK.shape[1])
    return np.linalg.solve(gram, x_nxK.T @ target)


def _ridge(x_nxV: Any, label_n: np.ndarray) -> np.ndarray:
    """[V] weights of the linear model of sparse features."""
    from scipy.sparse.linalg import lsqr

    target = label_n - label_n.mean()
    accuracy = {"atol": _ACCURACY, "btol": _ACCURACY}
    return np.asarray(lsqr(x_nxV, target, damp=_PENALTY**0.5, **accuracy)[0])
