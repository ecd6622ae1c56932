"""Which scheme a config names, by `quantization_config`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from expertjax.checkpoints.quantised.awq import awq
from expertjax.checkpoints.quantised.bitsandbytes import bitsandbytes
from expertjax.checkpoints.quantised.compressed_tensors import compressed_tensors
from expertjax.checkpoints.quantised.fp8 import fbgemm, fp8
from expertjax.checkpoints.quantised.gptq import gptq
from expertjax.checkpoints.quantised.mxfp4 import mxfp4
from expertjax.checkpoints.quantised.weights import DequantisedSource, Scheme
from expertjax.checkpoints.readers import TensorSource
from expertjax.errors import InputError
from expertjax.models.configs import ConfigReader

SCHEMES: Mapping[str, Callable[[ConfigReader], Scheme]] = {
    "awq": awq,
    "bitsandbytes": bitsandbytes,
    "compressed-tensors": compressed_tensors,
    "fbgemm_fp8": fbgemm,
    "fp8": fp8,
    "gptq": gptq,
    "mxfp4": mxfp4,
}
_NAMES = ("quantization_config", "compression_config")  # today's, an older one
# Modules of transformers' Conv1D, whose weights are [in, out], by `model_type`.
_CONV1D = dict.fromkeys(("gpt2", "openai-gpt"), (".c_attn", ".c_proj", ".c_fc"))


def take_scheme(
    attributes: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], Scheme | None]:
    """Takes out of a config what it says of quantisation.

    Args:
      attributes: the content of `config.json`.
      path: of that file, for messages.

    Returns:
      what is left, and the scheme; None where weights are not quantised.

    Raises:
      InputError: the scheme is not known, or something of it.
    """
    left = {name: value for name, value in attributes.items() if name not in _NAMES}
    given = {name: attributes[name] for name in _NAMES if attributes.get(name)}
    if not given:
        return left, None
    name, value = next(iter(given.items()))
    method: Any = _method(value) if isinstance(value, Mapping) else None
    if method not in SCHEMES:
        raise InputError(
            f"{path}: {name}: quant_method {method!r} is not read; known: "
            f"{', '.join(SCHEMES)}, and GGUF files; or take the checkpoint that the "
            "weights were made of"
        )
    settings = ConfigReader(value, ())
    settings.ignore("quant_method")
    scheme = SCHEMES[method](settings)
    settings.check(f"{path}: {name}: quant_method {method!r}")
    return left, scheme


def _method(settings: Mapping[str, Any]) -> Any:
    """Its name, which bitsandbytes did not write at first."""
    is_old = settings.get("load_in_8bit") or settings.get("load_in_4bit")
    return settings.get("quant_method", "bitsandbytes" if is_old else None)


def dequantised(
    source: TensorSource, scheme: Scheme, attributes: Mapping[str, Any]
) -> DequantisedSource:
    """The tensors as they would be without quantisation.

    Args:
      source: of the folder's files.
      scheme: from `take_scheme`.
      attributes: the content of `config.json`.

    Raises:
      InputError: they are not as the scheme has them.
    """
    return DequantisedSource(
        source, scheme, _CONV1D.get(attributes.get("model_type", ""), ())
    )
