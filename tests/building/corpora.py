"""A SemCor of a few sentences, about the birds of the tiny WordNet."""

import io
import tarfile
from pathlib import Path

LICENCE = "Keep this licence of a tiny corpus.\n"


def tagged(word: str, sense: str = "", part: str = "NN", number: str = "1") -> str:
    """A `<wf>` line; `sense` is `lemma%1:05:00::`, several joined by `;`."""
    if not sense:
        return f'<wf cmd="ignore" pos="{part}">{word}</wf>'
    lemma = sense.partition("%")[0]
    keys = ";".join(key.partition("%")[2] for key in sense.split(";"))
    return (
        f'<wf cmd="done" pos="{part}" lemma="{lemma}" wnsn="{number}" '
        f'lexsn="{keys}">{word}</wf>'
    )


def plain(words: str) -> str:
    """Words that have no sense."""
    return "\n".join(tagged(word, part="DT") for word in words.split())


def sentence(*lines: str) -> str:
    """A sentence of such lines that ends in a full stop."""
    return "<s snum=1>\n" + "\n".join(lines) + "\n<punc>.</punc>\n</s>\n"


def document(*sentences: str) -> str:
    """A file of SemCor."""
    body = "".join(sentences)
    return f"<contextfile concordance=brown>\n<p pnum=1>\n{body}</p>\n</contextfile>\n"


def semcor_tar(path: Path, files: dict[str, str]) -> Path:
    """An archive with a licence beside the files of `semcor/`."""
    with tarfile.open(path, "w:xz") as archive:
        for name, text in {"LICENSE": LICENCE, **files}.items():
            content = text.encode("latin-1")
            entry = tarfile.TarInfo(f"semcor/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path
