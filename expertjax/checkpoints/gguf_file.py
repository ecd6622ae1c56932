"""Models of llama.cpp: one `.gguf` file, or several, with weights, sizes and tokens.

It is turned into what a Hugging Face folder would hold: a `config.json` and
tensors by their names there, dequantised. Formats: see `gguf_tables.py`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from expertjax.checkpoints.gguf_experts import is_of_experts, place_of
from expertjax.checkpoints.gguf_mixtures import KNOWN, architecture_of
from expertjax.checkpoints.gguf_parts import SUFFIX, check_parts, parts_of
from expertjax.checkpoints.gguf_rope import read_rope
from expertjax.checkpoints.gguf_tables import Architecture
from expertjax.errors import InputError, join_problems
from expertjax.models.configs import IGNORE_HINT

_ROWS_VALUES = 2**20  # values that are dequantised at a time
# What llama.cpp does at these numbers of layers is not in the metadata: it divides
# the queries by the square root of D / H there, elsewhere by that of K.
_WIDE_QUERIES = {"gemma2": 46, "gemma3": 62}
# The others have no value that would go without saying.
_OPTIONAL = {"num_key_value_heads", "head_dim", "final_logit_softcapping", "clip_qkv"}
# After these llama.cpp writes no more: a text's end, a turn's, a message's, and what
# ends the filling of a gap.
_ENDS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
# How sentences are embedded and classified, which no unit depends on.
_HARMLESS = ("pooling_type", "classifier.output_labels")
_NONE = ("expert_count", "expert_used_count")  # of any experts in the other sense
_FLOATS = {"F64", "F32", "F16", "BF16"}
_FACTORS = "rope_freqs.weight"  # a table, no parameter


def find_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder, where one lies alone without a config.json.

    Of a model that is cut into several files that is the first.

    Raises:
      InputError: there are several.
    """
    if (folder / "config.json").is_file():
        return None
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) > 1 and parts_of(found[0]) == found:
        return found[0]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder}: which of {names}? Give the path of one")
    return found[0] if found else None


