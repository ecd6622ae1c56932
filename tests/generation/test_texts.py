"""What was written, after every kind of tokenizer, as a text and as it streams."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import expertjax as ej
from expertjax.checkpoints.gguf_file import GGUFFile
from expertjax.checkpoints.gguf_tokenizer import tokenizer_of
from expertjax.checkpoints.load import Model, load_model
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.generation.generate import generate
from expertjax.generation.scores import begins_with_word
from expertjax.generation.texts import (
    Streamed,
    continuation,
    count_written,
    read_prompt,
)
from expertjax.models.registry import FAMILIES
from tests.checkpoints.test_gguf_tokenizer import llama, sentencepiece
from tests.checkpoints.test_gguf_tokenizer import write as write_gguf_tokens
from tests.checkpoints.test_tokenizer_class import CASES, rows, theirs, write
from tests.data import REPOSITORY
from tests.tiny_models import make_tiny
from tests.tiny_tokenizers import KINDS

_ = llama  # a fixture
# (prompt, continuation): together one text, whose tokens are those of both.
PAIRS = [
    ("the ball", " and the crowd"),
    ("she read the old", " letter"),
    ("rain", " fell on the market"),
    ("", "the players"),
]
EXACT = [
    *PAIRS,
    ("the ball", ", the crowd."),
    ("The crane", "  lifted"),
    ("A 日", "本 rain"),
    ("A\n", "\nriver"),
]
LOSSY = ("pieces", "word ends", "unigram")  # they do not know all characters


def read(model: Model, tokenizer: Any, text: str) -> Any:
    config = dataclasses.replace(model.config, vocab_size=500)
    other = dataclasses.replace(model, tokenizer=tokenizer, config=config)
    return read_prompt(other, text)


def after(tokenizer: Any, prompt: Any, text: str) -> list[int]:
    """The tokens of a text that come after those of a prompt."""
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert ids[: len(prompt.own)] == prompt.own
    return ids[len(prompt.own) :]


def of_kind(kind: str, folder: Path) -> Any:
    config = {"model_type": "llama"}
    named = {"tokenizer_class": "PreTrainedTokenizerFast"}
    return load_tokenizer(write(folder, kind, config, named), config)


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_and_continuation_are_the_text(
    kind: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    tokenizer = of_kind(kind, tmp_path / "m")
    for before, new in PAIRS if kind in LOSSY else EXACT:
        if not before and not tokenizer("").input_ids:
            continue  # nothing to begin with
        prompt = read(tiny_gpt2, tokenizer, before)
        ids = after(tokenizer, prompt, before + new)
        assert continuation(tokenizer, prompt, ids, ()) == new, before


CAUSAL_TYPES = {each for f in FAMILIES if f.causal for each in f.model_types}
CAUSAL = [case for case in CASES if case[1] in CAUSAL_TYPES]


@pytest.mark.parametrize("case", CAUSAL, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_was_written_is_what_autotokenizer_adds(
    case: Any, tiny_gpt2: Model, tmp_path: Path
) -> None:
    kind, model_type, settings, classes = case
    config = {"model_type": model_type}
    for i, (row, about) in enumerate(rows(classes, settings)):
        folder = write(tmp_path / str(i), kind, config, row)
        ours, other = load_tokenizer(folder, config), theirs(folder)
        for before, new in PAIRS[:-1]:
            prompt = read(tiny_gpt2, ours, before)
            ids = after(ours, prompt, before + new)
            # Theirs may clean up, or mark what it does not know.
            options = {"clean_up_tokenization_spaces": False}
            start = other.decode(prompt.own, **options)
            whole = other.decode(prompt.own + ids, **options)
            assert start + continuation(ours, prompt, ids, ()) == whole, about
            assert whole.split() == (before + new).split() or "unk" in whole, about


@pytest.mark.parametrize("prefix", [True, False])
def test_a_gguf_files_tokenizer_keeps_the_space(
    prefix: bool, llama: Path, tiny_gpt2: Model, tmp_path: Path
) -> None:
    tokens = sentencepiece(420, add_space_prefix=prefix)
    path = write_gguf_tokens(llama, tmp_path / "x.gguf", tokens)
    tokenizer = tokenizer_of(GGUFFile(path))
    for before in ("the ball", "The crane", ""):
        prompt = read(tiny_gpt2, tokenizer, before)
        for new in (" crowd", "s", "  river"):
            ids = [tokenizer.convert_tokens_to_ids(c) for c in new.replace(" ", "▁")]
            # Only the first word of all is written without its space.
            stripped = new.removeprefix(" ") if prefix and not before else new
            assert continuation(tokenizer, prompt, ids, ()) == stripped, before


def test_what_the_tokenizer_adds_is_not_written_on(
    tiny_gpt2: Model, tmp_path: Path
) -> None:
    """[CLS] in front is read, [SEP] behind is not; one of the text's own is kept."""
    tokenizer = of_kind("pieces", tmp_path / "m")
    cls, sep = (tokenizer.convert_tokens_to_ids(t) for t in ("[CLS]", "[SEP]"))
    prompt = read(tiny_gpt2, tokenizer, "the ball")
    assert prompt.tokens == [cls, *prompt.own] and sep not in prompt.own
    kept = read(tiny_gpt2, tokenizer, "the ball[SEP]")
    assert kept.tokens == [*prompt.tokens, sep]


