"""Vector instructions inside numba functions: one operation on sixteen units.

Numba leaves it to LLVM to find vectors in loops, which it does not where it cannot
see that arrays do not overlap. `vectorized` turns a Python function of rows into
LLVM's vector instructions directly, which fit any processor; arithmetic on `Vector`
writes them down.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
_INT32, _FLOAT, _DOUBLE = ir.IntType(32), ir.FloatType(), ir.DoubleType()
_ELEMENTS = {types.int32: _INT32, types.float32: _FLOAT, types.float64: _DOUBLE}

Operand: TypeAlias = "Vector | ir.Value | int | float"


class Vector:
    """LANES values of one type, or booleans, that an instruction has made."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self._builder = builder
        self.value = value

    @property
    def _element(self) -> ir.Type:
        return self.value.type.element

    def _is_int(self) -> bool:
        return isinstance(self._element, ir.IntType)

    def _wide(self, other: Operand) -> ir.Value:
        """The other operand as a vector of this one's type."""
        if isinstance(other, Vector):
            return other.value
        if not isinstance(other, ir.Value):
            return ir.Constant(self.value.type, [other] * LANES)
        builder = self._builder
        if self._is_int():
            other = builder.trunc(other, self._element)
        elif isinstance(other.type, ir.IntType):
            other = builder.sitofp(other, self._element)
        undefined = ir.Constant(self.value.type, ir.Undefined)
        one = builder.insert_element(undefined, other, ir.Constant(_INT32, 0))
        mask = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
        return builder.shuffle_vector(one, undefined, mask)

    def _write(self, instruction: str, other: Operand) -> "Vector":
        prefix = "" if self._is_int() else "f"
        write = getattr(self._builder, prefix + instruction)
        return Vector(self._builder, write(self.value, self._wide(other)))

    def _compare(self, sign: str, other: Operand) -> "Vector":
        kind = "icmp_signed" if self._is_int() else "fcmp_ordered"
        compare = getattr(self._builder, kind)
        return Vector(self._builder, compare(sign, self.value, self._wide(other)))

    def __add__(self, other: Operand) -> "Vector":
        return self._write("add", other)

    def __sub__(self, other: Operand) -> "Vector":
        return self._write("sub", other)

    def __rsub__(self, other: Operand) -> "Vector":
        return Vector(self._builder, self._wide(other)) - self

    def __mul__(self, other: Operand) -> "Vector":
        return self._write("mul", other)

    def __truediv__(self, other: Operand) -> "Vector":
        return self._write("div", other)

    def __lt__(self, other: Operand) -> "Vector":
        return self._compare("<", other)

    def __gt__(self, other: Operand) -> "Vector":
        return self._compare(">", other)

    def __and__(self, other: Operand) -> "Vector":
        return Vector(self._builder, self._builder.and_(self.value, self._wide(other)))

    def __or__(self, other: Operand) -> "Vector":
        return Vector(self._builder, self._builder.or_(self.value, self._wide(other)))

    def __lshift__(self, bits: int) -> "Vector":
        return Vector(self._builder, self._builder.shl(self.value, self._wide(bits)))

    def __rshift__(self, bits: int) -> "Vector":
        return Vector(self._builder, self._builder.ashr(self.value, self._wide(bits)))

    def differs(self, other: "Vector") -> "Vector":
        """Where the two are not equal."""
        return self._compare("!=", other)

    def where(self, mask: "Vector", other: Operand) -> "Vector":
        """This where the mask holds, the other elsewhere."""
        chosen = self._builder.select(mask.value, self.value, self._wide(other))
        return Vector(self._builder, chosen)

    def to_float(self) -> "Vector":
        """int32 as float32."""
        kind = ir.VectorType(_FLOAT, LANES)
        return Vector(self._builder, self._builder.sitofp(self.value, kind))

    def to_int(self) -> "Vector":
        """float32 as int32, the fraction cut off."""
        kind = ir.VectorType(_INT32, LANES)
        return Vector(self._builder, self._builder.fptosi(self.value, kind))

    def as_float(self) -> "Vector":
        """The float32 of the same bits."""
        kind = ir.VectorType(_FLOAT, LANES)
        return Vector(self._builder, self._builder.bitcast(self.value, kind))

    def to_double(self) -> "Vector":
        """float32 as float64."""
        kind = ir.VectorType(_DOUBLE, LANES)
        return Vector(self._builder, self._builder.fpext(self.value, kind))


class Rows:
    """An array [rows, LANES], contiguous; each row is loaded and stored as one."""

    def __init__(self, builder: ir.IRBuilder, start: ir.Value, element: ir.Type):
        self._builder = builder
        self._start = start
        self._kind = ir.VectorType(element, LANES)

    def _place(self, row: ir.Value | int) -> ir.Value:
        if isinstance(row, int):
            row = ir.Constant(ir.IntType(64), row)
        lane = self._builder.mul(row, ir.Constant(row.type, LANES))
        place = self._builder.gep(self._start, [lane])
        return self._builder.bitcast(place, self._kind.as_pointer())

    def __getitem__(self, row: ir.Value | int) -> Vector:
        load = self._builder.load(self._place(row), align=4)
        return Vector(self._builder, load)

    def __setitem__(self, row: ir.Value | int, vector: Vector) -> None:
        self._builder.store(vector.value, self._place(row), align=4)

    def after(self, row: ir.Value, offset: int) -> Vector:
        """The row `offset` rows further."""
        return self[self._builder.add(row, ir.Constant(row.type, offset))]


def minimum(a: Vector, b: Vector) -> Vector:
    """The smaller of each lane."""
    return a.where(a < b, b)


def maximum(a: Vector, b: Operand) -> Vector:
    """The larger of each lane."""
    return a.where(a > b, b)


def vectorized(body: Callable[..., None]) -> Any:
    """Makes `f((...))` for numba functions out of what is done to some rows.

    Args:
      body: is called once, at compile time, with `Rows` for each array of int32,
        float32 or float64 [rows, LANES], contiguous, and LLVM values for integers.
        It must not let two arrays overlap that it stores to.

    Returns:
      a function of one tuple, the body's arguments.
    """

    @intrinsic
    def run(typing_context, arguments):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
            unpacked: list[Rows | ir.Value] = []
            for i, kind in enumerate(signature.args[0]):
                value = builder.extract_value(values[0], i)
                if isinstance(kind, types.Array):
                    start = context.make_array(kind)(context, builder, value).data
                    unpacked.append(Rows(builder, start, _ELEMENTS[kind.dtype]))
                else:
                    unpacked.append(value)
            body(*unpacked)
            return context.get_dummy_value()

        return types.void(arguments), generate

    return run


def _prefetch(typing_context, array, row):  # type: ignore[no-untyped-def]
    """Asks for a row of a contiguous float32 [N, U] that will soon be read."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        num_columns = builder.extract_value(made.shape, 1)
        flag = ir.IntType(32)
        kinds = [ir.IntType(8).as_pointer(), flag, flag, flag]
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch", kinds[:1], ir.FunctionType(ir.VoidType(), kinds)
        )
        first = builder.mul(arguments[1], num_columns)
        with cgutils.for_range_slice(
            builder,
            first.type(0),
            num_columns,
            first.type(LANES),  # a cache line
            first.type,
        ) as (column, _):
            place = builder.gep(made.data, [builder.add(first, column)])
            place = builder.bitcast(place, kinds[0])
            builder.call(ask, [place, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, row), generate


prefetch: Any = intrinsic(_prefetch)
