"""Tokens against AutoTokenizer's: classes x settings x texts."""

import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from expertjax.checkpoints.text_half import MULTIMODAL
from expertjax.checkpoints.tokenizer import load_tokenizer, save_tokenizer
from expertjax.checkpoints.tokenizer_class import (
    AS_WRITTEN,
    NAMED_WRONGLY,
    OF_MODEL_TYPE,
)
from expertjax.errors import InputError
from expertjax.models.registry import FAMILIES
from tests.tiny_models import SENTENCES
from tests.tiny_tokenizers import KINDS

TEXTS = [
    *SENTENCES,
    "Once upon a TIME",
    " The ball  and   two spaces ",
    "naïve café, caf\u0065\u0301",
    "日本 cranes 日本",
    "12 345 6,789.0",
    "it's; don't",
    "line\nbreak\tand tab",
    "a</s>b<s> c <|endoftext|> [MASK] <mask>",
    "🦢 \u00a0x",
    "",
]


def each(**values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """All settings that these values make, and none."""
    rows = itertools.product(*values.values())
    return [{}, *(dict(zip(values, row, strict=True)) for row in rows)]


BOTH = (True, False)
BERT = each(
    do_lower_case=BOTH, tokenize_chinese_chars=BOTH, strip_accents=(True, False, None)
)
BYTES = each(add_prefix_space=BOTH)
LLAMA = each(add_prefix_space=BOTH, legacy=BOTH)
ENDS = each(add_bos_token=BOTH, add_eos_token=BOTH)
NO_CLASS = None

# (kind of tokenizer.json, model type, settings, classes that are named)
CASES = [
    ("pieces", "bert", BERT, (NO_CLASS, "BertTokenizer", AS_WRITTEN)),
    ("pieces", "distilbert", BERT, ("DistilBertTokenizerFast", "BertTokenizer")),
    ("pieces", "electra", BERT, (NO_CLASS, "ElectraTokenizer")),
    ("pieces", "mpnet", BERT, (NO_CLASS, "MPNetTokenizer", "BertTokenizerFast")),
    ("pieces", "modernbert", BERT, (NO_CLASS, "BertTokenizer")),
    ("bytes", "modernbert", BYTES, (AS_WRITTEN, "GPT2Tokenizer")),
    ("bytes", "gpt2", BYTES, (NO_CLASS, "GPT2Tokenizer", "GPT2TokenizerFast")),
    ("bytes", "gpt2", ENDS, (NO_CLASS, "GPT2Tokenizer", "TokenizersBackend")),
    ("bytes", "opt", BYTES + ENDS, (NO_CLASS, "GPT2Tokenizer", AS_WRITTEN)),
    ("bytes", "bloom", BYTES, (NO_CLASS, "BloomTokenizerFast", "GPT2Tokenizer")),
    ("bytes", "gpt_neox", BYTES + ENDS, (NO_CLASS, "GPTNeoXTokenizerFast", AS_WRITTEN)),
    ("bytes", "roberta", BYTES, (NO_CLASS, "RobertaTokenizer", "RobertaTokenizerFast")),
    ("bytes", "olmo2", BYTES, (NO_CLASS, "GPT2Tokenizer", "GPTNeoXTokenizer")),
    (
        "bytes",
        "qwen2",
        BYTES,
        (NO_CLASS, "Qwen2Tokenizer", AS_WRITTEN, "GPT2Tokenizer"),
    ),
    (
        "bytes",
        "qwen3",
        BYTES,
        (NO_CLASS, "Qwen2Tokenizer", AS_WRITTEN, "GPT2Tokenizer"),
    ),
    ("bytes", "llama", LLAMA, (NO_CLASS, "LlamaTokenizerFast", "GPT2Tokenizer")),
    ("bytes", "mistral", BYTES, ("LlamaTokenizer", "GPT2Tokenizer")),
    ("bytes", "phi3", BYTES, ("GPT2Tokenizer", "LlamaTokenizer")),
    ("bytes", "ctrl", BYTES, (AS_WRITTEN,)),
    ("bytes", "xlm", BYTES, ("TokenizersBackend",)),
    ("metaspace", "llama", LLAMA + ENDS, (NO_CLASS, "LlamaTokenizer", AS_WRITTEN)),
    ("metaspace", "mistral", LLAMA, (NO_CLASS, "LlamaTokenizerFast", AS_WRITTEN)),
    ("metaspace", "phi3", LLAMA, (NO_CLASS, "LlamaTokenizer")),
    ("metaspace without prefix", "llama", LLAMA, ("LlamaTokenizer", AS_WRITTEN)),
    ("metaspace without prefix", "mistral", LLAMA, (NO_CLASS, "LlamaTokenizer")),
    ("gemma", "gemma2", LLAMA, (NO_CLASS, "GemmaTokenizer", "LlamaTokenizer")),
    ("bytes", "gptj", BYTES, (NO_CLASS, "GPT2Tokenizer")),
    ("bytes", "cohere", BYTES, (NO_CLASS, "CohereTokenizerFast")),
    ("bytes", "falcon", BYTES, (NO_CLASS, AS_WRITTEN)),
    ("bytes", "nemotron", BYTES, (NO_CLASS, "LlamaTokenizer", AS_WRITTEN)),
    ("gemma", "gemma", LLAMA, (NO_CLASS, "GemmaTokenizer")),
    ("gemma", "gemma3", ENDS, ("GemmaTokenizerFast",)),
    ("gemma", "gemma3_text", ENDS, (NO_CLASS, "GemmaTokenizerFast", AS_WRITTEN)),
    ("word ends", "openai-gpt", BERT, (NO_CLASS, "OpenAIGPTTokenizer", AS_WRITTEN)),
    ("unigram", "xlm-roberta", BYTES, (NO_CLASS, "XLMRobertaTokenizer", AS_WRITTEN)),
    ("unigram", "albert", each(do_lower_case=BOTH, keep_accents=BOTH), (NO_CLASS,)),
    ("unigram", "albert", BYTES, ("AlbertTokenizer", AS_WRITTEN)),
    ("unigram", "xlnet", each(do_lower_case=BOTH, keep_accents=BOTH), (NO_CLASS,)),
    ("unigram", "xlnet", BYTES, ("XLNetTokenizerFast", AS_WRITTEN)),
]


@functools.cache
def serialized(kind: str) -> str:
    return KINDS[kind]().to_str()


def write(folder: Path, kind: str, config: Any, settings: Any) -> Path:
    """A folder with a tokenizer of this kind."""
    folder.mkdir()
    (folder / "tokenizer.json").write_text(serialized(kind))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def theirs(folder: Path) -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def ids(tokenizer: Any) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def rows(classes: Any, settings: Any) -> Iterator[tuple[dict[str, Any], str]]:
    for name, row in itertools.product(classes, settings):
        named = {"tokenizer_class": name} if name else {}
        yield row | named, f"{name} {row}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_tokens_are_those_of_autotokenizer(case: Any, tmp_path: Path) -> None:
    kind, model_type, settings, classes = case
    config = {"model_type": model_type}
    for i, (row, about) in enumerate(rows(classes, settings)):
        folder = write(tmp_path / str(i), kind, config, row)
        wanted, ours = theirs(folder), load_tokenizer(folder, config)
        assert type(ours) is type(wanted), about
        assert ids(ours) == ids(wanted), about
        for name in ("bos", "eos", "pad", "cls", "sep", "unk"):
            token = f"{name}_token_id"
            assert getattr(ours, token) == getattr(wanted, token), (about, name)
        again = tmp_path / f"{i}-again"
        save_tokenizer(ours, again)
        (again / "config.json").write_text(json.dumps(config))
        assert ids(load_tokenizer(again, config)) == ids(wanted), about
        assert ids(theirs(again)) == ids(wanted), about


@pytest.mark.parametrize(
    ("kind", "model_type", "settings"),
    [("pieces", "bert", BERT), ("bytes", "gpt2", BYTES), ("bytes", "roberta", BYTES)],
)
def test_old_folders_have_a_vocabulary_only(
    kind: str, model_type: str, settings: Any, tmp_path: Path
) -> None:
    config = {"model_type": model_type}
    for i, row in enumerate(settings):
        folder = write(tmp_path / str(i), kind, config, row)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        (folder / "tokenizer.json").unlink()
        tokenizer.model.save(str(folder))
        ours, wanted = load_tokenizer(folder, config), theirs(folder)
        assert ids(ours) == ids(wanted), row


def test_settings_change_tokens(tmp_path: Path) -> None:
    """Or the comparison would show nothing."""
    made = {
        (kind, model_type): {
            json.dumps(ids(load_tokenizer(folder, {"model_type": model_type})))
            for i, row in enumerate(settings)
            for folder in [write(tmp_path / f"{model_type}-{i}", kind, {}, row)]
        }
        for kind, model_type, settings in (
            ("pieces", "bert", BERT),
            ("bytes", "roberta", BYTES),
            ("bytes", "gpt2", BYTES),
        )
    }
    assert {key: len(each) for key, each in made.items()} == {
        ("pieces", "bert"): 8,  # strip_accents=None is either, by do_lower_case
        ("bytes", "roberta"): 2,
        ("bytes", "gpt2"): 2,
    }


def test_the_class_counts_more_than_tokenizer_json(tmp_path: Path) -> None:
    """Qwen2's cuts numbers into digits, whatever is written there."""
    config = {"model_type": "qwen2"}
    folder = write(tmp_path / "m", "bytes", config, {"tokenizer_class": AS_WRITTEN})
    ours = load_tokenizer(folder, config).backend_tokenizer
    as_written = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cut = [tok.pre_tokenizer.pre_tokenize_str("12") for tok in (ours, as_written)]
    assert [len(pieces) for pieces in cut] == [2, 1]


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_either_file_names_the_class(where: str, tmp_path: Path) -> None:
    named = {"tokenizer_class": "GPT2Tokenizer"}
    config = {"model_type": "llama"} | (named if where == "config.json" else {})
    settings = {"add_prefix_space": True} | (named if where != "config.json" else {})
    folder = write(tmp_path / "m", "bytes", config, settings)
    ours, wanted = load_tokenizer(folder, config), theirs(folder)
    assert type(ours).__name__ == type(wanted).__name__ == "GPT2Tokenizer"
    assert ids(ours) == ids(wanted)


@pytest.mark.parametrize("model_type", ["qwen2", "llama", "bert"])
def test_code_that_a_folder_brings_is_not_run(model_type: str, tmp_path: Path) -> None:
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "auto_map": {"AutoTokenizer": ["code.Theirs", "code.Fast"]},
    }
    config = {"model_type": model_type}
    folder = write(tmp_path / "m", "bytes", config, settings)
    ours, wanted = load_tokenizer(folder, config), theirs(folder)
    assert type(ours) is type(wanted)
    assert ids(ours) == ids(wanted)