def test_a_text_is_cut_at_its_first_end(tiny_gpt2: Model) -> None:
    tokenizer = tiny_gpt2.tokenizer
    prompt = read_prompt(tiny_gpt2, "The ball")
    ids = tokenizer(" river").input_ids
    ids = [*ids, 5, 7, 5]
    assert count_written(ids, (5, 7)) == len(ids) - 2
    assert count_written(ids, (7,)) == len(ids) - 1
    assert count_written(ids, ()) == len(ids)
    assert continuation(tokenizer, prompt, ids, (5, 7)) == " river"
    assert continuation(tokenizer, prompt, [7], (5, 7)) == ""


@pytest.mark.parametrize("kind", ["bytes", "metaspace", "gemma"])
def test_a_character_of_several_tokens_streams_whole(
    kind: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    """Beside a prompt that ends in such a one, which some decoders would take back."""
    tokenizer = of_kind(kind, tmp_path / "m")
    prompt = read(tiny_gpt2, tokenizer, "A 日")
    ids = after(tokenizer, prompt, "A 日本 rain")
    told: list[str] = []
    streamed = Streamed(tokenizer, prompt, (), told.append)
    for count in range(1, len(ids) + 1):
        streamed.tell(ids[:count])
    streamed.end(ids)
    assert told[:2] == ["", ""] and "".join(told) == "本 rain"
    # Where one more byte could change what it is, it waits for what follows.
    assert told[2] == ("本" if kind == "bytes" else "")
    assert continuation(tokenizer, prompt, ids[:1], ()) == "\ufffd"


@pytest.mark.parametrize("kind", KINDS)
def test_what_streams_is_what_is_written(
    kind: str, tiny_gpt2: Model, tmp_path: Path
) -> None:
    """By a model; a random one writes parts of characters, too."""
    tokenizer = of_kind(kind, tmp_path / "m")
    small = {"vocab_size": 400, "n_positions": 64, "n_embd": 32, "n_layer": 1}
    make_tiny(tmp_path / "g", "GPT2LMHeadModel", n_head=4, **small)
    model = dataclasses.replace(load_model(str(tmp_path / "g")), tokenizer=tokenizer)
    settings = ej.GenerateSettings(max_new_tokens=20, temperature=1.0)
    for seed in range(4):
        told: list[str] = []
        texts = generate(model, ["the ball"], (None,), [seed], settings, told.append)
        [row] = texts.to_dict("records")
        assert "".join(told) == row["continuation"]
        assert row["sentence"] == "the ball" + row["continuation"]


def test_the_program_leaves_a_space_after_the_prompt(tmp_path: Path) -> None:
    """GPT's first tokenizer: every word's end is a token's, and a space follows."""
    sizes = {"vocab_size": 200, "n_positions": 64, "n_embd": 32, "n_layer": 1}
    folder = tmp_path / "m"
    make_tiny(folder, "OpenAIGPTLMHeadModel", n_head=4, **sizes)
    (folder / "tokenizer.json").write_text(KINDS["word ends"]().to_str())
    (folder / "tokenizer_config.json").write_text('{"unk_token": "<unk>"}')
    out = tmp_path / "texts.csv"
    command = [sys.executable, "-m", "binaries.generate_text", f"--model={folder}"]
    command += ["--prompt=the ball", "--max_new_tokens=6", "--temperature=1"]
    command += [f"--out={out}"]
    for more in ([], ["--num_samples=4"]):
        done = subprocess.run(
            [*command, *more], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        sentences = [row["sentence"] for row in csv.DictReader(out.open())]
        assert all(text.startswith("the ball ") for text in sentences), sentences
        assert "the ball " in done.stdout


def test_words_and_perplexity_are_of_the_text_with_its_space(
    tiny_gpt2: Model, tmp_path: Path
) -> None:
    tokenizer = of_kind("metaspace", tmp_path / "m")
    prompt = read(tiny_gpt2, tokenizer, "the ball")
    ids = after(tokenizer, prompt, "the ball she read")
    added = continuation(tokenizer, prompt, ids, ())
    assert begins_with_word([added, added[1:]], ["ball", "she"]).all()
    ours = tokenizer.encode(prompt.text + added, add_special_tokens=False)
    assert ours == prompt.own + ids
