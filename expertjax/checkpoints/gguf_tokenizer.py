"""The tokenizer that a GGUF file describes.

The file has the vocabulary, which tokens are special, and the name of a way to cut
text into pieces before merging (`tokenizer.ggml.pre`). What these names mean stands
in llama.cpp's llama-vocab.cpp; a name that is not known here is refused, since
another cut gives other tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from expertjax.checkpoints.gguf_file import GGUFFile
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.errors import InputError

_CONTROL, _USER_DEFINED = 3, 4  # token types of GGUF
_SPACE = "▁"
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_NAMES = ("llama3", "llama-v3", "llama-bpe")
_CUTS = dict.fromkeys(_LLAMA3_NAMES, _LLAMA3)
_CUTS["qwen2"] = _LLAMA3.replace("{1,3}", "")
_GPT2 = ("gpt-2", "phi-2")
_SINGLE_DIGITS = ("smollm",)


def tokenizer_of(file: GGUFFile) -> Any:
    """The tokenizer of a GGUF file, or that of a `tokenizer.json` beside it.

    Raises:
      InputError: the file describes one of another kind, or none that is valid.
    """
    folder = file.path.parent
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder, file.attributes)
    from transformers import PreTrainedTokenizerFast

    kind, tokens = file.tokens.get("model"), file.tokens.get("tokens")
    if kind not in ("gpt2", "llama") or not tokens:
        raise InputError(_advice(file, f"its tokenizer is of kind {kind!r}"))
    try:
        tokenizer = (_byte_level if kind == "gpt2" else _sentencepiece)(file)
        special = {
            f"{ours}_token": tokens[file.tokens[f"{theirs}_token_id"]]
            for ours, theirs in _SPECIAL.items()
            if f"{theirs}_token_id" in file.tokens
        }
        _mark_special(tokenizer, tokens, file.tokens.get("token_type", ()))
        _frame(tokenizer, file, kind, special)
    except InputError:
        raise
    except Exception as error:  # tokenizers raises just that
        raise InputError(
            _advice(file, f"its tokenizer is damaged ({error})")
        ) from error
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _advice(file: GGUFFile, problem: str) -> str:
    return f"{file.path}: {problem}; put the model's tokenizer.json beside the file"


def _byte_level(file: GGUFFile) -> Tokenizer:
    """GPT-2's kind: merges of bytes, within pieces that a pattern cuts."""
    by_default = "gpt-2" if file.architecture.model_type == "gpt2" else None
    pre = file.tokens.get("pre", by_default)
    byte_level = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=pre not in _CUTS
    )
    if pre in _CUTS:
        cut: Any = pre_tokenizers.Split(Regex(_CUTS[pre]), behavior="isolated")
        cut = pre_tokenizers.Sequence([cut, byte_level])
    elif pre in _SINGLE_DIGITS:
        digits = pre_tokenizers.Digits(individual_digits=True)
        cut = pre_tokenizers.Sequence([digits, byte_level])
    elif pre in _GPT2:
        cut = byte_level
    else:
        raise InputError(_advice(file, f"text is cut in the way of {pre!r}"))
    merges = [tuple(merge.split(" ", 1)) for merge in file.tokens["merges"]]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=_numbered(file.tokens["tokens"]),
            merges=merges,
            ignore_merges=pre in _LLAMA3_NAMES,
        )
    )
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(file: GGUFFile) -> Tokenizer:
    """Llama 2's and Gemma's kind: merges of characters, bytes where there are none."""
    tokens, gemma = file.tokens["tokens"], file.architecture.norms_plus_one
    if gemma:
        # Runs of spaces are written as such, but looked up as text is normalised.
        tokens = [t.replace(" ", _SPACE) if not t.strip(" ") else t for t in tokens]
    # A vocabulary was made by merging, the best first; Gemma's scores are no guide.
    ranks = range(len(tokens)) if gemma else [-s for s in file.tokens["scores"]]
    unknown = tokens[file.tokens.get("unknown_token_id", 0)]
    vocabulary = _numbered(tokens)
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(vocabulary, dict(zip(tokens, ranks, strict=True))),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = file.tokens.get("add_space_prefix", True)
    if gemma:
        tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        scheme = "first" if prefix else "never"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement=_SPACE, prepend_scheme=scheme, split=False
        )
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix and not gemma:
        steps.append(decoders.Strip(content=" ", left=1))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _merges(
    vocabulary: Mapping[str, int], ranks: Mapping[str, float]
) -> list[tuple[str, str]]:
    """Every way to make a token of two others, the tokens of low rank first."""
    found = [
        (rank, token[:i], token[i:])
        for token, rank in ranks.items()
        for i in range(1, len(token))
        if token[:i] in vocabulary and token[i:] in vocabulary
    ]
    found.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])))
    return [(left, right) for _, left, right in found]


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def _mark_special(
    tokenizer: Tokenizer, tokens: Sequence[str], kinds: Sequence[int]
) -> None:
    """Tokens that are found whole in a text, before anything else is done to it."""
    # A token whose spelling was changed is no longer there to be found.
    marked = [
        (AddedToken(token, normalized=False, special=kind == _CONTROL), kind)
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=bool(kinds)))
        if kind in (_CONTROL, _USER_DEFINED) and tokenizer.token_to_id(token) == number
    ]
    tokenizer.add_special_tokens([token for token, kind in marked if kind == _CONTROL])
    tokenizer.add_tokens([token for token, kind in marked if kind != _CONTROL])


def _frame(
    tokenizer: Tokenizer, file: GGUFFile, kind: str, special: Mapping[str, str]
) -> None:
    """BOS before and EOS after each text, where the file or its kind says so."""
    by_default = kind == "llama" or file.tokens.get("pre") in _LLAMA3_NAMES
    add = {
        "bos": file.tokens.get("add_bos_token", by_default),
        "eos": file.tokens.get("add_eos_token", False),
    }
    used = [special[f"{name}_token"] for name, wanted in add.items() if wanted]
    if not used:
        return
    before = [special["bos_token"]] if add["bos"] else []
    after = [special["eos_token"]] if add["eos"] else []
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in used],
    )
