"""Weights of experts that stand alone in a checkpoint, as the tensors of all."""

import re
from collections import defaultdict

import numpy as np

from expertjax.checkpoints.readers import TensorSource
from expertjax.errors import InputError, join_problems
from expertjax.models.family import Family

# Whole tensor -> expert -> part -> the tensor in the checkpoint.
_Parts = dict[str, dict[int, dict[int, str]]]


class FusedSource:
    """Another source's tensors, with `Family.fused` ones put together when read."""

    def __init__(self, source: TensorSource, family: Family) -> None:
        """Looks at names and shapes only.

        Args:
          source: the checkpoint; its whole tensors stay as they are.
          family: says which tensors belong together.

        Raises:
          InputError: experts or parts are missing, or differ in shape or dtype.
        """
        self.name, self._source = source.name, source
        self.shapes, self.dtypes = dict(source.shapes), dict(source.dtypes)
        self._parts: _Parts = defaultdict(lambda: defaultdict(dict))
        count = {}
        for fused in family.fused:
            for part, name in enumerate(fused.parts):
                pattern = _pattern(name, family.prefix)
                for key in source.shapes:
                    if found := pattern.fullmatch(key):
                        whole = fused.key.format(layer=found["layer"])
                        self._parts[whole][int(found["expert"])][part] = key
                        count[whole] = len(fused.parts)
        problems = [
            problem
            for whole, experts in self._parts.items()
            for problem in self._fuse(whole, experts, count[whole])
        ]
        if problems:
            raise InputError(
                join_problems(f"{source.name}: the weights do not fit:", problems)
            )

    def read(self, key: str) -> np.ndarray:
        """One tensor: [E, out, in] of those that were put together."""
        if key not in self._parts:
            return self._source.read(key)
        experts = self._parts[key]
        tensor = None
        for expert in range(len(experts)):
            of_one = [self._source.read(experts[expert][p]) for p in sorted(experts[0])]
            if tensor is None:
                tensor = np.empty(self.shapes[key], of_one[0].dtype)
            np.concatenate(of_one, out=tensor[expert])
        assert tensor is not None, key
        return tensor

    def _fuse(
        self, whole: str, experts: dict[int, dict[int, str]], count: int
    ) -> list[str]:
        """Puts a tensor's shape and dtype in place of its parts'; what is wrong."""
        if whole in self.shapes:
            key = next(iter(experts[min(experts)].values()))
            return [f"tensors {whole!r} and {key!r} are the same"]
        found = {
            expert: len(experts.get(expert, {})) for expert in range(1 + max(experts))
        }
        problems = [
            f"of {whole!r}, expert {expert} has {parts} of {count} tensors"
            for expert, parts in found.items()
            if parts != count
        ]
        keys = [key for parts in experts.values() for key in parts.values()]
        kinds = {key: (self.shapes[key], self.dtypes[key]) for key in keys}
        first = keys[0]
        problems += [
            f"tensor {key!r} is {kinds[key]}, and {first!r}, which belongs to it, "
            f"{kinds[first]}"
            for key in keys
            if kinds[key] != kinds[first]
        ]
        shape = self.shapes[first]
        if len(shape) != 2:
            problems.append(f"tensor {first!r} has shape {shape}, expected a matrix")
        if problems:
            return problems
        self.shapes[whole] = (len(experts), count * shape[0], shape[1])
        self.dtypes[whole] = self.dtypes[first]
        for key in keys:
            del self.shapes[key], self.dtypes[key]
        return []


def _pattern(key: str, prefix: str) -> re.Pattern[str]:
    """Of a key; checkpoints saved without a head lack the prefix."""
    pattern = re.escape(key.removeprefix(prefix))
    for name in ("layer", "expert"):
        pattern = pattern.replace(rf"\{{{name}\}}", rf"(?P<{name}>\d+)")
    return re.compile(f"(?:{re.escape(prefix)})?{pattern}")
