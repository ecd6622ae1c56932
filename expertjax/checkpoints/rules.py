"""The engine that fills a module from Hugging Face tensors by a key table.

Every tensor of the checkpoint must be placed by exactly one rule (or be named
as ignored), every parameter must be filled, and every shape must fit. All
problems are reported together.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from expertjax.checkpoints.readers import FLOATS, TensorSource
from expertjax.errors import InputError, join_problems
from expertjax.models.family import Family, KeyRule
from expertjax.models.task_heads import is_of_task_head

_ALIGNMENT = 64  # bytes; XLA copies host arrays with less
# Parameter path -> {layer, or None where nothing is stacked: (key, rule)}.
Plan = dict[str, dict[int | None, tuple[str, KeyRule]]]


def load_params(
    family: Family,
    source: TensorSource,
    abstract: nnx.State,
    put: Callable[[str, np.ndarray], jax.Array],
    dtype: Any = np.float32,
) -> nnx.State:
    """Reads all parameters, one stacked tensor in host memory at a time.

    Args:
      family: its key table is used.
      source: the checkpoint.
      abstract: the module's state as shapes (`nnx.eval_shape`).
      put: moves a host array to the device(s), given the parameter's path.
      dtype: of the arrays that it is given.

    Returns:
      the state with what `put` returned.

    Raises:
      InputError: keys that are missing, unknown or matched twice, wrong shapes,
        quantised tensors.
    """
    targets = {
        ".".join(map(str, path)): variable for path, variable in abstract.flat_state()
    }
    shapes = {path: tuple(variable.shape) for path, variable in targets.items()}
    plan = plan_params(family, source, shapes)
    filled = []
    for path, parts in plan.items():
        value = put(path, _read(source, shapes[path], parts, dtype))
        jax.block_until_ready(value)  # so that host arrays do not pile up
        filled.append((tuple(path.split(".")), targets[path].replace(value)))
    return nnx.State.from_flat_path(filled)


def plan_params(
    family: Family, source: TensorSource, shapes: Mapping[str, tuple[int, ...]]
) -> Plan:
    """Decides which tensor goes where, without reading any.

    Args:
      family: its key table is used.
      source: the checkpoint's tensor names and shapes.
      shapes: parameter path -> shape that is needed.

    Raises:
      InputError: as in `load_params`.
    """
    plan: Plan = {path: {} for path in shapes}
    spare: dict[str, str] = {}
    problems = []
    match = _Matcher(family)
    for key in source.shapes:
        found = match(key)
        if len(found) > 1:
            problems.append(f"tensor {key!r} is matched by {len(found)} rules")
        for layer, rule in found[:1]:
            if rule.path not in plan:
                if rule.optional:
                    spare[rule.path] = key
                else:
                    problems.append(f"tensor {key!r} has no place in this config")
            elif layer in plan[rule.path]:
                other = plan[rule.path][layer][0]
                problems.append(f"tensors {other!r} and {key!r} are the same")
            else:
                plan[rule.path][layer] = key, rule
        if not found and not match.is_ignored(key):
            problems.append(f"tensor {key!r} is not known in family {family.name}")
    _fill_from_twins(family, plan, spare)
    problems += _check(plan, shapes, source.shapes)
    problems += _quantised(plan, source.dtypes)
    if problems:
        raise InputError(
            join_problems(f"{source.name}: the weights do not fit:", problems)
        )
    return plan


def untied(
    family: Family, source: TensorSource, abstract: nnx.State
) -> list[tuple[str, str]]:
    """Tied weights that were saved all the same, and say something else.

    Args:
      family: its key table says which are tied.
      source: the checkpoint.
      abstract: the state of a module that ties, as shapes.

    Returns:
      the tensor that our module would pass over, and the one that it should equal.
    """
    ours = {".".join(map(str, path)) for path, _ in abstract.flat_state()}
    match = _Matcher(family)
    key_of: dict[str, str] = {}
    for key in source.shapes:
        key_of |= {rule.path: key for _, rule in match(key)}
    pairs = [
        (key_of[rule.path], key_of[rule.equals])
        for rule in family.rules
        if rule.path not in ours
        and rule.equals in ours
        and rule.path in key_of
        and rule.equals in key_of
    ]
    return [
        (key, twin)
        for key, twin in pairs
        if not {source.dtypes[key], source.dtypes[twin]} <= FLOATS
        or not np.array_equal(source.read(key), source.read(twin))
    ]


def export_params(family: Family, state: nnx.State) -> dict[str, np.ndarray]:
    """The inverse of `load_params`: Hugging Face names and layouts.

    Returns:
      key -> host array, in the order of the key table.
    """
    tensors = {}
    for key, layer, rule, variable in _exported(family, state):
        value = np.asarray(variable[...] if layer is None else variable[...][layer])
        tensors[key] = np.ascontiguousarray(_turned(value) if rule.transpose else value)
    return tensors


def export_keys(family: Family, state: nnx.State) -> list[str]:
    """The names that `export_params` gives."""
    return [key for key, *_ in _exported(family, state)]


def _exported(
    family: Family, state: nnx.State
) -> Iterator[tuple[str, int | None, KeyRule, nnx.Variable]]:
    params = {
        ".".join(map(str, path)): variable for path, variable in state.flat_state()
    }
    for rule in family.rules:
        if rule.path not in params:
            continue
        variable = params[rule.path]
        if "{layer}" in rule.key:
            for layer in range(variable.shape[0]):
                if layer not in rule.lacking:
                    yield rule.key.format(layer=layer), layer, rule, variable
        else:
            yield rule.key, None, rule, variable


class _Matcher:
    """Finds the rules of a key, with or without prefix, of old or of today."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._rules = [(_pattern(rule.key), rule) for rule in family.rules]
        self._ignored = [_pattern(key) for key in family.ignored]

    def __call__(self, key: str) -> list[tuple[int | None, KeyRule]]:
        """(layer, or None where nothing is stacked; rule) for every match."""
        matches = [
            (pattern.fullmatch(name), rule)
            for pattern, rule in self._rules
            for name in self._names(key)
        ]
        return [
            (int(match[1]) if match.groups() else None, rule)
            for match, rule in matches
            if match
        ]

    def is_ignored(self, key: str) -> bool:
        """Is it named as a tensor that our module has no use for?"""
        return is_of_task_head(key) or any(
            p.fullmatch(name) for p in self._ignored for name in self._names(key)
        )

    def _names(self, key: str) -> tuple[str, ...]:
        for old, new in self._family.renamed:
            if key.endswith(old):
                key = key.removesuffix(old) + new
        prefix, other = self._family.prefix, self._family.task_prefix
        if other and key.startswith(other):
            key = prefix + key.removeprefix(other)
        return (key, prefix + key) if prefix else (key,)


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(re.escape(key).replace(r"\{layer\}", r"(\d+)"))


