"""Which unit is which, from a model's config or from the names of its modules."""

import re
from collections.abc import Mapping, Sequence

from expertjax.errors import InputError, join_problems
from expertjax.models.sites import Site, UnitTable

# Some block's number, or what follows an @ there (see `Site`), and the rest.
_MODULE = re.compile(r"(?:(.*?)\.)?(\d+)(?:@(\d+))?[.]?(.+)")


def units_of_model(
    layout: Mapping[str, int], sites: Sequence[Site], num_layers: int, model: str
) -> UnitTable:
    """The units in the order of a model.

    Args:
      layout: torch module -> its number of units.
      sites: of the model's blocks.
      num_layers: L.
      model: for messages.

    Raises:
      InputError: the model does not have these modules, or not of this width.
    """
    segments = {
        site.module_name(layer): (layer, site)
        for layer in range(num_layers)
        for site in sites
    }
    problems = []
    for module, width in layout.items():
        if module not in segments:
            problems.append(f"{module} is none of its sites")
        elif segments[module][1].features != width:
            has = segments[module][1].features
            problems.append(f"{module} has {has} units there, {width} in the files")
    if problems:
        raise InputError(
            join_problems(f"--model={model}: is not the model of the files:", problems)
        )
    return UnitTable(tuple(segments[name] for name in segments if name in layout))


def units_of_modules(layout: Mapping[str, int]) -> UnitTable:
    """The units layer by layer, sites in alphabetical order.

    A block's number is the first number in a module's name, and its site's name what
    follows; where blocks lie in several lists (XLM), with the name of the list.

    Args:
      layout: torch module -> its number of units.

    Raises:
      InputError: names without a number.
    """
    parsed = {module: _MODULE.fullmatch(module) for module in layout}
    problems = [
        f"{module} has no number of a layer" for module, m in parsed.items() if not m
    ]
    if problems:
        raise InputError(
            join_problems("modules that cannot be placed; give --model:", problems)
        )
    lists = {match[1] for match in parsed.values() if match}
    segments = []
    for module, match in parsed.items():
        assert match
        prefix, number, other, name = match.groups()
        if len(lists) > 1:
            name = f"{prefix.rpartition('.')[2]}.{name}" if prefix else name
        site = Site(name, layout[module], module.replace("{", "{{").replace("}", "}}"))
        segments.append((int(other or number), site))
    return UnitTable(tuple(sorted(segments, key=lambda pair: (pair[0], pair[1].name))))
