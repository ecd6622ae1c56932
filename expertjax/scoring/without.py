"""AP on the sentences that a telling form does not tell apart.

Where a form such as years tells positives from negatives, the AP of a unit may be that
of the form. So the best units are scored once more on sentences in which it cannot
help. Of a form that sentences may lack (years, capitals), those that lack it are kept,
if they are enough. A form that every sentence has (a length) is matched: from each
class of its values as many sentences are kept that positives and negatives stand in
the concept's own proportion.
"""

import zlib

import numpy as np

from expertjax.concepts.form import MAY_LACK, classes
from expertjax.concepts.pool import Membership
from expertjax.scoring.native import native
from expertjax.scoring.ties import is_first_of_sorted

LEAST = 10  # positives, and negatives, for an AP to say anything
_CLASSES = 16


def without(
    key: str, member: Membership, form: str, values_n: np.ndarray
) -> Membership:
    """The labelled sentences of a concept that a form does not tell apart.

    Args:
      key: the concept's, which seeds the draw.
      member: its labelled sentences.
      form: a name in `surface.FORM`.
      values_n: its number in each.

    Returns:
      some of them; none where fewer than `LEAST` of a class would be left.
    """
    label = member.label.astype(bool)
    kept = (values_n == 0) & (form in MAY_LACK)
    if not _is_enough(label[kept]):
        random = np.random.default_rng(zlib.crc32(key.encode()))
        kept = _matched(label, values_n, random)
    if not _is_enough(label[kept]):
        return Membership.none()
    return Membership(member.sentence[kept], member.label[kept])


def _is_enough(label: np.ndarray) -> bool:
    return min(label.sum(), (~label).sum()) >= LEAST


def _matched(
    label: np.ndarray, values_n: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """[n] bool: which are kept, of each class of values in the concept's proportion."""
    ratio = (~label).sum() / label.sum()
    kept = np.zeros(len(label), bool)
    order = random.permutation(len(label))
    class_n = classes(values_n, _CLASSES)
    for number in np.unique(class_n):
        here = order[class_n[order] == number]
        positives, negatives = here[label[here]], here[~label[here]]
        count = min(len(positives), int(len(negatives) / ratio))
        kept[positives[:count]] = True
        kept[negatives[: round(count * ratio)]] = True
    return kept


def average_precisions(
    member: Membership, x_NxK: np.ndarray, tolerance: float
) -> np.ndarray:
    """[K] AP of a few units for one concept; NaN where it has no sentences.

    Args:
      member: its labelled sentences.
      x_NxK: float32 responses.
      tolerance: of ties, see `ties`.
    """
    ap = np.full(x_NxK.shape[1], np.nan, np.float32)
    if not len(member.label):
        return ap
    for k, x_n in enumerate(x_NxK[member.sentence].T):
        order = np.argsort(x_n, kind="stable")
        is_first = is_first_of_sorted(x_n[order], tolerance)
        ap[k] = _of_sorted(is_first, member.label[order])
    return ap


@native()
def _of_sorted(is_first, label):  # type: ignore[no-untyped-def]
    """AP of ascending responses; see `is_first_of_sorted`."""
    true, before, found = 0, 0, 0.0
    for i in range(len(label) - 1, -1, -1):
        true += label[i]
        if is_first[i]:
            found += (true - before) * true / (len(label) - i)
            before = true
    return found / true
