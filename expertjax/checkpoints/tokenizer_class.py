"""Which class of transformers makes a folder's tokenizer.

Most classes build the tokenizer anew, out of the vocabulary and the settings of
`tokenizer_config.json`: what `tokenizer.json` says of cutting and normalising text
does not count. `AutoTokenizer` chooses the class, but imports torch wherever that is
installed. Its rules stand here, for the families that are known; the classes
themselves do without torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expertjax.checkpoints.json_file import read_json
from expertjax.errors import InputError

AS_WRITTEN = "PreTrainedTokenizerFast"  # takes tokenizer.json as it is
LISTED = "tokenizer.json"
SETTINGS = "tokenizer_config.json"

# By `model_type`; None leaves it to the folder.
OF_MODEL_TYPE: dict[str, str | None] = {
    "albert": "AlbertTokenizer",
    "bart": "RobertaTokenizer",
    "bert": "BertTokenizer",
    "bloom": None,
    "cohere": "CohereTokenizer",
    "cohere2": "CohereTokenizer",
    "ctrl": "CTRLTokenizer",
    "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "eurobert": None,
    "falcon": None,
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "glm4": AS_WRITTEN,
    "gpt2": "GPT2Tokenizer",
    "gpt_neo": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "gpt_oss": None,
    "gptj": "GPT2Tokenizer",
    "granite": AS_WRITTEN,
    "granitemoe": AS_WRITTEN,
    "llama": None,
    "llava": AS_WRITTEN,
    "ministral": AS_WRITTEN,
    "ministral3": AS_WRITTEN,
    "mistral": AS_WRITTEN,
    "mistral3": AS_WRITTEN,
    "mixtral": AS_WRITTEN,
    "modernbert": AS_WRITTEN,
    "mpnet": "MPNetTokenizer",
    "mt5": "T5Tokenizer",
    "nemotron": AS_WRITTEN,
    "nomic_bert": "BertTokenizer",
    "olmo": "GPTNeoXTokenizer",
    "olmo2": AS_WRITTEN,
    "olmo3": AS_WRITTEN,
    "olmoe": "GPTNeoXTokenizer",
    "openai-gpt": "OpenAIGPTTokenizer",
    "opt": "GPT2Tokenizer",
    "phi": "GPT2Tokenizer",
    "phi3": AS_WRITTEN,
    "qwen2": "Qwen2Tokenizer",
    "qwen2_5_vl": "Qwen2Tokenizer",
    "qwen2_5_vl_text": None,
    "qwen2_moe": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "qwen3_moe": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer",
    "smollm3": None,
    "stablelm": AS_WRITTEN,
    "starcoder2": "GPT2Tokenizer",
    "t5": "T5Tokenizer",
    "xlm": "XLMTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "xlnet": "XLNetTokenizer",
}
# Whose folders are known to name a class that is not theirs.
NAMED_WRONGLY = frozenset({"llava", "modernbert", "nemotron", "phi3", "qwen2"})


def tokenizer_class(folder: Path, attributes: Mapping[str, Any]) -> Any:
    """The class that `AutoTokenizer` would take.

    Args:
      folder: a Hugging Face folder with a tokenizer.
      attributes: its `config.json`.

    Raises:
      InputError: the settings are damaged, or name a class without a fast form.
    """
    from transformers import PreTrainedTokenizerFast

    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    named = settings.get("tokenizer_class") or attributes.get("tokenizer_class")
    name = _choose(folder, attributes.get("model_type", ""), named, settings)
    found = _look_up(name)
    if isinstance(found, type) and issubclass(found, PreTrainedTokenizerFast):
        return found
    is_listed = (folder / LISTED).is_file()
    if found is None or (is_listed and not named):
        return PreTrainedTokenizerFast
    raise InputError(
        f"{folder}: tokenizer_class={name!r} has no fast form; to take {LISTED} as it "
        f"is, put such a file there and name {AS_WRITTEN!r} in {SETTINGS}"
    )


def _choose(
    folder: Path, model_type: str, named: Any, settings: Mapping[str, Any]
) -> str:
    own = OF_MODEL_TYPE.get(model_type)
    if named is None:
        return own or AS_WRITTEN
    named = str(named)
    short = named.removesuffix("Fast")
    if not _has_code(settings):
        of_bytes = short == "LlamaTokenizer" and model_type not in NAMED_WRONGLY
        if of_bytes and _is_byte_level(folder):
            return AS_WRITTEN
        if own == AS_WRITTEN or (own and model_type in NAMED_WRONGLY):
            return own
    return named


def _has_code(settings: Mapping[str, Any]) -> bool:
    """Does the folder bring a class of its own, which is not run?"""
    there = settings.get("auto_map")
    return bool(there) and (not isinstance(there, Mapping) or "AutoTokenizer" in there)


def _is_byte_level(folder: Path) -> bool:
    """Llama 3's kind, for which the class that it names is too old."""
    path = folder / LISTED
    return path.is_file() and '"ByteLevel"' in path.read_text("utf-8")


def _look_up(name: str) -> Any:
    """What transformers calls so; None for what only keeps tokenizer.json, or nothing.

    A name may be that of anything, but only tokenizers are looked up.
    """
    import transformers

    if not name.removesuffix("Fast").endswith("Tokenizer"):
        return None
    if name.removesuffix("Fast") in ("PreTrainedTokenizer", "BloomTokenizer"):
        return None
    for each in (name.removesuffix("Fast"), name):
        if hasattr(transformers, each):
            return getattr(transformers, each)
    return None
