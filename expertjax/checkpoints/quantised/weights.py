"""The one form that every scheme of quantisation takes here.

A scheme keeps a weight as several tensors of one module: packed numbers, scales, zero
points. A `Packing` says which these are and how the weight is made of them again; a
`DequantisedSource` shows the weights in place of the tensors.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from expertjax.checkpoints.readers import TensorSource
from expertjax.errors import InputError, join_problems

# What parts that are not as they should be raise where they are put together.
_UNFIT = (ValueError, LookupError, TypeError)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The tensors of one quantised weight.

    Attributes:
      source: that holds them.
      prefix: what their names begin with: the module, or for tensors that are no
        module's own the name of the weight.
    """

    source: TensorSource
    prefix: str

    def __contains__(self, part: str) -> bool:
        return self.prefix + part in self.source.shapes

    def shape(self, part: str) -> tuple[int, ...]:
        """Of the tensor with this ending, e.g. ".scales"."""
        return self.source.shapes[self.prefix + part]

    def read(self, part: str, *dtypes: str) -> np.ndarray:
        """The tensor with this ending.

        Args:
          part: e.g. ".scales".
          *dtypes: that it may have, as numpy and ml_dtypes name them; any if none.

        Raises:
          ValueError: it has another.
        """
        dtype = self.source.dtypes[self.prefix + part]
        if dtypes and dtype not in dtypes:
            raise ValueError(f"{part} is of dtype {dtype}, not {' or '.join(dtypes)}")
        return self.source.read(self.prefix + part)

    def floats(self, part: str) -> np.ndarray:
        """The tensor with this ending, of any type of floats, in float32."""
        return self.read(part).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Packing:
    """How a scheme keeps a weight. All names are endings, e.g. ".qweight".

    Attributes:
      mark: the tensor by which such a weight is known.
      needs: those that have to be beside it.
      may_have: those that may be; what says how activations are quantised is here,
        too, and not read.
      weight: what the unquantised tensor is called.
      shape: of the unquantised tensor; raises ValueError where parts do not fit.
      values: the unquantised tensor in float32; likewise.
    """

    mark: str
    needs: tuple[str, ...]
    may_have: tuple[str, ...]
    shape: Callable[[Parts], tuple[int, ...]]
    values: Callable[[Parts], np.ndarray]
    weight: str = ".weight"

    def find(self, source: TensorSource) -> Iterator[Parts]:
        """All weights that are kept so."""
        for key in source.shapes:
            if key.endswith(self.mark):
                yield Parts(source, key.removesuffix(self.mark))


@dataclasses.dataclass(frozen=True)
class Scheme:
    """What a config says of how its weights are quantised.

    Attributes:
      name: for people, e.g. "gptq (4 bits)".
      packings: the forms that a weight may have.
      unused: endings of tensors that only say how activations or caches are quantised.
      as_linear: are the weights of transformers' Conv1D kept the way of nn.Linear?
    """

    name: str
    packings: tuple[Packing, ...]
    unused: tuple[str, ...] = ()
    as_linear: bool = False


class DequantisedSource:
    """A source whose quantised weights look as if they had never been quantised."""

    def __init__(
        self, source: TensorSource, scheme: Scheme, conv1d: Sequence[str] = ()
    ) -> None:
        """Looks for the weights; reads none.

        Args:
          source: with the tensors of the files.
          scheme: how they are quantised.
          conv1d: endings of the modules whose weights are [in, out].

        Raises:
          InputError: parts are missing or do not fit.
        """
        self.name = source.name
        self._source, self._scheme, self._conv1d = source, scheme, tuple(conv1d)
        self._found: dict[str, tuple[Packing, Parts]] = {}
        taken: set[str] = set()
        twice = []
        for packing in scheme.packings:
            for parts in packing.find(source):
                key = parts.prefix + packing.weight
                if key in self._found:
                    other = self._found[key][0].mark
                    twice.append(f"{key} has both {other} and {packing.mark}")
                self._found[key] = packing, parts
                names = (packing.mark, *packing.needs, *packing.may_have)
                taken |= {parts.prefix + name for name in names}
        self.shapes: dict[str, tuple[int, ...]] = {
            key: shape
            for key, shape in source.shapes.items()
            if key not in taken and not key.endswith(scheme.unused)
        }
        self.dtypes = {key: source.dtypes[key] for key in self.shapes}
        quantised = self._shapes(twice)
        self.shapes |= quantised
        self.dtypes |= dict.fromkeys(quantised, "float32")

    def read(self, key: str) -> np.ndarray:
        """One tensor; what was quantised in float32.

        Raises:
          InputError: it cannot be dequantised.
        """
        if key not in self._found:
            return self._source.read(key)
        packing, parts = self._found[key]
        try:
            value = packing.values(parts)
        except _UNFIT as error:
            raise InputError(self._problem(key, error)) from error
        value = value.T if self._is_conv1d(key) else value
        if value.shape != self.shapes[key]:
            raise InputError(self._problem(key, f"its shape would be {value.shape}"))
        return value

    def _shapes(self, problems: list[str]) -> Mapping[str, tuple[int, ...]]:
        """Of the quantised weights; refuses them with all other problems."""
        shapes = {}
        for key, (packing, parts) in self._found.items():
            missing = [name for name in packing.needs if name not in parts]
            if missing:
                problems.append(f"{key} lacks {', '.join(missing)}")
            elif key in self.shapes:
                problems.append(f"{key} is there beside {packing.mark}")
            elif self._is_conv1d(key) and not self._scheme.as_linear:
                problems.append(f"{key} is no weight of nn.Linear")
            else:
                try:
                    shape = packing.shape(parts)
                except _UNFIT as error:
                    problems.append(self._problem(key, error))
                else:
                    shapes[key] = shape[::-1] if self._is_conv1d(key) else shape
        if problems:
            name = f"{self.name}: weights quantised as {self._scheme.name}:"
            raise InputError(join_problems(name, problems))
        return shapes

    def _is_conv1d(self, key: str) -> bool:
        return key.removesuffix(".weight").endswith(self._conv1d)

    def _problem(self, key: str, error: Exception | str) -> str:
        return f"{self.name}: {key} cannot be read as {self._scheme.name} ({error})"
