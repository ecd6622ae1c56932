"""Prompts as tokens, and what was written as text."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from expertjax.checkpoints.load import Model
from expertjax.checkpoints.vocabulary import check_tokens
from expertjax.concepts.tokens import whole_texts
from expertjax.errors import InputError

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_INCOMPLETE = "\ufffd"  # stands for bytes that are no character


class Prompt(NamedTuple):
    """A text to go on from.

    Attributes:
      text: as it was given.
      tokens: that the model reads.
      own: those of the text itself, without what the tokenizer puts in front.
    """

    text: str
    tokens: list[int]
    own: list[int]


def read_prompt(model: Model, text: str) -> Prompt:
    """The tokens of a prompt, without what the tokenizer puts at a text's end.

    Raises:
      InputError: there is no token to go on from, or one that the model does not have.
    """
    tokenizer = model.tokenizer
    encoding = whole_texts(tokenizer).encode(text)
    ids, added = list(encoding.ids), encoding.special_tokens_mask
    written = [i for i, is_added in enumerate(added) if not is_added]
    if written:
        tokens, own = ids[: written[-1] + 1], ids[written[0] : written[-1] + 1]
    else:
        ends = {*model.ends} - {tokenizer.bos_token_id}
        tokens, own = [token for token in ids if token not in ends], []
        if not tokens and tokenizer.bos_token_id is not None:
            tokens = [tokenizer.bos_token_id]
    if not tokens:
        raise InputError(
            f"--prompt={text!r}: has no token, and {model.name} none to begin with; "
            "give a prompt"
        )
    check_tokens(model, [text], [tokens])
    return Prompt(text, tokens, own)


def count_written(ids: Sequence[int], ends: Sequence[int]) -> int:
    """How many tokens a text has, with the one that ends it."""
    return next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))


def continuation(
    tokenizer: Any, prompt: Prompt, ids: Sequence[int], ends: Sequence[int]
) -> str:
    """What tokens add to a prompt, up to the one that ends the text.

    Decoders strip the space before a text's first word, or put one between words: what
    stands between prompt and continuation shows only where both are decoded together.

    Args:
      tokenizer: a Hugging Face fast tokenizer.
      prompt: from `read_prompt`.
      ids: written after it.
      ends: tokens that end a text.
    """
    count = count_written(ids, ends)
    new = list(ids[: count - 1 if count and ids[count - 1] in ends else count])
    before, whole = _decode(tokenizer, prompt.own), _decode(tokenizer, prompt.own + new)
    if whole.startswith(before):
        return whole[len(before) :]
    # Bytes without a character make some decoders give up on those before them too.
    return _decode(tokenizer, new)


class Streamed:
    """Tells a text as it is written, each character once."""

    def __init__(
        self,
        tokenizer: Any,
        prompt: Prompt,
        ends: Sequence[int],
        on_token: Callable[[str], None],
    ) -> None:
        """Nothing is told yet; the arguments are those of `continuation`.

        `on_token` gets what each token adds.
        """
        self._tokenizer, self._prompt, self._ends = tokenizer, prompt, ends
        self._on_token = on_token
        self._told = ""

    def tell(self, ids: Sequence[int]) -> None:
        """All tokens that are written so far, after each."""
        # A token may be a part of a character, which the next completes.
        text = self._text(_settled(self._tokenizer, ids)).rstrip(_INCOMPLETE)
        is_more = text.startswith(self._told)
        self._on_token(text[len(self._told) :] if is_more else "")
        self._told = text if is_more else self._told

    def end(self, ids: Sequence[int]) -> None:
        """All tokens of the text; tells what was held back."""
        if rest := self._text(ids)[len(self._told) :]:
            self._on_token(rest)

    def _text(self, ids: Sequence[int]) -> str:
        return continuation(self._tokenizer, self._prompt, ids, self._ends)


def _settled(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """Tokens whose text no further one changes: without bytes at the end.

    Bytes that are no character make some decoders take back the characters that bytes
    before them were.
    """
    names = tokenizer.convert_ids_to_tokens(list(ids))
    count = len(names)
    while count and _BYTE.fullmatch(names[count - 1] or ""):
        count -= 1
    return list(ids[:count])


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)
