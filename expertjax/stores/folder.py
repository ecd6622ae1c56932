"""The result folder of one model: its files, its tables, whose run it is."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorstore as ts

from expertjax.errors import InputError, join_problems
from expertjax.stores import arrays, paths
from expertjax.stores.ledger import Ledger
from expertjax.stores.paths import write_atomically

FORMAT_VERSION = 3
AT_FIRST = "at_first_token"  # a column that `units.parquet` may have
TABLES = (
    "units", "sentences", "dropped", "memberships", "surface", "concepts", "null",
    "experts", "excited", "writes",
)  # fmt: skip


class ResultFolder:
    """`OUT/<model_name>`: see WORKSPACE.md for the tree.

    Attributes:
      path: the folder.
    """

    def __init__(self, path: Path | str) -> None:
        """Opens it; nothing is made yet.

        Raises:
          InputError: see `paths.as_path`.
        """
        self.path = paths.as_path(path)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.path.name

    @property
    def responses_path(self) -> Path:
        """[N, U]."""
        return self.path / "responses.zarr"

    @property
    def expertise_path(self) -> Path:
        """Group of [C, U]."""
        return self.path / "expertise.zarr"

    @property
    def experts_path(self) -> Path:
        """Folder of the best units of each block of units."""
        return self.path / ".blocks" / "experts"

    @property
    def at_first_path(self) -> Path:
        """Of each block of sentences, those whose maximum is at the first token."""
        return self.path / ".blocks" / "at_first.zarr"

    @property
    def responses_ledger(self) -> Ledger:
        """Blocks of sentences."""
        return Ledger(self.path / ".blocks" / "responses")

    @property
    def expertise_ledger(self) -> Ledger:
        """Blocks of units."""
        return Ledger(self.path / ".blocks" / "expertise")

    def claim(self, part: str, settings: Mapping[str, Any]) -> None:
        """Begins a part of the run, or goes on with an interrupted one.

        Args:
          part: "capture" or "score".
          settings: everything that the part's bytes depend on.

        Raises:
          InputError: the folder holds another run; says what differs.
        """
        try:
            paths.make_folder(self.path)
        except OSError as error:
            raise InputError(
                f"--out: the folder {self.path} cannot be made ({error.strerror}: "
                f"{error.filename}); choose another --out"
            ) from error
        run = self.read_run() if (self.path / "run.json").is_file() else {}
        version = run.setdefault("format_version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise InputError(
                f"{self.path}: format version {version}; this program writes "
                f"{FORMAT_VERSION}"
            )
        mine = json.loads(json.dumps(settings))
        if part not in run:
            write_atomically(
                self.path / "run.json", json.dumps(run | {part: mine}, indent=2)
            )
            return
        theirs = run[part]
        differ = [
            f"{name}: there {theirs.get(name)!r}, here {mine.get(name)!r}"
            for name in sorted(theirs.keys() | mine.keys())
            if theirs.get(name) != mine.get(name)
        ]
        if differ:
            raise InputError(
                join_problems(
                    f"--out: {self.path} holds the {part} of another run; "
                    "choose another --out or remove it. What differs:",
                    differ,
                )
            )

    def forget(self, part: str) -> None:
        """Lets the part be claimed with other settings."""
        run = self.read_run()
        run.pop(part, None)
        write_atomically(self.path / "run.json", json.dumps(run, indent=2))

    def read_run(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
          InputError: missing or damaged.
        """
        path = self.path / "run.json"
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); expected the folder "
                "OUT/<model_name> of an earlier run"
            ) from error

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Writes `<name>.parquet`, whole or not at all."""
        assert name in TABLES, name
        with paths.aside(self.path / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)

    def read_table(self, name: str) -> pd.DataFrame:
        """Reads `<name>.parquet`.

        Raises:
          InputError: missing or damaged.
        """
        path = self.path / f"{name}.parquet"
        try:
            return pd.read_parquet(paths.readable(path))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from error

    def has_table(self, name: str) -> bool:
        """Is there `<name>.parquet`?"""
        return (self.path / f"{name}.parquet").is_file()

    def write_memberships(
        self,
        keys: Sequence[str],
        sentences: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        held_out: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Writes `memberships.parquet`: who is labelled how, concept by concept.

        Args:
          keys: [C] concepts.
          sentences: [C] arrays of rows of the responses.
          labels: [C] arrays of 1 and 0.
          held_out: [C] arrays of bool, if some sentences were held out.
        """
        counts = [len(label) for label in labels]
        table = pd.DataFrame(
            {
                "concept": np.repeat(np.array(keys), counts),
                "sentence": np.concatenate(sentences).astype(np.int32),
                "label": np.concatenate(labels).astype(np.int8),
            }
        )
        if held_out is not None:
            table["held_out"] = np.concatenate(held_out)
        self.write_table("memberships", table)

    @property
    def keeps_responses(self) -> bool:
        """False where capture and scoring were one step, or elsewhere (imported)."""
        return bool(self.read_run().get("score", {}).get("keep_responses", True))

    @property
    def compat(self) -> str:
        """The `--compat` of the capture; "" where there was none."""
        return str(self.read_run().get("capture", {}).get("compat", ""))

    @property
    def source(self) -> "ResultFolder":
        """The folder with the responses that were scored: this one, or another."""
        way = self.read_run()["score"]["responses_folder"]
        return ResultFolder(paths.follow(self.path, way))

    def open_responses(self) -> ts.TensorStore:
        """The responses, if their capture was finished.

        Raises:
          InputError: it was not, there never was one, or they were not kept.
        """
        imported = self.read_run().get("import")
        if imported:
            raise InputError(
                f"{self.path}: has no responses; it was imported from files of "
                f"{imported['format']}, which hold none"
            )
        if not self.keeps_responses:
            raise InputError(
                f"{self.path}: its responses were not kept (--keep_responses=false)"
            )
        self.responses_ledger.require_closed(self.responses_path)
        return arrays.open_array(self.responses_path)

    def open_expertise(self, metric: str) -> ts.TensorStore:
        """One metric [C, U], if the scoring was finished.

        Raises:
          InputError: it was not, or there is no such metric.
        """
        self.expertise_ledger.require_closed(self.expertise_path)
        if metric not in self.metrics:
            raise InputError(
                f"{self.expertise_path}: no metric {metric!r}; there are {self.metrics}"
            )
        return arrays.open_array(self.expertise_path / metric)

    @property
    def metrics(self) -> list[str]:
        """The metrics that are stored, by name."""
        return paths.subfolders(self.expertise_path)

    def succeed(self) -> None:
        """Marks the whole run as finished."""
        write_atomically(self.path / "_SUCCESS", "")

    def unsucceed(self) -> None:
        """Takes the mark back, before anything is changed."""
        (self.path / "_SUCCESS").unlink(missing_ok=True)
