"""Takes WordNet glosses apart into definitions and examples.

A gloss reads `definition; definition; "example"; "example"- Author`. The files
hold about 150 exceptions (quotes left open, an example after a colon), which
are read as a person would where that is cheap.
"""

import re

# What may follow the closing quote of an example: `- Shakespeare`.
_ATTRIBUTION = re.compile(r"[\s,.:;]*(?:-+.*)?", re.DOTALL)
# `move with force, "He pushed the table"`: an example after a colon or comma.
_EXAMPLE_INSIDE = re.compile(r'([^"]*\w)\s*(?<!e\.g)[:,]\s*"([^"]+)"')


def parse_gloss(gloss: str) -> tuple[str, list[str]]:
    """Splits a gloss into its definition and its example texts.

    Definitions are joined by "; ". Examples lose their quotes and the
    attribution after them.
    """
    definitions: list[str] = []
    examples: list[str] = []
    for segment in _segments(gloss.replace("`", "'")):
        definition, found = _parse_segment(segment)
        definitions += [definition] if definition else []
        examples += [text.strip(" ;") for text in found]
    examples = [text for text in examples if re.search(r"\w", text)]
    if not definitions:  # a definition that stands in quotes by mistake
        definitions, examples = examples[:1], examples[1:]
    return "; ".join(definitions), list(dict.fromkeys(examples))


def as_sentence(text: str) -> str:
    """`text` with a capital at its start and a full stop at its end."""
    text = " ".join(text.split()).strip(" ;,:")
    if text and not re.search(r"[.!?][\"']?$", text):
        text += "."
    return text[:1].upper() + text[1:]


def _segments(gloss: str) -> list[str]:
    """Cuts at `;` outside quotes, and before any `"` that follows a `;`.

    The second rule mends the few glosses with a quote left open.
    """
    segments, start, quoted = [], 0, False
    for at, letter in enumerate(gloss):
        if letter == '"':
            quoted = not quoted
        elif letter == ";" and (not quoted or re.match(r'\s*"\w', gloss[at + 1 :])):
            segments.append(gloss[start:at].strip())
            start, quoted = at + 1, False
    segments.append(gloss[start:].strip())
    return [segment for segment in segments if segment]


def _parse_segment(segment: str) -> tuple[str, list[str]]:
    """The definition ("" if none) and the examples of one segment."""
    if segment.endswith('"') and segment.count('"') == 1:  # drop names"
        return "", [segment[:-1]]
    if inside := _EXAMPLE_INSIDE.fullmatch(segment):
        return inside[1], [inside[2]]
    if not segment.startswith('"'):
        return segment, []
    outside = re.sub(r'"[^"]*(?:"|$)', "", segment)
    if _ATTRIBUTION.fullmatch(outside):
        return "", re.findall(r'"([^"]*)(?:"|$)', segment)
    return "", []  # a remark on a quoted word: neither of the two
