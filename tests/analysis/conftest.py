"""Result folders of given APs, as a scoring leaves them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expertjax.analysis.expertise import Expertise
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder


def write_result(
    path: Path,
    ap_CxU: np.ndarray,
    keys: Sequence[str],
    num_layers: int = 3,
    null_threshold: float = 0.6,
    chance: float = 0.4,
    tie_tolerance: float | None = None,
) -> Expertise:
    folder = ResultFolder(path)
    folder.claim("score", {"holdout": 0.0, "tie_tolerance": tie_tolerance})
    num_units = ap_CxU.shape[1]
    layer = np.arange(num_units) * num_layers // num_units
    units = pd.DataFrame({"unit": np.arange(num_units), "site": "mlp", "layer": layer})
    units["index"] = np.arange(num_units) - np.searchsorted(layer, layer)
    folder.write_table("units", units.assign(module="h." + units["layer"].astype(str)))
    best = ap_CxU.max(1)
    concepts = pd.DataFrame(
        {
            "concept": list(keys),
            "chance": chance,
            "max_ap": best,
            "null_threshold": null_threshold,
            "n_above": (ap_CxU > null_threshold).sum(1),
        }
    )
    folder.write_table("concepts", concepts)
    arrays.create_group(folder.expertise_path)
    layout = arrays.Layout(ap_CxU.shape, "float32", ap_CxU.shape, ("concept", "unit"))
    array = arrays.create_array(folder.expertise_path / "ap", layout)
    whole = [slice(0, size) for size in ap_CxU.shape]
    arrays.write_part({"ap": array}, {"ap": ap_CxU.astype(np.float32)}, *whole)
    folder.expertise_ledger.mark(0, 0, num_units)
    folder.expertise_ledger.close(1)
    return Expertise(folder)


@pytest.fixture
def make_result(tmp_path: Path) -> Callable[..., Expertise]:
    """`write_result` into a folder of its name."""
    return lambda name, *args, **more: write_result(tmp_path / name, *args, **more)
