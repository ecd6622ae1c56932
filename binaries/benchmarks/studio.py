"""The studio, asked as its page asks: how long it takes, and what a crowd gets."""

import concurrent.futures
import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import expertjax as ej
from binaries.benchmarks.generating import PROMPT
from expertjax.checkpoints.load import Model, load_model, save_huggingface
from expertjax.concepts.pool import ConceptSet
from expertjax.workshop.server import serve
from expertjax.workshop.steer import Wish
from expertjax.workshop.studio import YOURS, Studio

_SIDE = 40  # sentences with it, and as many without
_CLIENTS, _REQUESTS = 8, 50
_NEW = 40  # tokens of a text
_PATIENCE = 600  # seconds; a busy machine is no refusal
_MEMORY = 2**27  # of responses that are remembered, soon full


def studio_table(models: Sequence[str | Path], repeats: int) -> pd.DataFrame:
    """What a studio of each model takes once its programs are compiled.

    Sentences are those of the concepts that ship, of another one at every request.

    Args:
      models: Hugging Face folders or GGUF files; the one that ships if there are none.
      repeats: medians of so many are shown.

    Returns:
      a row for each: `found_s`, from 40 + 40 new sentences to units; of causal models
      `first_token_s` of three texts and `tokens_s` of all three; `torch_tokens_s` of
      `generate` with one text, where torch is installed; of 50 requests of 8 clients
      over HTTP, all at once, how many were `answered` and `refused`, which says that
      too many wait; `kept_mb`, by how much the last of `repeats` + 1 such crowds has
      made the process larger.

    Raises:
      RuntimeError: a request was neither answered nor refused.
    """
    concepts = ej.load_concepts(ej.EXAMPLE_CONCEPTS)
    rows = [_row(str(m), concepts, repeats) for m in models or [ej.EXAMPLE_MODEL]]
    return pd.DataFrame(rows)


def _row(path: str, concepts: ConceptSet, repeats: int) -> dict[str, Any]:
    model = load_model(path)
    studio = Studio(model, memory_bytes=_MEMORY)
    requests = _requests(concepts)
    positives, negatives = next(requests)
    studio.find(positives, negatives, None)  # compiles
    taken = []
    for _ in range(repeats):
        positives, negatives = next(requests)
        start = time.perf_counter()
        name = studio.find(positives, negatives, None)
        taken.append(time.perf_counter() - start)
    row: dict[str, Any] = {"model": model.name}
    row["found_s"] = round(statistics.median(taken), 2)
    if model.family.causal:
        row |= _writing(studio, name, repeats)
        row["torch_tokens_s"] = _torch(model, repeats)
    return row | _crowd(studio, requests, repeats + 1)


def _requests(concepts: ConceptSet) -> Any:
    """Sentences with something and without it, of another concept each time."""
    while True:
        for start in itertools.count(0, _SIDE):
            for member in concepts.members:
                rows = [member.sentence[member.label == label] for label in (1, 0)]
                sides = [
                    [concepts.sentences[row] for row in side[start : start + _SIDE]]
                    for side in rows
                ]
                if min(map(len, sides)) == _SIDE:
                    yield sides
            if start > max(len(member.label) for member in concepts.members):
                break


def _writing(studio: Studio, name: str, repeats: int) -> dict[str, float]:
    wish = Wish(PROMPT, num_units=20, max_new_tokens=_NEW)
    firsts, rates = [], []
    for seed in range(repeats + 1):
        start = time.perf_counter()
        texts = studio.write(name, YOURS, dataclasses.replace(wish, seed=seed))
        next(texts)
        first = time.perf_counter() - start
        for written in texts:
            if written.perplexity is None:
                last = time.perf_counter() - start
        if seed:  # the first one compiles
            firsts.append(first)
            rates.append(3 * (_NEW - 1) / (last - first))
    return {
        "first_token_s": round(statistics.median(firsts), 2),
        "tokens_s": round(statistics.median(rates), 1),
    }


def _torch(model: Model, repeats: int) -> float | None:
    try:
        import torch
        import transformers
    except ImportError:
        return None
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        save_huggingface(model, Path(folder))
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        )
    ids = torch.tensor([model.tokenizer(PROMPT).input_ids])
    wanted = {"do_sample": True, "min_new_tokens": _NEW, "max_new_tokens": _NEW}
    rates = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        theirs.generate(ids, pad_token_id=0, **wanted)
        rates.append(_NEW / (time.perf_counter() - start))
    return round(statistics.median(rates[1:]), 1)


def _crowd(studio: Studio, requests: Any, times: int) -> dict[str, Any]:
    from gradio_client import Client

    served = serve(studio, port=None)
    try:
        clients = [
            Client(
                served.url,
                verbose=False,
                download_files=False,
                httpx_kwargs={"timeout": _PATIENCE},
            )
            for _ in range(_CLIENTS)
        ]
        sizes: list[float] = []
        said: list[str] = []
        for _ in range(times):
            asked = [(clients[i % _CLIENTS], next(requests)) for i in range(_REQUESTS)]
            with concurrent.futures.ThreadPoolExecutor(_REQUESTS) as pool:
                said = list(pool.map(_ask, asked))
            if odd := set(said) - {"answered", "refused"}:
                raise RuntimeError(f"neither answered nor refused: {odd}")
            sizes.append(_resident_mb())
        return {
            "answered": said.count("answered"),
            "refused": said.count("refused"),
            "kept_mb": round(sizes[-1] - sizes[-2]),
        }
    finally:
        served.close()


def _ask(asked: tuple[Any, Sequence[Sequence[str]]]) -> str:
    """Is a request answered, refused with a reason, or neither?"""
    client, sides = asked
    try:
        shown = client.predict(*map("\n".join, sides), api_name="/find")
    except Exception as error:  # whatever the client makes of a refusal
        return "refused" if "queue" in str(error).lower() else f"failed: {error}"
    return "answered" if "AP" in str(shown) else f"unexpected: {shown}"


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
