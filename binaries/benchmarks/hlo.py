"""Reads compiled programs as XLA prints them: which kernels run, how often, on what.

What a kernel moves are its results and what it reads of its operands: of what it only
slices, the slices; of what it updates in place, the update.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_WIDTHS = {"pred": 1, "bf16": 2} | {
    f"{kind}{bits}": bits // 8 for kind in "sufc" for bits in (8, 16, 32, 64)
}
_SHAPE = re.compile(rf"\b({'|'.join(_WIDTHS)})\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_NO_KERNELS = {
    "after-all", "bitcast", "constant", "get-tuple-element", "parameter", "tuple",
}  # fmt: skip
_SLICES = {"slice", "dynamic-slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel of a compiled program.

    Attributes:
      name: XLA's.
      opcode: "fusion", "sort", ...
      loops: how deep in loops it stands.
      runs: how often it runs.
      bytes: that it moves each time.
    """

    name: str
    opcode: str
    loops: int
    runs: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    @property
    def elements(self) -> int:
        return sum(number for _, number in self._arrays())

    @property
    def bytes(self) -> int:
        return sum(_WIDTHS[kind] * number for kind, number in self._arrays())

    def _arrays(self) -> Iterator[tuple[str, int]]:
        for kind, sizes in _SHAPE.findall(self.shape):
            yield kind, math.prod(int(n) for n in sizes.split(",") if n)

    def called(self, role: str) -> str:
        found = re.search(rf"\b{role}=%?([\w.\-]+)", self.rest)
        assert found is not None, self.rest
        return found[1]


def kernels(text: str) -> list[Kernel]:
    """The kernels of a program, in the order in which they stand there.

    Args:
      text: of an optimised module, `jax.stages.Compiled.as_text()`. Loops whose number
        of rounds XLA does not know count as one round.
    """
    computations, entry = _read(text)
    return list(_walk(computations, entry, 1, 0))


def _read(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    computations: dict[str, dict[str, _Instruction]] = {}
    entry = current = ""
    for line in re.sub(r"/\*index=\d+\*/", "", text).splitlines():
        if header := _COMPUTATION.match(line):
            current = header[2]
            computations[current] = {}
            entry = current if header[1] else entry
        elif current and (found := _INSTRUCTION.match(line)):
            operands = re.findall(r"%([\w.\-]+)", found[5].partition(")")[0])
            name = found[2]
            computations[current][name] = _Instruction(
                name, found[3], found[4], tuple(operands), found[5], bool(found[1])
            )
    return computations, entry


def _walk(
    computations: dict[str, dict[str, _Instruction]], name: str, runs: int, loops: int
) -> Iterator[Kernel]:
    instructions = computations[name]
    for one in instructions.values():
        if one.opcode == "while":
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"', one.rest)
            rounds = int(known[1]) if known else 1
            yield from _walk(computations, one.called("body"), runs * rounds, loops + 1)
        elif one.opcode == "call":
            yield from _walk(computations, one.called("to_apply"), runs, loops)
        elif one.opcode not in _NO_KERNELS:
            inside = {}
            if one.opcode == "fusion":
                inside = computations[one.called("calls")]
            moved = _moved(one, instructions, inside)
            yield Kernel(one.name, one.opcode, loops, runs, moved)


def _moved(
    kernel: _Instruction,
    around: dict[str, _Instruction],
    inside: dict[str, _Instruction],
) -> int:
    operands = [around[name] for name in kernel.operands if name in around]
    if not inside:
        return kernel.bytes + sum(one.bytes for one in operands)
    users: dict[str, list[_Instruction]] = {name: [] for name in inside}
    for one in inside.values():
        for name in dict.fromkeys(one.operands):
            if name in users:
                users[name].append(one)

    @functools.cache
    def read(name: str) -> int:
        """Elements of a value that a fusion computes or reads; it does no others."""
        value, wanted = inside[name], 0
        if value.is_root:
            return value.elements
        for user in users[name]:
            if user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                continue  # in place
            if user.opcode in _SLICES or user.elements >= value.elements:
                wanted += read(user.name)
            else:
                wanted += value.elements
        return min(wanted, value.elements)

    moved = kernel.bytes
    for one in inside.values():
        if one.opcode == "parameter":
            moved += read(one.name) * one.bytes // max(one.elements, 1)
        elif one.opcode == "dynamic-update-slice":
            moved -= one.bytes - inside[one.operands[1]].bytes
    return moved
