"""Some texts side by side, shown as they are written."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation.generate import advance
from expertjax.generation.plan import Plan
from expertjax.generation.settings import GenerateSettings
from expertjax.jax_settings import jax_settings
from expertjax.models.unit_edits import UnitEdit

_INCOMPLETE = "\ufffd"  # stands for bytes that are no character yet


class Writing:
    """A batch of texts, written a token at a time.

    What is written is to the bit what `generate` writes when given the same.
    """

    def __init__(
        self,
        model: Model,
        prompts: Sequence[str],
        edits: Sequence[UnitEdit | None] = (None,),
        seeds: Sequence[int] = (0,),
        settings: GenerateSettings | None = None,
    ) -> None:
        """Checks its arguments, which are those of `generate`; writes nothing yet.

        Raises:
          InputError: as of `generate`, or they are more than one batch.
        """
        with jax_settings():
            settings = settings or GenerateSettings()
            self._plan = Plan(model, prompts, edits, seeds, settings)
        if self._plan.count > self._plan.size:
            raise InputError(
                f"--batch_size={settings.batch_size}: {self._plan.count} texts cannot "
                "be shown side by side as they are written"
            )
        self._written_BxN = np.zeros((self._plan.count, 0), np.int32)

    def __iter__(self) -> Iterator[list[str]]:
        """After each token, what each text adds to its prompt so far."""
        with jax_settings():
            first, job = self._plan.begin(0)
        for state in advance(self._plan, first, job, 1):
            self._written_BxN = np.asarray(state.written)[:, : int(state.num_written)]
            yield [
                self._plan.continuation(text, ids.tolist()).rstrip(_INCOMPLETE)
                for text, ids in enumerate(self._written_BxN)
            ]

    def table(self) -> pd.DataFrame:
        """What is written by now, as `generate` returns it."""
        return self._plan.table(list(self._written_BxN))
