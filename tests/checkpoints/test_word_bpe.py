"""CTRL and XLM as they were published: a vocabulary, merges, no tokenizer.json."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from expertjax.checkpoints.load import load_model
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.errors import InputError
from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.programs import run_program
from tests.tiny_models import SENTENCES, make_tiny

CTRL = {"model_type": "ctrl"}
TEXTS = [
    *SENTENCES,
    "the players, the ball; unheard-of Zyx!",
    " A  crane \n\nlifted\nthe\tsteel\u00a0beam\u3000over \x1c it.",
    "ball ball\n ball\n\n",
    "<unk> the <unk>ball x@@ y</w> @@ the@@ </w>",
    "naïve 日本 🙂 é",
    "river. rivers riverbank",
    "\n",
    "",
]


def learn(sentences: list[str], count: int) -> list[tuple[str, str]]:
    """Merges of the most frequent pairs (Sennrich et al. 2016)."""
    words: dict[tuple[str, ...], int] = {}
    for word in " ".join(sentences).split():
        pieces = (*word[:-1], word[-1] + "</w>")
        words[pieces] = words.get(pieces, 0) + 1
    merges = []
    for _ in range(count):
        pairs: dict[tuple[str, str], int] = {}
        for pieces, number in words.items():
            for pair in itertools.pairwise(pieces):
                pairs[pair] = pairs.get(pair, 0) + number
        best = max(sorted(pairs), key=lambda pair: pairs[pair])
        merges.append(best)
        words = {_merge(pieces, best): number for pieces, number in words.items()}
    return merges


def _merge(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)


def write(folder: Path, *lacking: str) -> Path:
    """CTRL's two files, without some of the tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn(SENTENCES, 120)
    letters = sorted(set("".join(SENTENCES)) - {" "})
    pieces = [form for letter in letters for form in (letter, letter + "</w>")]
    pieces += [first + second for first, second in merges]
    tokens = [
        p.removesuffix("</w>") if p.endswith("</w>") else p + "@@" for p in pieces
    ]
    kept = [token for token in dict.fromkeys(tokens) if token not in lacking]
    ids = {token: number for number, token in enumerate([*kept, "\n", "<unk>"])}
    (folder / "vocab.json").write_text(json.dumps(ids))
    lines = [" ".join(pair) for pair in merges]
    # As published: a pair that is listed twice, lines that are none.
    lines += [lines[3], "\u00a0 k", "x y z", "q"]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.1", *lines, ""]))
    return folder


def theirs(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.CTRLTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize(
    "lacking", [(), ("river.", "the", "ball"), ("Z@@", "T@@", "k@@", "f")]
)
def test_ids_and_texts_are_those_of_transformers(
    lacking: tuple[str, ...], tmp_path: Path
) -> None:
    folder = write(tmp_path / "m", *lacking)
    ours, wanted = load_tokenizer(folder, CTRL), theirs(folder)
    for text in TEXTS:
        ids = wanted(text)["input_ids"]
        assert ours(text)["input_ids"] == ids, text
        assert ours.backend_tokenizer.encode(text).ids == ids, text
        assert ours.decode(ids).strip() == wanted.decode(ids).strip(), text
    assert ours.unk_token_id == wanted.unk_token_id
    if "ball" in lacking:
        assert wanted.unk_token_id in wanted("the ball")["input_ids"]


def test_a_piece_that_is_only_merged_further_has_no_token_of_the_model(
    tmp_path: Path,
) -> None:
    """It cannot be told from other pieces by the unknown token's id."""
    merges = learn(SENTENCES, 120)
    inner = next(
        first + second
        for first, second in merges
        if any(first + second in pair for pair in merges) and "</w>" not in second
    )
    folder = write(tmp_path / "m", inner + "@@")
    ours, wanted = load_tokenizer(folder, CTRL), theirs(folder)
    size = len(json.loads((folder / "vocab.json").read_text()))
    for text in [*TEXTS, inner + "#"]:
        ids = wanted(text)["input_ids"]
        mine = ours(text)["input_ids"]
        assert [i if i < size else wanted.unk_token_id for i in mine] == ids, text
    assert max(ours(inner + "#")["input_ids"]) == size


_SIZES = {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48}
_SIZES |= {"n_positions": 64}


def published(folder: Path) -> Path:
    """A tiny CTRL with these files in place of tokenizer.json."""
    make_tiny(folder, "CTRLLMHeadModel", **_SIZES)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    return write(folder, "river.", "ball")


def test_the_programs_run_it_and_its_converted_form(tmp_path: Path) -> None:
    folder = published(tmp_path / "ctrl")
    run_program("convert_checkpoint", model=folder, out=tmp_path / "converted")
    ours = load_model(str(tmp_path / "converted")).tokenizer
    wanted = theirs(folder)
    for text in TEXTS:
        assert ours(text)["input_ids"] == wanted(text)["input_ids"]
    flags = {"concepts": write_tiny_concepts(tmp_path / "concepts")}
    flags |= {"seq_len": SEQ_LEN, "out": tmp_path / "out"}
    models = [f"--model={folder}", f"--model={tmp_path / 'converted'}"]
    run_program("capture_responses", *models, **flags)
    runs = [
        json.loads((tmp_path / "out" / name / "run.json").read_text())["capture"]
        for name in ("ctrl", "converted")
    ]
    assert runs[0]["tokens_sha256"] == runs[1]["tokens_sha256"]


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("vocab.json", '{"a": 0}', "expected the number of each token and <unk>"),
        ("vocab.json", '{"a": "x", "<unk>": 1}', "expected the number of each token"),
        ("vocab.json", "[]", "expected a JSON object"),
        ("merges.txt", b"\xff\xfe\xff", "cannot be read"),
        ("added_tokens.json", '{"<new>": 300}', "adds tokens .* such as '<new>'"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"300": {"content": "<new>"}}}',
            "adds tokens .* such as '<new>'",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, file: str, content: Any, problem: str
) -> None:
    folder = write(tmp_path / "m")
    (folder / file).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(InputError, match=problem) as error:
        load_tokenizer(folder, CTRL)
    assert str(folder) in str(error.value)


def test_xlm_says_what_can_be_done(tmp_path: Path) -> None:
    sizes = {"vocab_size": 270, "emb_dim": 32, "n_layers": 2, "n_heads": 4}
    folder = make_tiny(tmp_path / "xlm", "XLMWithLMHeadModel", **sizes)
    made = shutil.move(folder / "tokenizer.json", tmp_path / "tokenizer.json")
    (folder / "tokenizer_config.json").unlink()
    write(folder)
    with pytest.raises(InputError, match="sacremoses") as error:
        load_model(str(folder))
    assert str(folder) in str(error.value)
    assert "write a tokenizer.json of vocab.json and merges.txt" in str(error.value)
    shutil.move(made, folder / "tokenizer.json")
    assert load_model(str(folder)).tokenizer.is_fast