class GGUFFile:
    """One file, or all parts of one; a source of tensors, too.

    Attributes:
      path: of the file, or of the first part.
      metadata: its key-value pairs.
      ignored: those that were to be passed over, which `metadata` lacks.
      architecture: its row of the tables.
      attributes: the `config.json` that they amount to.
      shapes: Hugging Face's tensor name -> shape.
      dtypes: Hugging Face's tensor name -> what `read` gives.
      dequantised: the kinds of quantised tensors in it; "" of none.
    """

    def __init__(self, path: Path, ignore: Collection[str] = ()) -> None:
        """Reads everything but the tensors' values.

        Args:
          path: of the file, or of any part.
          ignore: names of metadata to be passed over.

        Raises:
          InputError: gguf is not installed, the file is damaged, or says what is
            not understood; or parts are missing.
        """
        paths = parts_of(path)
        self.path = path = paths[0]
        readers = [_open(part) for part in paths]
        fields = [_metadata(reader) for reader in readers]
        tensors = [tensor for reader in readers for tensor in reader.tensors]
        check_parts(paths, fields, len({tensor.name for tensor in tensors}))
        said = fields[0]
        self.ignored = {name: value for name, value in said.items() if name in ignore}
        self.metadata: dict[str, Any] = {
            name: value for name, value in said.items() if name not in self.ignored
        }
        name = self.metadata.get("general.architecture")
        found = architecture_of(self.metadata)
        if found is None:
            known = ", ".join(KNOWN)
            raise InputError(f"{path}: architecture {name!r}; known: {known}")
        self.architecture: Architecture = found
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._of_key = self._name_tensors()
        self.attributes = self._read_attributes(str(name))
        self.shapes: dict[str, tuple[int, ...]] = {
            key: self.architecture.shape(key, [_shape(tensor) for tensor in parts])
            for key, parts in self._of_key.items()
        }
        self.dtypes = dict.fromkeys(self.shapes, "float32")
        kinds = {tensor.tensor_type.name for tensor in self._tensors.values()} - _FLOATS
        self.dequantised = f"gguf ({', '.join(sorted(kinds))})" if kinds else ""

    @property
    def name(self) -> str:
        """The file, for messages."""
        return str(self.path)

    def read(self, key: str) -> np.ndarray:
        """One tensor as Hugging Face has it, in float32.

        Raises:
          InputError: of a kind of quantisation that is not known.
        """
        parts = self._of_key[key]
        if not is_of_experts(key):
            values = self._dequantized(parts[0])
            return self.architecture.restore(key, values, self.attributes)
        whole = np.empty(self.shapes[key], np.float32)
        for number, tensor in enumerate(parts):
            place = place_of(whole, number, len(parts), self.architecture.dealt_out)
            place[...] = self._dequantized(tensor)
        return whole

    def _dequantized(self, tensor: Any) -> np.ndarray:
        try:
            return _dequantize(tensor)
        except (NotImplementedError, ValueError) as error:
            kind = tensor.tensor_type.name
            raise InputError(
                f"{self.path}: {tensor.name} cannot be dequantised from {kind} "
                f"({error}); convert the model to another kind"
            ) from error

    def _name_tensors(self) -> dict[str, list[Any]]:
        """Hugging Face's name -> tensor, or its parts."""
        named: dict[str, dict[int, Any]] = defaultdict(dict)
        problems = []
        for name, tensor in self._tensors.items():
            if found := self.architecture.find(name):
                key, part = found
                named[key][part] = tensor
            elif name != _FACTORS:
                problems.append(f"tensor {name!r} is not known")
        parts = {key: [of[part] for part in sorted(of)] for key, of in named.items()}
        problems += [
            f"tensors {tensors[0].name!r} and {tensor.name!r} differ in shape"
            for tensors in parts.values()
            for tensor in tensors[1:]
            if _shape(tensor) != _shape(tensors[0])
        ]
        if problems:
            raise InputError(join_problems(f"{self.path}: not understood:", problems))
        return parts

    def _read_attributes(self, architecture: str) -> dict[str, Any]:
        rows, prefix = self.architecture, f"{architecture}."
        given = {
            name.removeprefix(prefix): value
            for name, value in self.metadata.items()
            if name.startswith(prefix)
        }
        attributes: dict[str, Any] = {"model_type": rows.model_type}
        attributes |= {"architectures": [rows.class_name], **rows.fixed}
        attributes |= rows.defaults
        for name, attribute in rows.numbers.items():
            if isinstance(given.get(name), (int, float)):
                attributes[attribute] = given.pop(name)
        missing = [
            f"{prefix}{name} is missing or no number"
            for name, attribute in rows.numbers.items()
            if attribute not in attributes and attribute not in _OPTIONAL
        ]
        if missing:
            raise InputError(join_problems(f"{self.path}: not understood:", missing))
        if "token_embd.weight" in self._tensors:
            attributes["vocab_size"] = _shape(self._tensors["token_embd.weight"])[0]
        attributes["tie_word_embeddings"] = "output.weight" not in self._tensors
        attributes["bos_token_id"] = self.tokens.get("bos_token_id")
        ends = [self.tokens.get(f"{name}_token_id") for name in _ENDS]
        ends = list(dict.fromkeys(token for token in ends if token is not None))
        attributes["eos_token_id"] = ends if len(ends) > 1 else next(iter(ends), None)
        given.pop("vocab_size", None)
        problems = list(self._adapt(architecture, attributes, given))
        problems += [f"{prefix}{name}={value!r}" for name, value in given.items()]
        if problems:
            raise InputError(
                join_problems(f"{self.path}: not understood:", problems) + IGNORE_HINT
            )
        return attributes

    def _adapt(
        self, architecture: str, attributes: dict[str, Any], given: dict[str, Any]
    ) -> Iterator[str]:
        """What is no plain number; takes what it understands out of `given`."""
        for name in _HARMLESS:
            given.pop(name, None)
        for name in _NONE:
            if given.get(name) == 0:
                del given[name]
        if given.pop("attention.causal", True) is not True:
            yield f"{architecture}.attention.causal=False: tokens see what follows them"
        heads = attributes.get("num_attention_heads")
        if heads is None:  # GPT-2, which rotates nothing
            return
        attributes.setdefault("num_key_value_heads", heads)
        rotated = given.pop("rope.dimension_count", None)
        width = attributes.setdefault("head_dim", attributes["hidden_size"] // heads)
        if rotated not in (None, width):
            yield f"only {rotated} of {width} coordinates of a head are rotated"
        if (other := given.pop("attention.value_length", width)) != width:
            yield f"values of width {other} beside keys of width {width}"
        kind = attributes["model_type"]
        if kind in ("llama", "granitemoe", "gpt_oss"):
            attributes["attention_bias"] = "blk.0.attn_q.bias" in self._tensors
        if kind == "llama":
            attributes["mlp_bias"] = "blk.0.ffn_up.bias" in self._tensors
        if architecture in _WIDE_QUERIES:
            wide = attributes["num_hidden_layers"] == _WIDE_QUERIES[architecture]
            scalar = attributes["hidden_size"] // heads if wide else width
            attributes["query_pre_attn_scalar"] = scalar
        factors = self._tensors.get(_FACTORS)
        table = None if factors is None else np.asarray(factors.data, np.float32)
        yield from read_rope(attributes, given, table, self.architecture.yarn)

    @cached_property
    def tokens(self) -> dict[str, Any]:
        """The metadata of the tokenizer, without its prefix."""
        prefix = "tokenizer.ggml."
        return {
            name.removeprefix(prefix): value
            for name, value in self.metadata.items()
            if name.startswith(prefix)
        }


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise InputError(f"{path}: needs the gguf package: pip install gguf") from error
    try:
        return GGUFReader(path)
    except Exception as error:  # damage shows in many ways
        raise InputError(
            f"{path}: cannot be read as GGUF ({error}); copy or download it again"
        ) from error


def _shape(tensor: Any) -> tuple[int, ...]:
    """In numpy's order; GGUF names the fastest axis first."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _metadata(reader: Any) -> dict[str, Any]:
    return {name: _plain(field.contents()) for name, field in reader.fields.items()}


def _plain(value: Any) -> Any:
    """Numbers as they were meant: 1e-05 rather than float32's nearest to it."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _dequantize(tensor: Any) -> np.ndarray:
    """A few rows at a time, because gguf's temporaries are larger than its result."""
    from gguf.quants import dequantize

    if tensor.data.dtype == np.float64:  # which gguf leaves to others
        return tensor.data.astype(np.float32)
    shape = _shape(tensor)
    values = np.empty(shape, np.float32)
    if len(shape) < 2:
        values[...] = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        return values
    rows, packed = values.reshape(-1, shape[-1]), tensor.data
    packed = packed.reshape(len(rows), -1)
    step = max(1, _ROWS_VALUES // shape[-1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        rows[part] = dequantize(packed[part], tensor.tensor_type)
    return values
