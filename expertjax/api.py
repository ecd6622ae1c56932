"""The façade's functions: what a notebook or a program calls."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jax.sharding import Mesh

from expertjax.analysis import expertise as analysis
from expertjax.analysis.dashboards import DashboardSettings
from expertjax.analysis.export import Format, export_expertise
from expertjax.capturing.excited_tokens import excited_tokens
from expertjax.capturing.moments import require_sentences, unit_moments
from expertjax.checkpoints.load import Model
from expertjax.concepts.files import read_concepts
from expertjax.concepts.pool import ConceptSet, build_concept_set
from expertjax.generation import generate as generate_room
from expertjax.generation.interventions import Intervention, make_edits
from expertjax.generation.settings import GenerateSettings
from expertjax.home import user_path
from expertjax.models.unit_edits import UnitEdit
from expertjax.models.unit_moments import UnitMoments
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder

_ASSETS = Path(__file__).parent / "assets"
EXAMPLE_MODEL = _ASSETS / "models" / "gpt2_wordnet"
EXAMPLE_CONCEPTS = _ASSETS / "concepts" / "wordnet_topics"


class Expertise(analysis.Expertise):
    """A result: its tables, and the edits that are made from it."""

    def edit(
        self, concept: str, model: Model | None = None, **intervention: Any
    ) -> UnitEdit:
        """Any edit.

        Args:
          concept: `group/name`.
          model: for "gaussian" and "transport", which run the concept's sentences.
          **intervention: see `generation.interventions.Intervention`.

        Raises:
          InputError: see `edits`.
        """
        load = None if model is None else lambda: model
        return self.edits(concept, [Intervention(**intervention)], load)[0]

    def edits(
        self,
        concept: str,
        interventions: Sequence[Intervention],
        load: Callable[[], Model] | None = None,
    ) -> list[UnitEdit]:
        """Several edits, for which the concept's sentences are run once at most.

        Args:
          concept: `group/name`.
          interventions: see there.
          load: gives the model, if it is needed.

        Raises:
          InputError: see `generation.interventions.make_edits` and
            `capturing.moments.unit_moments`.
        """

        def measure(units: np.ndarray) -> UnitMoments:
            assert load is not None
            require_sentences(self.folder)
            rows, label = self.members(concept)
            return unit_moments(self.folder, load(), rows, label, units)

        return make_edits(self, concept, interventions, load and measure)

    def force(
        self, concept: str, k: int = 50, value: str = "on_p50", **more: Any
    ) -> UnitEdit:
        """Sets the k best units of a concept to a metric's value or a number."""
        return self.edit(concept, edit="force", num_units=k, value=str(value), **more)

    def ablate(self, concept: str, k: int = 50, **more: Any) -> UnitEdit:
        """Sets the k best units to 0."""
        return self.edit(concept, edit="ablate", num_units=k, **more)

    def damp(
        self, concept: str, k: int = 50, strength: float = 0.5, **more: Any
    ) -> UnitEdit:
        """Multiplies the k best units by `strength`."""
        return self.edit(concept, edit="damp", num_units=k, strength=strength, **more)

    def aura(self, concept: str, k: int = 50, **more: Any) -> UnitEdit:
        """Damps the k best units by their AUROC."""
        return self.edit(concept, edit="aura", num_units=k, **more)

    def transport(
        self,
        concept: str,
        model: Model,
        k: int = 50,
        strength: float = 1.0,
        **more: Any,
    ) -> UnitEdit:
        """Maps what the k best units do at negatives' tokens onto positives'."""
        more |= {"edit": "transport", "num_units": k, "strength": strength}
        return self.edit(concept, model, **more)

    def export(
        self,
        out: Path | str,
        form: Format,
        model: Model | Callable[[], Model] | None = None,
        settings: DashboardSettings | None = None,
    ) -> Path:
        """Writes the result in another form, such as "csv" or "neuronpedia".

        Args:
          out: files go to `out/<model name>`.
          form: see `analysis.export.export_expertise`.
          model: for "saedashboard" and "neuronpedia", which run some sentences; or what
            loads it.
          settings: for these two.

        Returns:
          `out/<model name>`.

        Raises:
          InputError: see `export_expertise` and `capturing.excited_tokens`.
        """

        def measure() -> pd.DataFrame:
            assert model is not None
            loaded = model if isinstance(model, Model) else model()
            return excited_tokens(self.folder, loaded)

        return export_expertise(self, out, form, measure if model else None, settings)


def load_concepts(
    folder: Path | str,
    *,
    num_per_concept: int = 1000,
    data_seed: int = 1234,
    compat: str = "",
) -> ConceptSet:
    """Reads a concept folder and pools its sentences.

    Args:
      folder: with `concept_list.csv` and a JSON file for each concept.
      num_per_concept: the most positives, and the most negatives, of a concept.
      data_seed: of drawing them.
      compat: "selfcond" lets a sentence count as often as its concept lists it, as
        apple/ml-selfcond does; else it counts once.

    Raises:
      InputError: lists everything that is wrong with the files; a sentence is positive
        and negative of one concept.
    """
    return build_concept_set(
        read_concepts(user_path(folder)),
        num_per_concept,
        data_seed,
        as_listed=compat == "selfcond",
    )


def generate(
    model: Model,
    prompt: str | Sequence[str],
    edit: UnitEdit | Sequence[UnitEdit | None] | None = None,
    seeds: Sequence[int] = (0,),
    **settings: Any,
) -> pd.DataFrame:
    """Writes a text for every edit, prompt and seed.

    Args:
      model: of a causal family.
      prompt: one or several.
      edit: one or several; None leaves the model as it is.
      seeds: a text each.
      **settings: of `GenerateSettings`.

    Returns:
      a row for each text: the numbers of its edit and prompt, seed, context (the
      prompt), continuation, sentence (both), num_tokens.

    Raises:
      InputError: see `expertjax.generation.generate.generate`.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    edits = [edit] if edit is None or isinstance(edit, UnitEdit) else list(edit)
    return generate_room.generate(
        model, prompts, edits, list(seeds), GenerateSettings(**settings)
    )


def score(
    responses: ResultFolder | Path | str,
    concepts: ConceptSet | None = None,
    out: Path | str | None = None,
    settings: ScoreSettings | None = None,
    mesh: Mesh | None = None,
) -> Expertise:
    """Scores captured responses: all units against all concepts.

    Args:
      responses: from `capture`, or its folder.
      concepts: other concepts over the same sentences; by default those of the
        capture.
      out: folder for the result, by default the same one.
      settings: see `ScoreSettings`.
      mesh: for accelerators; defaults to all devices of this process.

    Raises:
      InputError: see `expertjax.scoring.score.score`.
    """
    if not isinstance(responses, ResultFolder):
        responses = ResultFolder(responses)
    from expertjax.scoring import score as scoring_room  # brings numba

    return Expertise(scoring_room.score(responses, concepts, out, settings, mesh))