def _fill_from_twins(family: Family, plan: Plan, spare: Mapping[str, str]) -> None:
    """Of two tensors that are tied, checkpoints may hold either.

    Args:
      family: its key table says which are.
      plan: gets what is missing.
      spare: path of a parameter that our module lacks -> the tensor that is there.
    """
    for rule in family.rules:
        for here, there in ((rule.equals, rule.path), (rule.path, rule.equals)):
            if plan.get(here) == {} and there in spare:
                key = spare[there]
                plan[here][None] = key, KeyRule(key, here)


def _check(
    plan: Plan,
    wanted: Mapping[str, tuple[int, ...]],
    given: Mapping[str, tuple[int, ...]],
) -> list[str]:
    """What is missing, superfluous or of another shape."""
    problems = []
    for path, parts in plan.items():
        stacked = bool(parts) and None not in parts
        layers = set(range(wanted[path][0])) if stacked else {None}
        layers = layers.difference(*(rule.lacking for _, rule in parts.values()))
        missing = layers - parts.keys()
        if not parts:
            problems.append(f"no tensor fills {path}")
        elif missing:
            problems.append(f"no tensor fills {path} of layer(s) {_list(missing)}")
        if extra := parts.keys() - layers:
            problems.append(f"{path} has no layer(s) {_list(extra)} in this config")
        shape = wanted[path][1:] if stacked else wanted[path]
        for key, rule in parts.values():
            expected = (*shape[:-2], *shape[:-3:-1]) if rule.transpose else shape
            if given[key] != expected:
                problems.append(
                    f"tensor {key!r} has shape {given[key]}, expected {expected}"
                )
    return problems


def _quantised(plan: Plan, dtypes: Mapping[str, str]) -> list[str]:
    """Tensors whose values mean nothing without the scales of their kind."""
    of_dtype: dict[str, list[str]] = {}
    for parts in plan.values():
        for key, _ in parts.values():
            if dtypes[key] not in FLOATS:
                of_dtype.setdefault(dtypes[key], []).append(key)
    return [
        f"{len(keys)} tensor(s) such as {keys[0]!r} are of dtype {dtype}: quantised "
        "weights whose scales or scheme (quantization_config) are not there; take the "
        "checkpoint that they were made of, or save them dequantised"
        for dtype, keys in of_dtype.items()
    ]


def _list(layers: Iterable[int | None]) -> str:
    return ", ".join(str(layer) for layer in sorted(layers, key=lambda x: x or 0))


def _read(
    source: TensorSource,
    shape: tuple[int, ...],
    parts: Mapping[int | None, tuple[str, KeyRule]],
    dtype: Any,
) -> np.ndarray:
    value = _zeros(shape, dtype)  # some layers may lack it
    for layer, (key, rule) in parts.items():
        tensor = source.read(key)
        target = value if layer is None else value[layer]
        target[...] = _turned(tensor) if rule.transpose else tensor
    return value


def _turned(tensor: np.ndarray) -> np.ndarray:
    """[.., out, in] <-> [.., in, out]."""
    return np.swapaxes(tensor, -1, -2)


def _zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Aligned so that jax can use it as it is on CPUs."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)
