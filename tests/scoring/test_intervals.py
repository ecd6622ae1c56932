import numpy as np
import pytest

from expertjax.concepts.pool import Membership
from expertjax.scoring.average_precision import average_precision
from expertjax.scoring.intervals import Intervals

N = 300
RANDOM = np.random.default_rng(0)
LABEL = RANDOM.permutation(np.arange(N) < 120).astype(np.int8)
MEMBER = Membership(np.arange(N, dtype=np.int32), LABEL)
# Ties in the second unit.
X_NxU = (RANDOM.normal(size=(N, 2)) + LABEL[:, None]).astype(np.float32)
X_NxU[:, 1] = np.round(X_NxU[:, 1], 1)


def test_intervals_are_those_of_drawing_sentences_anew():
    found = Intervals([MEMBER], 4000)(0, X_NxU)
    draws = np.random.default_rng(1)
    on, off = np.flatnonzero(LABEL), np.flatnonzero(LABEL == 0)
    ap = []
    for _ in range(1500):
        rows = np.concatenate([draws.choice(on, len(on)), draws.choice(off, len(off))])
        ap.append(average_precision(X_NxU[rows], LABEL[rows, None], "compiled")[0])
    wanted = np.percentile(ap, [2.5, 97.5], axis=0).T
    assert np.abs(found - wanted).max() < 0.01
    assert (found[:, 1] - found[:, 0] > 0.05).all()


def test_they_do_not_depend_on_order_or_neighbours():
    order = np.random.default_rng(2).permutation(N).astype(np.int32)
    # The weights go with the places of sentences among their class.
    order = order[np.lexsort((order, -LABEL[order]))]
    mixed = Membership(order, LABEL[order])
    one, two = Intervals([MEMBER], 200), Intervals([mixed, MEMBER], 200)
    assert (one(0, X_NxU) == two(1, X_NxU)).all()
    assert (one(0, X_NxU) == two(0, X_NxU)).all()
    assert (one(0, X_NxU)[1:] == one(0, X_NxU[:, 1:])).all()


@pytest.mark.parametrize("num_pos", [1, N - 1])
def test_a_single_sentence_of_a_class_has_an_interval(num_pos: int):
    member = Membership(MEMBER.sentence, (np.arange(N) < num_pos).astype(np.int8))
    low, high = Intervals([member], 200)(0, X_NxU[:, :1])[0]
    assert 0 < low <= high <= 1
