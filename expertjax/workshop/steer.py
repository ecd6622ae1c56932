"""A model writes: as it is, with units edited, and with as many at random."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from expertjax.analysis.expertise import Expertise
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation.interventions import Intervention, edit_units, make_edits
from expertjax.generation.perplexity import perplexity
from expertjax.generation.settings import GenerateSettings
from expertjax.generation.texts import read_prompt
from expertjax.generation.writing import Writing
from expertjax.models.sites import UnitTable
from expertjax.models.unit_edits import UnitEdit
from expertjax.workshop.limits import (
    MOST_NEW,
    MOST_PROMPT,
    MOST_TOKENS,
    MOST_UNITS,
    check_characters,
)

ARMS = ("plain", "edited", "random")
# Of those that need nothing but scores: no sentence has to be run again for a slider.
KINDS = ("force", "ablate", "damp", "aura")
VALUES = ("on_p50", "on_p90", "off_mean")
Kind = Literal["force", "ablate", "damp", "aura"]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be written, and how.

    Attributes:
      prompt: to go on from.
      concept: of the expertise; whose best units are edited.
      units: their numbers, in place of the best.
      kind: what is done to them.
      num_units: how many of the best.
      value: what "force" sets them to: a metric.
      strength: what "damp" multiplies them by.
      seed: of the random choices.
      max_new_tokens: the most tokens that are written.
      temperature: of the choices.
      top_p: likewise.
      words: to be marked.
    """

    prompt: str
    concept: str = ""
    units: tuple[int, ...] = ()
    kind: Kind = "force"
    num_units: int = 50
    value: str = "on_p50"
    strength: float = 0.5
    seed: int = 0
    max_new_tokens: int = 40
    temperature: float = 0.8
    top_p: float = 0.9
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises InputError where something is too much."""
        check_characters(len(self.prompt), MOST_PROMPT)
        for name, value, least, most in (
            ("tokens to write", self.max_new_tokens, 1, MOST_NEW),
            ("units", max(self.num_units, len(self.units)), 0, MOST_UNITS),
            ("seed", self.seed, 0, 2**31 - 1),
        ):
            if not least <= value <= most:
                raise InputError(
                    f"{name}: {value:,}; expected at least {least}, at most {most:,}."
                )

    @property
    def settings(self) -> GenerateSettings:
        """Those of `generate`; only the choice of a shape could compile anew."""
        return GenerateSettings(
            max_new_tokens=int(self.max_new_tokens),
            temperature=float(self.temperature),
            top_p=float(self.top_p),
            batch_size=len(ARMS),
            room=MOST_NEW,
        )


def make_arms(expertise: Expertise, wish: Wish) -> list[UnitEdit | None]:
    """No edit, the edit, and the same of as many units at random.

    Raises:
      InputError: no such concept, unit or metric.
    """
    strength = wish.strength if wish.kind == "damp" else None
    chosen = Intervention(
        edit=wish.kind,
        num_units=len(wish.units) or wish.num_units,
        value=wish.value,
        strength=strength,
    )
    control = dataclasses.replace(chosen, select="random", select_seed=1)
    others = make_edits(expertise, wish.concept, [chosen, control])
    if wish.units:
        outside = [unit for unit in wish.units if unit >= len(expertise.units)]
        if outside:
            raise InputError(
                f"There is no unit {outside[0]}: units are numbered from 0 to "
                f"{len(expertise.units) - 1}."
            )
        key = expertise.key(wish.concept)
        others[0] = edit_units(expertise, key, np.array(wish.units), chosen)
    return [None, *others]


def arms_of_edit(model: Model, edit: UnitEdit, seed: int = 1) -> list[UnitEdit | None]:
    """The arms of an edit from a file; the control does the same to other units.

    Raises:
      InputError: it edits more units than are allowed, or some that the model lacks.
    """
    if len(edit) > MOST_UNITS:
        raise InputError(f"units: {len(edit):,}; at most {MOST_UNITS:,}.")
    edit.of_model(model.sites, model.num_layers)
    table = UnitTable.build(model.sites, model.num_layers)
    draw = np.random.default_rng(seed)
    units = draw.choice(table.num_units, len(edit), replace=False)
    site = [str(name) for name in table.site[units]]
    control = dataclasses.replace(
        edit,
        site=site,
        layer=table.layer[units],
        index=table.index[units],
        about=edit.about | {"select": "random", "select_seed": seed},
    )
    return [None, edit, control]


class Steering:
    """Three texts that are being written.

    Attributes:
      wish: what was asked for.
      edits: of the three.
    """

    def __init__(
        self, model: Model, wish: Wish, edits: Sequence[UnitEdit | None]
    ) -> None:
        """Checks; writes nothing yet.

        Raises:
          InputError: an encoder, an edit of another model, a prompt without any token
            or too long.
        """
        self.wish, self.edits, self._model = wish, list(edits), model
        settings = wish.settings
        self._writing = Writing(model, [wish.prompt], self.edits, [wish.seed], settings)
        tokens = len(read_prompt(model, wish.prompt).tokens)
        if tokens > MOST_TOKENS:
            raise InputError(
                f"The prompt has {tokens:,} tokens; at most {MOST_TOKENS}."
            )

    def __iter__(self) -> Iterator[list[str]]:
        """The continuations of the three so far, after each token."""
        return iter(self._writing)

    def table(self) -> pd.DataFrame:
        """arm, prompt, continuation, num_tokens, seed, perplexity of the whole.

        Perplexity is that of the model as it is.
        """
        texts = self._writing.table()
        # Whatever is written, one length: else another program for each.
        found = perplexity(self._model, list(texts["sentence"]), MOST_TOKENS + MOST_NEW)
        return pd.DataFrame(
            {
                "arm": ARMS,
                "prompt": texts["context"],
                "continuation": texts["continuation"],
                "num_tokens": texts["num_tokens"],
                "seed": texts["seed"],
                "perplexity": found,
            }
        )
