from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from expertjax.concepts.pool import Membership
from expertjax.scoring.experts import OF_BEST, BestUnits

N, U, K = 90, 300, 7


@pytest.mark.parametrize("on_devices", [False, True])
def test_the_best_units_come_with_their_concepts_responses(
    tmp_path: Path, on_devices: bool
):
    random = np.random.default_rng(0)
    members = [
        Membership(random.permutation(N)[:n].astype(np.int32), np.zeros(n, np.int8))
        for n in (40, 20, 41, 90, 17)
    ]
    # Ties are by unit, across blocks too.
    ap_CxU = random.integers(0, 50, (len(members), U)).astype(np.float32) / 50
    x_NxU = random.normal(size=(N, U)).astype(np.float32)

    def of_best(concept: int, x_nxK: np.ndarray) -> np.ndarray:
        assert x_nxK.dtype == np.float32
        assert len(x_nxK) == len(members[concept].sentence)
        return np.stack([x_nxK[0], x_nxK[-1], x_nxK.sum(0)], axis=1)

    best = BestUnits(tmp_path / "best", K, len(members))
    for block, start in enumerate(range(0, U, 100)):
        units = slice(start, start + 100)
        x = jnp.asarray(x_NxU[:, units]) if on_devices else x_NxU[:, units]
        best.add(block, 0, start, x, ap_CxU[:, units], members, of_best)
    table = best.table(3, "abcde")
    wanted = []
    for c, member in enumerate(members):
        units_K = np.argsort(-ap_CxU[c], kind="stable")[:K]
        x_nxK = x_NxU[member.sentence][:, units_K]
        columns = [range(1, K + 1), units_K, ap_CxU[c, units_K], *of_best(c, x_nxK).T]
        of_concept = dict(zip(["rank", "unit", "ap", *OF_BEST], columns, strict=True))
        wanted.append(pd.DataFrame({"concept": "abcde"[c], **of_concept}))
    wanted_table = pd.concat(wanted, ignore_index=True)
    pd.testing.assert_frame_equal(
        table, wanted_table, check_dtype=False, rtol=1e-6, atol=1e-6
    )
