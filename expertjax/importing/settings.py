"""The settings of an import, checked once."""

import dataclasses
from collections.abc import Sequence

from expertjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class ImportSettings:
    """What the files themselves do not say; flags have the same names.

    Attributes:
      concepts: the concept folder that was scored; "" if there is none.
      n_pos: without `concepts`, the positives of every concept.
      n_neg: likewise, the negatives.
      num_per_concept: with `concepts`, the most positives, and negatives, drawn.
      data_seed: of drawing them.
      seq_len: with `concepts` and `model`, longer sentences count as dropped.
      model: as for `load_model`; puts units in its order and names their sites. ""
        takes both from the names of the modules.
      ignore_config: as for `load_model`.
      model_name: of the result; "" is the name of the folder that is imported.
    """

    concepts: str = ""
    n_pos: int = 0
    n_neg: int = 0
    num_per_concept: int = 1000
    data_seed: int = 1234
    seq_len: int = 128
    model: str = ""
    ignore_config: Sequence[str] = ()
    model_name: str = ""

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        if self.concepts and (self.n_pos or self.n_neg):
            raise InputError("--concepts says how many sentences: no --n_pos, --n_neg")
        if not self.concepts and (self.n_pos < 1 or self.n_neg < 1):
            raise InputError(
                f"--n_pos={self.n_pos} --n_neg={self.n_neg}: give --concepts, or else "
                "both, at least 1"
            )
        if self.seq_len < 1:
            raise InputError(f"--seq_len={self.seq_len}: must be at least 1")
