"""Where tokens stand in their texts."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from expertjax.concepts.tokens import whole_texts

_CHUNK = 1024  # texts encoded at a time; encodings are large
NOWHERE = (-1, -1)  # of special tokens, and of tokens for which a text has no character


class Span(NamedTuple):
    """A token's place in its text.

    Attributes:
      start: number of its first character, or -1.
      end: number of the character after its last, or -1.
      token: these characters, or the tokenizer's own name of the token.
    """

    start: int
    end: int
    token: str


def token_spans(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[Span]]:
    """The place of every token of some texts, which are not cut.

    Characters are Python's: code points of the text as it was given, whatever the
    tokenizer makes of it. A token of part of a character's bytes stands for the
    character. Space around a token is none of it, as tokenizers disagree on whose
    it is; a token of nothing but space keeps that.

    Args:
      tokenizer: a Hugging Face fast tokenizer.
      texts: any.
    """
    backend = whole_texts(tokenizer)
    for first in range(0, len(texts), _CHUNK):
        chunk = list(texts[first : first + _CHUNK])
        for text, encoding in zip(chunk, backend.encode_batch(chunk), strict=True):
            yield [
                _span(text, start, end, name)
                for (start, end), name in zip(
                    encoding.offsets, encoding.tokens, strict=True
                )
            ]


def text_pieces(text: str, spans: Sequence[Span]) -> list[str]:
    """All tokens of a text as pieces of it, which joined give the text.

    Space belongs to the token that it stands before, and what stands behind the last
    one to that. Of tokens that share a character, the first has it and the others are
    empty. Tokens that have no place in the text, such as special ones, are their names.

    Args:
      text: any.
      spans: from `token_spans`, ascending.
    """
    pieces, done, last = [span.token for span in spans], 0, -1
    for i, span in enumerate(spans):
        if span.start >= 0:
            pieces[i] = text[done : max(done, span.end)]
            done, last = max(done, span.end), i
    if last >= 0:
        pieces[last] += text[done:]
    return pieces


def _span(text: str, start: int, end: int, name: str) -> Span:
    piece = text[start:end]
    if not piece:
        return Span(*NOWHERE, name)
    if word := piece.strip():
        start += len(piece) - len(piece.lstrip())
        return Span(start, start + len(word), word)
    return Span(start, end, piece)
