"""How much a report keeps, so that it stays small enough to be sent."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is kept of one model.

    Attributes:
      units: top units of each concept that get a page.
      concepts: of each of these units, the concepts of highest AP.
      excited: of each concept, the top units whose sentences are looked up.
      sentences: of each of these units, of the whole pool and of its best concept.
      negatives: of that concept, those of highest response, if no others are shown.
      spreads: concepts for which the responses of each of these units are counted.
      missed: positives of each concept that excite its best unit least.
      text: characters of a sentence.
      figures: concepts whose distribution of AP is also drawn as a file.
    """

    units: int
    concepts: int
    excited: int
    sentences: int = 8
    negatives: int = 3
    spreads: int = 3
    missed: int = 8
    text: int = 400
    figures: int = 12


def limits_for(n_concepts: int, n_models: int = 1) -> Limits:
    """Less of each concept where there are many of them, or many models.

    Chosen so that 300 concepts of one model, or 30 of ten, stay far below 10 MB.
    """
    pages = n_concepts * n_models
    return Limits(
        units=min(50, max(4, 3600 // pages)),
        concepts=min(100, max(10, 15_000 // pages)),
        excited=min(10, max(2, 1500 // pages)),
    )
