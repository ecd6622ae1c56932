"""The tokens after which a text ends: the tokenizer's, and those that configs name."""

import json
from pathlib import Path
from typing import Any

import pytest

import expertjax as ej
from expertjax.checkpoints.gguf_file import GGUFFile
from expertjax.checkpoints.load import (
    Model,
    load_model,
    save_converted,
    save_huggingface,
)
from expertjax.errors import InputError
from tests.checkpoints.test_gguf_tokenizer import llama, sentencepiece
from tests.checkpoints.test_gguf_tokenizer import write as write_gguf_tokens
from tests.tiny_models import make_tiny

_ = llama  # a fixture


def stopping(folder: Path, config: Any, generation: Any) -> Model:
    """A GPT-2 whose files name these ends."""
    make_tiny(
        folder,
        "GPT2LMHeadModel",
        vocab_size=300,
        n_positions=64,
        n_embd=32,
        n_layer=1,
        n_head=4,
    )
    attributes = json.loads((folder / "config.json").read_text())
    attributes["eos_token_id"] = config
    (folder / "config.json").write_text(json.dumps(attributes))
    path = folder / "generation_config.json"
    path.unlink(missing_ok=True)
    if generation is not None:
        path.write_text(json.dumps({"eos_token_id": generation}))
    return load_model(str(folder))


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        (None, None, (0,)),  # the tokenizer's
        (7, None, (0, 7)),
        ([7, 9], None, (0, 7, 9)),
        (None, 8, (0, 8)),
        ([7, 9], [9, 11], (0, 7, 9, 11)),
        (-1, [], (0,)),
    ],
)
def test_all_tokens_that_are_named_end_a_text(
    config: Any, generation: Any, ends: tuple[int, ...], tmp_path: Path
) -> None:
    model = stopping(tmp_path / "m", config, generation)
    assert model.ends == ends
    save_converted(model, tmp_path / "converted")
    assert load_model(str(tmp_path / "converted")).ends == ends
    save_huggingface(model, tmp_path / "again")
    assert load_model(str(tmp_path / "again")).ends == ends


def test_ends_that_are_no_tokens_are_refused(tmp_path: Path) -> None:
    for i, wrong in enumerate(("</s>", [1, None, "x"], True, 1.5)):
        model = stopping(tmp_path / str(i), None, wrong)
        with pytest.raises(InputError, match=r"eos_token_id=.*expected the number"):
            ej.generate(model, "The ball")


@pytest.mark.parametrize("where", ["config.json", "generation_config.json"])
def test_a_model_stops_at_any_of_its_ends(where: str, tmp_path: Path) -> None:
    some = list(range(100, 200))  # of 300: each text meets one soon
    both = (some, None) if where == "config.json" else (None, some)
    model = stopping(tmp_path / "m", *both)
    settings = {"max_new_tokens": 20, "temperature": 1.0, "seeds": range(6)}
    ended = ej.generate(model, "The ball", **settings)
    free = ej.generate(model, "The ball", stop_at_end=False, **settings)
    assert (free["num_tokens"] == 20).all() and (ended["num_tokens"] < 20).all()
    for ours, whole, count in zip(
        ended["continuation"], free["continuation"], ended["num_tokens"], strict=True
    ):
        assert whole.startswith(ours.rstrip("\ufffd")) and len(ours) < len(whole)
        assert (ours == "") == (count == 1)  # the end itself is not shown


@pytest.mark.parametrize("name", ["eot", "eom", "fim_pad"])
def test_a_gguf_file_ends_a_turn(name: str, llama: Path, tmp_path: Path) -> None:
    tokens = sentencepiece(420) | {f"{name}_token_id": 300}
    path = write_gguf_tokens(llama, tmp_path / "x.gguf", tokens)
    assert GGUFFile(path).attributes["eos_token_id"] == [2, 300]
    same = sentencepiece(420) | {f"{name}_token_id": 2}
    path = write_gguf_tokens(llama, tmp_path / "y.gguf", same)
    assert GGUFFile(path).attributes["eos_token_id"] == 2
