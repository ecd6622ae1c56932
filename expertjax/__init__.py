"""expertjax finds the expert units of transformer models.

    import expertjax as ej

    lm = ej.load_model("path-or-hub-id")
    concepts = ej.load_concepts("concepts/")
    responses = ej.capture(lm, concepts, "out/model")
    expertise = ej.score(responses, concepts)
    expertise.top("football", k=20)

Names are imported when they are first used, so that importing the package costs
little more than importing jax.
"""

import importlib
from pathlib import Path
from typing import Any

_WHERE = {
    "CaptureSettings": "expertjax.capturing.settings",
    "CompareSettings": "expertjax.analysis.compare",
    "EXAMPLE_CONCEPTS": "expertjax.api",
    "EXAMPLE_MODEL": "expertjax.api",
    "DashboardSettings": "expertjax.analysis.dashboards",
    "Edit": "expertjax.models.edits",
    "Expertise": "expertjax.api",
    "FindSettings": "expertjax.jobs",
    "GenerateSettings": "expertjax.generation.settings",
    "InputError": "expertjax.errors",
    "ProbeSettings": "expertjax.probing.settings",
    "ScoreSettings": "expertjax.scoring.settings",
    "UnitEdit": "expertjax.models.unit_edits",
    "UnitTable": "expertjax.models.sites",
    "average_precision": "expertjax.scoring.average_precision",
    "bits_per_byte": "expertjax.generation.perplexity",
    "capture": "expertjax.capturing.capture",
    "capture_costs": "expertjax.jobs",
    "compare": "expertjax.analysis.compare",
    "direct_effect": "expertjax.capturing.writes",
    "find_experts": "expertjax.jobs",
    "generate": "expertjax.api",
    "load_concepts": "expertjax.api",
    "load_model": "expertjax.checkpoints.load",
    "make_concepts": "expertjax.concepts.make",
    "perplexity": "expertjax.generation.perplexity",
    "presence": "expertjax.analysis.presence",
    "probe": "expertjax.probing.run",
    "probe_models": "expertjax.jobs",
    "rank": "expertjax.analysis.ranking",
    "score": "expertjax.api",
    "self_bleu": "expertjax.generation.scores",
    "studio": "expertjax.workshop.server",
    "token_activations": "expertjax.capturing.activations",
}
_MODULES = {"plot": "expertjax.plot"}
__all__ = sorted([*_WHERE, *_MODULES], key=str.swapcase)  # functions, then classes

EXAMPLE_MODEL: Path
"""Folder of the small GPT-2 that comes with the package."""
EXAMPLE_CONCEPTS: Path
"""Folder of the concepts that come with it: 34 topics of WordNet."""
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _WHERE:
        raise AttributeError(f"module 'expertjax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
