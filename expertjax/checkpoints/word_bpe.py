"""Tokenizers that were published as a vocabulary and merges only: CTRL's, XLM's.

transformers has them in Python alone. CTRL's is made into a fast one: a word is all
between white space, with one newline behind it; pieces of words are marked in the
vocabulary where they do not end one ("th@@"), in the merges where they do ("e</w>").
XLM's words are those of Moses, for which there is no fast form.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expertjax.checkpoints.json_file import read_json, write_json
from expertjax.errors import InputError

_VOCABULARY, _MERGES, _CONFIG = "vocab.json", "merges.txt", "tokenizer_config.json"
_END, _GOES_ON, _UNKNOWN = "</w>", "@@", "<unk>"
_WORD = r"\S+\n?"
_XLM = (
    "XLM's own tokenizer takes words from Moses (the package sacremoses), which has no "
    "fast form. To do without: (1) write a tokenizer.json of {vocabulary} and {merges} "
    "beside the weights: tokenizers.models.BPE, end_of_word_suffix='</w>', split at "
    "white space, '</s>' before and after; (2) give sentences as Moses splits them, "
    "lowercased and without accents unless tokenizer_config.json says "
    "do_lowercase_and_remove_accent=false"
)


def load_published(folder: Path, attributes: Mapping[str, Any]) -> Any:
    """The fast tokenizer of a CTRL without `tokenizer.json`; None for other folders.

    Its ids are those of transformers' `CTRLTokenizer`.

    Args:
      folder: a Hugging Face folder.
      attributes: its `config.json`.

    Raises:
      InputError: the files are damaged; or it is an XLM, with what can be done.
    """
    model_type = attributes.get("model_type")
    files = folder / _VOCABULARY, folder / _MERGES
    if (folder / "tokenizer.json").is_file() or not all(f.is_file() for f in files):
        return None
    if model_type == "xlm":
        steps = _XLM.format(vocabulary=_VOCABULARY, merges=_MERGES)
        raise InputError(f"{folder}: {steps}")
    if model_type != "ctrl":
        return None
    vocabulary, merges = _read(*files)
    _check_added(folder, vocabulary)
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(_tokenizer_json(vocabulary, merges), file)
        file.flush()
        return _fast(file.name, files)


def _read(vocabulary: Path, merges: Path) -> tuple[dict[str, int], list[list[str]]]:
    """Token -> id, and pairs in the order in which they are merged."""
    ids = read_json(vocabulary)
    if not all(type(number) is int for number in ids.values()) or _UNKNOWN not in ids:
        raise InputError(
            f"{vocabulary}: expected the number of each token and {_UNKNOWN}"
        )
    try:
        lines = merges.read_text("utf-8").split("\n")[1:-1]  # after a line of version
    except (OSError, ValueError) as error:
        raise InputError(f"{merges}: cannot be read ({error})") from error
    # White space of other kinds leaves some lines without a pair; of a pair that is
    # listed twice the last counts.
    rank = {tuple(line.split()): at for at, line in enumerate(lines)}
    return ids, [list(p) for p in sorted(rank, key=lambda p: rank[p]) if len(p) == 2]


def _check_added(folder: Path, vocabulary: Mapping[str, int]) -> None:
    """Refuses tokens beyond the vocabulary, which only transformers' class adds."""
    added = folder / "added_tokens.json"
    tokens = set(read_json(added)) if added.is_file() else set()
    if (folder / _CONFIG).is_file():
        said = read_json(folder / _CONFIG).get("added_tokens_decoder") or {}
        tokens |= {token["content"] for token in said.values()}
    if beyond := sorted(tokens - vocabulary.keys()):
        raise InputError(
            f"{folder}: adds tokens to CTRL's vocabulary, such as {beyond[0]!r}; save "
            "its tokenizer as tokenizer.json"
        )


def _tokenizer_json(vocabulary: dict[str, int], merges: list[list[str]]) -> Any:
    """What `tokenizer.json` would hold, but that several tokens may have one id.

    Merges make some pieces that the vocabulary lacks. Where such a piece is left in the
    end it is the unknown token, so it has that one's id; a piece that takes part in
    further merges has to be told from others, and has one beyond the vocabulary.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    unknown = vocabulary[_UNKNOWN]
    ids = {_piece(token): number for token, number in vocabulary.items()}
    ids[_UNKNOWN] = ids.pop(_piece(_UNKNOWN))
    parts = {part for pair in merges for part in pair}
    beyond = max(vocabulary.values()) + 1
    for first, second in merges:
        for piece in (first, second, first + second):
            if piece not in ids:
                ids[piece] = beyond if piece in parts else unknown
                beyond += piece in parts
    settings = {"unk_token": _UNKNOWN, "end_of_word_suffix": _END}
    tokenizer = Tokenizer(models.BPE(vocab={_UNKNOWN: unknown}, merges=[], **settings))
    words = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_UNKNOWN, _UNKNOWN + _END),  # a word of its own
            decoders.BPEDecoder(suffix=_END),
        ]
    )
    content = json.loads(tokenizer.to_str())
    content["model"] |= {"vocab": ids, "merges": merges}
    return content


def _piece(token: str) -> str:
    """A token of the vocabulary, as merges write it."""
    goes_on = token.endswith(_GOES_ON)
    return token.removesuffix(_GOES_ON) if goes_on else token + _END


def _fast(tokenizer_file: str, files: tuple[Path, Path]) -> Any:
    from transformers import PreTrainedTokenizerFast

    class FromVocabulary(PreTrainedTokenizerFast):
        """Saved as what it was made of: `tokenizer.json` has one token for an id."""

        def save_pretrained(
            self, save_directory: Any, *args: Any, **kwargs: Any
        ) -> Any:
            folder = Path(save_directory)
            for file in files:
                (folder / file.name).write_bytes(file.read_bytes())
            write_json(folder / _CONFIG, {"unk_token": _UNKNOWN})
            return tuple(str(folder / file.name) for file in files)

    return FromVocabulary(tokenizer_file=tokenizer_file, unk_token=_UNKNOWN)
