"""GPTQ: integers with a scale and a zero point for groups of inputs.

Format: AutoGPTQ's and GPTQModel's `QuantLinear`. Words are packed along the inputs in
`qweight`, along the outputs in `qzeros`; a number of three bits may lie in two words.
`g_idx` is the group of each input, out of order where groups were formed by activation.
The first version of the format stores a zero point less one.
"""

import functools

import numpy as np

from expertjax.checkpoints.quantised.numbers import (
    even_groups,
    scale_groups,
    unpack,
    unpack_rows,
)
from expertjax.checkpoints.quantised.weights import Packing, Parts, Scheme
from expertjax.models.configs import ConfigReader

_BITS = (2, 3, 4, 8)
_FIRST, _SECOND = "gptq", "gptq_v2"
# How the weights were found, and what kernels are to do with them; shapes of groups
# are those of the tensors.
NOTES = """
    act_group_aware backend batch_size block_name_to_quantize cache_block_outputs
    damp_auto_increment damp_percent dataset desc_act do_fuse dynamic exllama_config
    fuse_max_seq_len group_size hyb_act lm_head max_input_length meta
    model_file_base_name model_name_or_path model_seqlen
    module_name_preceding_first_block modules_in_block_to_quantize modules_to_fuse
    modules_to_not_convert mse offload_to_disk offload_to_disk_path pack_impl
    pad_token_id static_groups sym tokenizer true_sequential use_cuda_fp16
    use_exllama
""".split()


def gptq(settings: ConfigReader) -> Scheme:
    """The scheme of `quant_method` "gptq"."""
    bits = settings.take("bits", 4, int)
    settings.require(bits in _BITS, f"bits={bits!r}: known: 2, 3, 4, 8")
    settings.rename(checkpoint_format="format")
    version = settings.choose("format", _FIRST, (_FIRST, _SECOND))
    settings.only("pack_dtype", "int32")
    settings.only("is_marlin_format", False)
    settings.only("adapter", None)
    settings.ignore("method", *NOTES)
    packing = Packing(
        ".qweight",
        (".qzeros", ".scales"),
        (".g_idx",),
        functools.partial(_shape, bits=bits),
        functools.partial(_values, bits=bits, less_one=version == _FIRST),
    )
    return Scheme(f"gptq ({bits} bits)", (packing,), as_linear=True)


def _bits(parts: Parts, bits: int) -> int:
    """Some modules may have others than the config says, which `g_idx` shows."""
    if ".g_idx" not in parts:
        return bits
    (words, _), (inputs,) = parts.shape(".qweight"), parts.shape(".g_idx")
    found, rest = divmod(32 * words, inputs)
    if rest or found not in _BITS:
        raise ValueError(f"{words} rows of .qweight for {inputs} inputs")
    return found


def _shape(parts: Parts, bits: int) -> tuple[int, ...]:
    words, outputs = parts.shape(".qweight")
    return outputs, 32 * words // _bits(parts, bits)


def _values(parts: Parts, bits: int, less_one: bool) -> np.ndarray:
    bits = _bits(parts, bits)
    numbers = unpack_rows(parts.read(".qweight", "int32"), bits)
    scale = parts.floats(".scales")
    words = parts.read(".qzeros", "int32")
    zero = unpack(_add_one(words, bits) if less_one else words, bits)[
        :, : scale.shape[1]
    ]
    if less_one and 8 % bits:
        zero = (zero + 1) & (2**bits - 1)
    if ".g_idx" in parts:
        group = parts.read(".g_idx", "int32", "int64")
    else:
        group = even_groups(len(numbers), len(scale))
    return scale_groups(numbers, scale, zero, group, axis=0).T


def _add_one(words: np.ndarray, bits: int) -> np.ndarray:
    """One more for each number of the words.

    GPTQModel subtracts from whole words what is added here, so that a zero point of
    nothing borrows from its neighbour; but for three bits, where numbers stand alone.
    """
    if 8 % bits:
        return words
    ones = np.uint32(sum(1 << at for at in range(0, 32, bits)))
    return (words.astype(np.uint32) + ones).astype(np.int32)
