"""How often a unit's maximum stands at the first token, over parts of a capture.

Such a unit tells how sentences begin: in causal models the first token sees no other.
"""

import numpy as np
import tensorstore as ts

from expertjax.capturing.prepare import Prepared, write_units
from expertjax.runtime import processes
from expertjax.stores import arrays
from expertjax.stores.folder import AT_FIRST, ResultFolder


def open_counts(
    folder: ResultFolder, prepared: Prepared, num_parts: int
) -> ts.TensorStore:
    """[parts, U] float32, the sentences of each part; NaN until they are written.

    Args:
      folder: of the capture.
      prepared: sentences and units.
      num_parts: blocks of sentences, or groups of concepts.
    """
    layout = arrays.Layout(
        (num_parts, prepared.table.num_units),
        "float32",
        (1, prepared.columns_per_process),
        ("part", "unit"),
    )
    return arrays.create_array(folder.at_first_path, layout)


def write_share(folder: ResultFolder, prepared: Prepared) -> None:
    """Writes the share of all sentences to `units.parquet`, where pooling is "max".

    Nothing happens where it is there already, or where nothing was counted: a run that
    an earlier version has finished.

    Args:
      folder: of a capture whose processes have written all counts.
      prepared: sentences and units.
    """
    if prepared.settings.pooling != "max" or not processes.is_first():
        return
    if AT_FIRST in folder.read_table("units") or not folder.at_first_path.exists():
        return
    counts_PxU = arrays.open_array(folder.at_first_path)
    sums_U = np.zeros(prepared.table.num_units)
    for part in range(counts_PxU.shape[0]):
        sums_U += counts_PxU[part].read().result()
    share_U = (sums_U / len(prepared.pool.tokens)).astype(np.float32)
    write_units(folder, prepared.table, share_U)