def test_a_class_without_a_fast_form_is_refused(tmp_path: Path) -> None:
    for i, name in enumerate(("BertweetTokenizer", "CTRLTokenizer", "AutoTokenizer")):
        config = {"model_type": "roberta"}
        folder = write(tmp_path / str(i), "bytes", config, {"tokenizer_class": name})
        with pytest.raises(InputError, match=f"tokenizer_class='{name}' has no fast"):
            load_tokenizer(folder, config)


def test_no_family_is_without_a_row() -> None:
    from_registry = {each for family in FAMILIES for each in family.model_types}
    assert from_registry | MULTIMODAL == set(OF_MODEL_TYPE)


def test_the_table_is_that_of_transformers() -> None:
    pytest.importorskip("torch")
    auto = pytest.importorskip("transformers.models.auto.tokenization_auto")
    wrongly = auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
    for model_type, name in OF_MODEL_TYPE.items():
        # Today's name of what PreTrainedTokenizerFast was.
        name = "TokenizersBackend" if name == AS_WRITTEN else name
        assert auto.TOKENIZER_MAPPING_NAMES.get(model_type) == name, model_type
        assert (model_type in wrongly) == (model_type in NAMED_WRONGLY), model_type


def test_no_class_brings_torch(tmp_path: Path) -> None:
    folders = []
    for i, (kind, model_type, settings, _) in enumerate(CASES):
        config = {"model_type": model_type, "tokenizer_class": AS_WRITTEN}
        if OF_MODEL_TYPE[model_type] not in (None, "CTRLTokenizer", "XLMTokenizer"):
            config["tokenizer_class"] = OF_MODEL_TYPE[model_type]
        write(tmp_path / str(i), kind, config, settings[-1])
        folders.append([str(tmp_path / str(i)), config])
    code = """
import json, sys
from pathlib import Path
from expertjax.checkpoints.text_half import MULTIMODAL
from expertjax.checkpoints.tokenizer import load_tokenizer
for folder, config in json.loads(sys.argv[1]):
    assert load_tokenizer(Path(folder), config)("a ball")["input_ids"], folder
    assert "torch" not in sys.modules, folder
"""
    command = [sys.executable, "-c", code, json.dumps(folders)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
