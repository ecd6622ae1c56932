"""What `PARITY.md` says of each family, measured and printed as Markdown.

`python -m tests.models.parity` runs all cases, in some seven minutes on two cores;
with model types behind it (`... bart t5`) only theirs.
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import platform
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import transformers

from tests import bounds
from tests.models.arithmetic import identity_errors
from tests.models.parity import (
    CASES,
    SIDES,
    Case,
    batch,
    bfloat16_error,
    errors,
    make_case,
)
from tests.torch_reference import load_torch

PACKAGES = ("jax", "flax", "transformers", "torch", "numpy")
KINDS = (
    "linear layers",
    "inputs of linear layers",
    "residual",
    "hidden",
    "logits",
    "arithmetic",
    "bfloat16",
)
POSITIONS = (
    "positions that are not given count from the row's beginning, so that padding on "
    "the left moves them; compared with positions given"
)
WRONG = """## What transformers gets wrong

How far its hidden states are then from its own, run as they are compared here, in
standard deviations."""
# Column, or what transformers gets wrong -> model type -> largest error.
Found = Mapping[str, dict[str, float]]


def main() -> None:
    """Runs the cases of the model types that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_type", nargs="*", help="all, if there is none")
    wanted = parser.parse_args().model_type
    types = {name: model_type_of(name) for name in CASES}
    if unknown := set(wanted) - set(types.values()):
        parser.error(f"no cases of {', '.join(sorted(unknown))}")
    names = [name for name in CASES if not wanted or types[name] in wanted]
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    table: Found = defaultdict(lambda: defaultdict(float))
    wrong: Found = defaultdict(lambda: defaultdict(float))
    for number, name in enumerate(names, 1):
        print(f"{number}/{len(names)} {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            case = make_case(name, Path(folder) / "model")
            for found, into in ((of_us(case), table), (of_torch(case), wrong)):
                for kind, error in found:
                    worst = into[kind]
                    worst[types[name]] = max(worst[types[name]], error)
    print(versions(), table_of(table, [types[name] for name in names]), sep="\n\n")
    print(f"\n{WRONG}\n\n{list_of(wrong)}")


def model_type_of(name: str) -> str:
    """The model type of a case, which is not made."""
    make, overrides = CASES[name]
    given = (make.__kwdefaults__ or {}) | overrides
    return getattr(transformers, given["architecture"]).config_class.model_type


def of_us(case: Case) -> Iterable[tuple[str, float]]:
    """(column, error): how far we are from torch, and from what needs none."""
    yield "bfloat16", bfloat16_error(case)
    for side in case.options.get("sides", SIDES):
        tokens, mask = batch(case.model, side)
        out = case.forward(tokens, mask, None)
        reference = case.reference(side, tokens, mask)
        for output, error in errors(out, reference, mask).items():
            yield kind_of(output), error
        for error in identity_errors(case.model, out["sites"], mask).values():
            yield "arithmetic", error


def kind_of(output: str) -> str:
    """The column for one output of `errors`."""
    if output in ("hidden", "logits"):
        return output
    _, colon, point = output.partition(" ")[0].partition(":")
    named = {"": "linear layers", "input": "inputs of linear layers"}
    return named.get(point, point) if colon else "linear layers"


def of_torch(case: Case) -> Iterable[tuple[str, float]]:
    """(what is wrong, error) of torch run as the case's options avoid it.

    Against itself run as they say, in standard deviations of hidden states; only what
    is beyond rounding.
    """
    options = case.options
    right = hidden(case, "right")
    found: dict[str, np.ndarray] = {}
    if "sides" not in options and options.get("explicit", True):
        found[POSITIONS] = hidden(case, "left", explicit=False)
    if "wrong" in options:
        kept = {key: value for key, value in options.items() if key != "sides"}
        torch = load_torch(case.model.path, case.model.attributes["architectures"][0])
        avoided = dataclasses.replace(case, torch=torch, options=kept)
        side = "left" if "sides" in options else "right"
        found[options["wrong"]] = hidden(avoided, side)
    for what, theirs in found.items():
        error = float(np.abs(theirs - right).max() / right.std())
        if error > bounds.of_model(case.model):
            yield what, error


def hidden(case: Case, side: str, **options: bool) -> np.ndarray:
    """[N, D] of torch at the real tokens, which are the same on either side."""
    tokens, mask = batch(case.model, side)
    return case.reference(side, tokens, mask, **options).hidden[mask.astype(bool)]


def versions() -> str:
    """The sentence above the table: when, where and with what it was made."""
    said = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    cpus = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpus.read_text() if cpus.exists() else "")
    machine = [*([named[1]] if named else []), platform.machine()]
    when = datetime.date.today()
    return (
        f"All rows: {when:%B} {when.day}, {when.year}; {', '.join(said)}; "
        f"Python {platform.python_version()}; {', '.join(machine)}."
    )


def table_of(found: Found, types: list[str]) -> str:
    """A row for each model type."""
    rows = [["model type", "configurations", *KINDS]]
    for model_type in sorted(set(types)):
        of_type = [found[kind].get(model_type) for kind in KINDS]
        cells = ["-" if error is None else f"{error:.1e}" for error in of_type]
        rows.append([model_type, str(types.count(model_type)), *cells])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines)


def list_of(wrong: Found) -> str:
    """What is wrong, and how far each model type that has it is off."""
    lines = []
    for what, sizes in sorted(wrong.items()):
        said = (f"{name} {error:.1f}" for name, error in sorted(sizes.items()))
        lines.append(f"- {what}: {', '.join(said)}")
    return "\n".join(lines) or "Nothing that these cases know of."
