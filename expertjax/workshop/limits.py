"""How much a request may ask for, and what is said to one that asks for more."""

from collections.abc import Sequence

from expertjax.errors import InputError

MOST_CHARACTERS = 200_000  # of all sentences of a request
MOST_SENTENCES = 1000
MOST_TOKENS = 128  # of a sentence, of a text to look at, of a prompt
MOST_PROMPT = 4000  # characters of a text or prompt
MOST_NEW = 128  # tokens that are written
MOST_UNITS = 1000  # that are edited
MOST_SHOWN = 8  # units whose activations are shown at a time
MOST_WAITING = 16  # requests in the queue
MOST_BODY = 20_000_000  # bytes of a request
MOST_FILE = 1_000_000  # bytes of a file that is given
MOST_KEPT = 16  # results that the studio remembers
# For Gradio: all that runs the model stands in one queue, one at a time.
ONE_QUEUE = {"concurrency_id": "model", "concurrency_limit": 1}


def lines(text: str | None) -> list[str]:
    """The sentences of a box: its lines that are not blank; none of an empty box."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def check_sentences(positives: Sequence[str], negatives: Sequence[str]) -> None:
    """Refuses boxes that hold too much, or nothing.

    Raises:
      InputError: says how much there is, and the limit.
    """
    for name, sentences in (("with", positives), ("without", negatives)):
        if not sentences:
            raise InputError(f"There is no sentence {name} it yet: write one a line.")
    count = len(positives) + len(negatives)
    if count > MOST_SENTENCES:
        raise InputError(f"{count:,} sentences; at most {MOST_SENTENCES:,} at a time.")
    check_characters(sum(map(len, [*positives, *negatives])), MOST_CHARACTERS)


def check_characters(count: int, most: int) -> None:
    """Raises InputError where a text has more than `most` characters."""
    if count > most:
        raise InputError(f"{count:,} characters; at most {most:,} at a time.")


def unit_numbers(text: str | None, most: int) -> list[int]:
    """Units from what was typed, such as "12, 407"; each once.

    Raises:
      InputError: something is no number, or they are more than `most`.
    """
    words = (text or "").replace(",", " ").split()
    wrong = [word for word in words if not word.isascii() or not word.isdigit()]
    if wrong:
        raise InputError(f"{wrong[0][:40]!r} is no unit: expected numbers: 12, 407")
    units = list(dict.fromkeys(int(word[:18]) for word in words))
    if len(units) > most:
        raise InputError(f"{len(units):,} units; at most {most:,} at a time.")
    return units
