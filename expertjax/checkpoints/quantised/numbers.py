"""What schemes share: numbers of a few bits, and scales of groups, blocks and rows."""

import numpy as np

# The values of 4-bit floats (e2m1) by their bits: sign, two of exponent, one of
# mantissa (OCP Microscaling Formats 1.0, 5.3.3).
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
E2M1 = np.concatenate([_E2M1, -_E2M1])


def unpack(words: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned numbers out of 32-bit words, the lowest bits first.

    A number may lie in two words: n words hold 32 n / bits numbers.

    Args:
      words: int32 [..., W].
      bits: of a number, 1 to 8.

    Returns:
      uint8 [..., 32 W // bits].
    """
    octets = np.ascontiguousarray(words, "<i4").view(np.uint8)
    count = 32 * words.shape[-1] // bits
    if 8 % bits == 0:
        numbers = np.empty((*words.shape[:-1], count), np.uint8)
        for at in range(8 // bits):  # one shift for all is faster than many for each
            part = (octets >> np.uint8(at * bits)) & np.uint8(2**bits - 1)
            numbers[..., at :: 8 // bits] = part
        return numbers
    single = np.unpackbits(octets, axis=-1, count=count * bits, bitorder="little")
    single = single.reshape(*words.shape[:-1], count, bits)
    return np.packbits(single, axis=-1, bitorder="little")[..., 0]


def unpack_rows(words: np.ndarray, bits: int) -> np.ndarray:
    """`unpack` along the first axis.

    Args:
      words: int32 [W, O].
      bits: of a number.

    Returns:
      uint8 [32 W // bits, O].
    """
    if 32 % bits:
        return np.ascontiguousarray(unpack(words.T, bits).T)
    numbers = np.empty((len(words), 32 // bits, words.shape[1]), np.uint8)
    for at in range(32 // bits):
        numbers[:, at] = (words >> (at * bits)) & (2**bits - 1)
    return numbers.reshape(-1, words.shape[1])


def unpack_e2m1(octets: np.ndarray) -> np.ndarray:
    """4-bit floats, two in a byte, the first in the lower half.

    Args:
      octets: uint8 [..., N].

    Returns:
      float32 [..., 2 N].
    """
    values = np.empty((*octets.shape, 2), np.float32)
    values[..., 0] = E2M1[octets & 15]
    values[..., 1] = E2M1[octets >> 4]
    return values.reshape(*octets.shape[:-1], -1)


def even_groups(inputs: int, groups: int) -> np.ndarray:
    """The group of each input, where inputs are dealt out in order.

    Raises:
      ValueError: groups would differ in size.
    """
    if groups < 1 or inputs % groups:
        raise ValueError(f"{inputs} inputs in {groups} groups")
    return np.repeat(np.arange(groups), inputs // groups)


def scale_groups(
    numbers: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray | None,
    group: np.ndarray,
    axis: int,
) -> np.ndarray:
    """(number - zero) x scale, with a scale for each output and group of inputs.

    Args:
      numbers: [I, O] or [O, I].
      scale: [G, O] or [O, G].
      zero: like scale, or None.
      group: int [I], of each input.
      axis: of the inputs, and of the groups.

    Returns:
      float32, like numbers.

    Raises:
      ValueError: the shapes do not fit, or a group is not there.
    """
    given = [part.shape for part in (scale, zero) if part is not None]
    inputs, outputs, groups = numbers.shape[axis], numbers.shape[1 - axis], given[0]
    expected = (groups[axis], outputs) if axis == 0 else (outputs, groups[axis])
    if any(shape != expected for shape in given):
        raise ValueError(f"scales and zeros {given} for {outputs} outputs")
    if group.shape != (inputs,):
        raise ValueError(f"groups of {group.shape} inputs for {inputs}")
    if group.size and not 0 <= group.min() <= group.max() < groups[axis]:
        raise ValueError(
            f"groups {group.min()} to {group.max()} of {groups[axis]} scales"
        )
    # All in the same order in memory: others are ten times slower.
    values = np.array(numbers, np.float32, order="C")
    if zero is not None:
        values -= np.take(np.ascontiguousarray(zero, np.float32), group, axis)
    values *= np.take(np.ascontiguousarray(scale, np.float32), group, axis)
    return values


def scale_blocks(
    numbers: np.ndarray, scale: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Numbers times scales of rectangles, of which the last may be cut off.

    Args:
      numbers: [O, I].
      scale: float32, of ceil(O / size[0]) x ceil(I / size[1]) rectangles.
      size: of a rectangle.

    Returns:
      float32 [O, I].

    Raises:
      ValueError: there are more or fewer scales.
    """
    (rows, columns), (height, width) = numbers.shape, size
    expected = (-(-rows // height), -(-columns // width))
    if scale.shape != expected:
        raise ValueError(
            f"scales {scale.shape} for {numbers.shape} in blocks of {size}; "
            f"expected {expected}"
        )
    values = numbers.astype(np.float32)
    of_column = np.arange(columns) // width
    for row in range(expected[0]):
        values[row * height : (row + 1) * height] *= scale[row, of_column]
    return values
