"""How well a probe does on held-out sentences."""

import numpy as np


def accuracy(label_n: np.ndarray, predicted_n: np.ndarray) -> float:
    """The share of right predictions."""
    return float(np.mean(label_n == predicted_n))


def balanced_accuracy(label_n: np.ndarray, predicted_n: np.ndarray) -> float:
    """The mean over classes of the share of their sentences that are found."""
    is_right = label_n == predicted_n
    return float(np.mean([is_right[label_n == k].mean() for k in np.unique(label_n)]))


def auroc(label_n: np.ndarray, score_nxK: np.ndarray) -> float:
    """The area under the ROC curve; of several classes, the mean of each against rest.

    Args:
      label_n: int, from 0 to K - 1; each class is there.
      score_nxK: the larger, the likelier.
    """
    classes = range(score_nxK.shape[1])
    wanted = classes[1:] if len(classes) == 2 else classes
    return float(np.mean([_area(label_n == k, score_nxK[:, k]) for k in wanted]))


def _area(is_positive_n: np.ndarray, score_n: np.ndarray) -> float:
    """Mann and Whitney's U, as a share of all pairs; ties count half."""
    # Half a second, for which every program would wait.
    from scipy.stats import rankdata

    positives = is_positive_n.sum()
    negatives = len(is_positive_n) - positives
    ranks = rankdata(score_n)[is_positive_n].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))
