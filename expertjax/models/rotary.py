"""Which rotary frequencies a config asks for, as `transformers` reads it."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from expertjax.models.attention import Rotary, rotary_frequencies
from expertjax.models.configs import ConfigReader
from expertjax.typing import Array


@dataclasses.dataclass(frozen=True)
class RotaryConfig:
    """The rotation of queries and keys by their position."""

    frequencies: tuple[float, ...]  # [R / 2] radians per position
    scale: float = 1.0  # of cosine and sine
    # Where longer inputs have other frequencies, which are not implemented.
    max_positions: int | None = None

    def at(self, positions_BxT: Array) -> Rotary:
        """The rotations at some positions."""
        frequencies = np.array(self.frequencies)
        return Rotary.of(positions_BxT, frequencies, scale=self.scale)


@dataclasses.dataclass(frozen=True)
class _Plain:
    """What all kinds start from."""

    frequencies: np.ndarray  # [R / 2]
    width: int  # R
    theta: float
    longest: int  # max_position_embeddings
    original: int  # that of pretraining, where the context was extended later


KindFn = Callable[[ConfigReader, _Plain], RotaryConfig]


def read_rotary(
    rope: ConfigReader,
    width: int,
    *,
    longest: int,
    theta: float = 1e4,
    original: int | None = None,
    kinds: Mapping[str, KindFn] | None = None,
) -> RotaryConfig:
    """Reads `rope_parameters`, or `rope_scaling` as it was called before.

    Args:
      rope: `reader.nested("rope_parameters", "rope_scaling")`.
      width: R, how much of each head is rotated.
      longest: the config's `max_position_embeddings`.
      theta: the config's `rope_theta`, where `rope` does not say.
      original: the config's `original_max_position_embeddings`, which wins over
        what `rope` says.
      kinds: those that the family has, by its names; all of `KINDS` by default.
    """
    rope.require(width % 2 == 0, f"heads cannot be rotated by odd {width} coordinates")
    theta = rope.take("rope_theta", theta, float)
    if theta <= 1:
        rope.require(False, f"rope_theta={theta!r} should be more than 1")
        theta = 1e4
    # Both names were written for some time.
    kind = rope.take("rope_type", rope.take("type", "default"))
    kinds = KINDS if kinds is None else kinds
    if kind not in kinds:
        known = ", ".join(sorted(kinds))
        rope.require(False, f"rope_type={kind!r} is not known; known: {known}")
        kind = "default"
    if kind not in ("default", "dynamic", "linear"):
        inner = rope.take("original_max_position_embeddings", longest)
        original = inner if original is None else original
    frequencies = rotary_frequencies(width, theta)
    plain = _Plain(frequencies, width, theta, longest, original or longest)
    return kinds[kind](rope, plain)


def read_flat_rotary(
    reader: ConfigReader, head_width: int, *, longest: int, theta: float = 1e4
) -> RotaryConfig:
    """Reads the settings of a model that rotates all layers alike, whole heads.

    Args:
      reader: of the whole config.
      head_width: K.
      longest: `max_position_embeddings` if the config does not say.
      theta: of the frequencies, likewise.
    """
    rope = reader.nested("rope_parameters", "rope_scaling")
    rope.only("partial_rotary_factor", 1.0, None)
    return read_rotary(
        rope,
        head_width,
        longest=reader.take("max_position_embeddings", longest),
        theta=reader.take("rope_theta", theta, float),
    )


def _needed(rope: ConfigReader, name: str) -> float:
    value = rope.take(name, None, float)
    positive = value is not None and value > 0
    rope.require(positive, f"{name}={value!r} should be a positive number")
    return value if positive else 1.0


def _tuple(frequencies: np.ndarray) -> tuple[float, ...]:
    return tuple(frequencies.tolist())


def _default(rope: ConfigReader, plain: _Plain) -> RotaryConfig:
    return RotaryConfig(_tuple(plain.frequencies))


def _linear(rope: ConfigReader, plain: _Plain) -> RotaryConfig:
    return RotaryConfig(_tuple(plain.frequencies / _needed(rope, "factor")))


def _dynamic(rope: ConfigReader, plain: _Plain) -> RotaryConfig:
    """Theta grows with the input, but only from `max_position_embeddings` on."""
    _needed(rope, "factor")
    return RotaryConfig(_tuple(plain.frequencies), max_positions=plain.longest)


def _llama3(rope: ConfigReader, plain: _Plain) -> RotaryConfig:
    """Slow frequencies are divided, fast ones kept (Llama 3.1)."""
    factor, low, high = (
        _needed(rope, name)
        for name in ("factor", "low_freq_factor", "high_freq_factor")
    )
    if high <= low:
        rope.require(False, f"high_freq_factor={high} should exceed {low}")
        return RotaryConfig(_tuple(plain.frequencies))
    turns = plain.original * plain.frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    mixed = plain.frequencies * (kept + (1 - kept) / factor)
    return RotaryConfig(_tuple(mixed))


def _yarn(rope: ConfigReader, plain: _Plain) -> RotaryConfig:
    """YaRN: Peng et al. 2023, section 3.2, with the bounds as `transformers` has."""
    factor = rope.take("factor", None, float) or plain.longest / plain.original
    scale = rope.take("attention_factor", None, float)
    above, below = (rope.take(n, None, float) for n in ("mscale", "mscale_all_dim"))
    fast = rope.take("beta_fast", None, float) or 32.0
    slow = rope.take("beta_slow", None, float) or 1.0
    whole = rope.take("truncate", True)
    if scale is None:
        scale = _temperature(factor, above if above and below else 1.0)
        scale /= _temperature(factor, below) if above and below else 1.0

    def coordinate(turns: float) -> float:
        """The one that turns so often within the original context."""
        ratio = plain.original / (turns * 2 * math.pi)
        return plain.width * math.log(ratio) / (2 * math.log(plain.theta))

    start, end = coordinate(fast), coordinate(slow)
    if whole:
        start, end = math.floor(start), math.ceil(end)
    start, end = max(start, 0), min(end, plain.width - 1)
    end = end + 0.001 if start == end else end
    ramp = np.clip((np.arange(plain.width // 2) - start) / (end - start), 0.0, 1.0)
    mixed = plain.frequencies * (1 - ramp + ramp / factor)
    return RotaryConfig(_tuple(mixed), float(scale))


def _temperature(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def _longrope(rope: ConfigReader, plain: _Plain) -> RotaryConfig:
    """LongRoPE: Ding et al. 2024, for inputs within the original context."""
    rope.ignore("long_factor")
    short = rope.take("short_factor", [])
    numbers = all(isinstance(f, (int, float)) and f > 0 for f in short)
    if not numbers or len(short) != plain.width // 2:
        rope.require(False, f"short_factor should be {plain.width // 2} numbers")
        short = [1.0] * (plain.width // 2)
    factor = rope.take("factor", None, float) or plain.longest / plain.original
    scale = rope.take("attention_factor", None, float)
    if scale is None:
        grown = max(math.log(factor), 0.0) / math.log(plain.original)
        scale = math.sqrt(1 + grown)
    scaled = plain.frequencies / np.array(short)
    return RotaryConfig(_tuple(scaled), scale, max_positions=plain.original)


KINDS: dict[str, KindFn] = {
    "default": _default,
    "dynamic": _dynamic,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "yarn": _yarn,
}
