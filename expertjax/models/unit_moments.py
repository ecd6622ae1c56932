"""What some units do at the tokens of a concept's sentences, as numbers."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class UnitMoments:
    """Means and variances over the tokens of each sentence.

    Attributes:
      label: [N] 1 for positives, 0 for negatives.
      num_tokens: [N] tokens that count.
      mean: [N, K] over a sentence's tokens.
      variance: [N, K] likewise, about that mean.
    """

    label: np.ndarray
    num_tokens: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def keep(self, columns: np.ndarray) -> "UnitMoments":
        """Those of some units."""
        return dataclasses.replace(
            self, mean=self.mean[:, columns], variance=self.variance[:, columns]
        )

    def sentence_means(self, label: int) -> np.ndarray:
        """[n, K] float64: the means of the sentences of one class."""
        return self.mean[self.label == label].astype(np.float64)

    def of_tokens(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """[K] mean and [K] deviation over all tokens of one class."""
        there = self.label == label
        weight_n = self.num_tokens[there] / self.num_tokens[there].sum()
        mean_nxK = self.sentence_means(label)
        mean_K = weight_n @ mean_nxK
        within_K = weight_n @ self.variance[there].astype(np.float64)
        between_K = weight_n @ (mean_nxK - mean_K) ** 2
        return mean_K, np.sqrt(within_K + between_K)
