"""Average precision as others compute it; each on the arrays that suit it best.

Every peer gets one concept's responses [U, n] side by side in memory, so that it need
not gather them, computes AP alone, and may use all cores.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np

ApFn = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [U, n], [n] -> [U]

_TILE = 64  # units whose arrays stay in the cache


def sklearn_pool() -> ApFn:
    """scikit-learn, a call per unit in a pool of processes, as the reference does."""
    pool = ProcessPoolExecutor(os.cpu_count())

    def ap(x_Uxn: np.ndarray, label_n: np.ndarray) -> np.ndarray:
        parts = np.array_split(x_Uxn, os.cpu_count() or 1)
        done = pool.map(_sklearn_ap, parts, [label_n] * len(parts))
        return np.concatenate(list(done))

    return ap


def _sklearn_ap(x_Uxn: np.ndarray, label_n: np.ndarray) -> np.ndarray:
    from sklearn.metrics import average_precision_score

    return np.array([average_precision_score(label_n, x_n) for x_n in x_Uxn])


def numpy_keys() -> ApFn:
    """numpy: sorted integer keys with the label in the lowest bit, running sums.

    Tied responses are one threshold. The label takes the place of a response's lowest
    bit: responses that differ in nothing else count as tied.
    """
    pool = ThreadPoolExecutor(os.cpu_count())

    def ap(x_Uxn: np.ndarray, label_n: np.ndarray) -> np.ndarray:
        tiles = [x_Uxn[i : i + _TILE] for i in range(0, len(x_Uxn), _TILE)]
        done = pool.map(_numpy_ap, tiles, [label_n] * len(tiles))
        return np.concatenate(list(done))

    return ap


def _numpy_ap(x_Uxn: np.ndarray, label_n: np.ndarray) -> np.ndarray:
    n, num_pos = len(label_n), int(label_n.sum())
    key = x_Uxn.view(np.int32)
    key = key ^ ((key >> 31) & np.int32(0x7FFFFFFF))
    key &= np.int32(-2)
    key |= label_n.astype(np.int32)
    key.sort(axis=1)
    label = key & np.int32(1)
    key >>= 1
    is_start = np.ones(key.shape, bool)
    np.not_equal(key[:, 1:], key[:, :-1], out=is_start[:, 1:])
    below = np.cumsum(label, axis=1, dtype=np.int32)
    below -= label
    below *= is_start
    start = np.arange(n, dtype=np.int32) * is_start
    np.maximum.accumulate(below, axis=1, out=below)
    np.maximum.accumulate(start, axis=1, out=start)
    precision = (num_pos - below).astype(np.float32)
    precision /= n - start
    precision *= label
    return precision.sum(1, dtype=np.float64) / num_pos


def torch_sort() -> ApFn:
    """torch.sort over a batch of units, labels gathered, running sums, ties exact."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)

    def ap(x_Uxn: np.ndarray, label_n: np.ndarray) -> np.ndarray:
        label = torch.from_numpy(label_n.astype(np.int64))
        tiles = torch.from_numpy(x_Uxn).split(512)
        with torch.inference_mode():
            return torch.cat([_torch_ap(tile, label) for tile in tiles]).numpy()

    return ap


def _torch_ap(x_Uxn, label_n):  # type: ignore[no-untyped-def]
    import torch

    n = x_Uxn.shape[1]
    value, order = torch.sort(x_Uxn, dim=1, descending=True)
    tp = label_n[order].cumsum(1)
    is_end = torch.ones_like(value, dtype=torch.bool)
    is_end[:, :-1] = value[:, 1:] != value[:, :-1]
    at_end = torch.where(is_end, tp, 0)
    before = torch.zeros_like(tp)
    before[:, 1:] = at_end.cummax(1).values[:, :-1]
    precision = tp.float() / torch.arange(1, n + 1)
    gained = torch.where(is_end, tp - before, 0)
    return (gained * precision).sum(1, dtype=torch.float64) / label_n.sum()


PEERS: dict[str, Callable[[], ApFn]] = {
    "scikit-learn": sklearn_pool,
    "numpy": numpy_keys,
    "torch": torch_sort,
}
