"""What a program prints of a model's results."""

from expertjax.analysis.expertise import Expertise
from expertjax.analysis.warnings import warnings

MOST_ROWS = 50


def best_units(expertise: Expertise, gamma: float) -> str:
    """The model's name, its concepts of highest AP with their best units, and warnings.

    Args:
      expertise: of one model.
      gamma: AP from which a unit is called an expert.
    """
    table = expertise.summary(gamma)
    keys = table.pop("concept")
    names = dict(zip(expertise.concepts["concept"], expertise.names, strict=True))
    table.insert(0, "concept", keys.map(names))
    table["key"] = keys
    lines = [expertise.folder.name, table.head(MOST_ROWS).to_string()]
    if len(table) > MOST_ROWS:
        rest = expertise.folder.path / "concepts.parquet"
        lines.append(f"and {len(table) - MOST_ROWS} concepts more: {rest}")
    lines += [f"note: {text}" for text in warnings(expertise.concepts)]
    return "\n".join(lines)
