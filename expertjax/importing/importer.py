"""From the files of other software to a result folder."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from expertjax.capturing.prepare import write_units
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import read_architecture
from expertjax.concepts.files import check_name
from expertjax.errors import InputError, join_problems
from expertjax.importing.labels import Labels, read_labels
from expertjax.importing.settings import ImportSettings
from expertjax.importing.table import BEST_UNITS, ImportedScores
from expertjax.importing.units import units_of_model, units_of_modules
from expertjax.models.family import Family
from expertjax.models.sites import UnitTable
from expertjax.scoring.labels import memberships_digest
from expertjax.scoring.settings import ScoreSettings
from expertjax.scoring.surface import Surface
from expertjax.stores import paths, selfcond_files
from expertjax.stores.folder import ResultFolder
from expertjax.stores.selfcond_files import ConceptScores

Format = Literal["selfcond"]
Architecture = tuple[Family, Any, Callable[[], Any]]  # see `read_architecture`
_EXACT = ScoreSettings(tie_tolerance=0.0)  # as the files were scored


def import_expertise(
    results: Path | str,
    out: Path | str,
    settings: ImportSettings,
    form: Format = "selfcond",
) -> ResultFolder:
    """Makes `out/<model name>` of one model's results.

    The files are read once, one concept at a time; the folder appears whole or, where
    anything is wrong, not at all.

    Args:
      results: `<root>/<model>` with `<group>/<concept>/expertise/expertise.csv`.
      out: where the result folder goes.
      settings: see `ImportSettings`.
      form: "selfcond" for the files of apple/ml-selfcond and its forks.

    Returns:
      the result folder: what a scoring makes, without responses, intervals and the
      metrics that the files do not have.

    Raises:
      InputError: lists everything that is wrong with the files; or the folder exists
        and is not empty.
    """
    source = paths.as_path(results)
    found = selfcond_files.find_concepts(source)
    name = settings.model_name or paths.resolved(source).name
    check_name(name, "--model_name")
    _check_names(source, found)
    target = paths.as_path(out) / name
    if target.exists() and any(target.iterdir()):
        raise InputError(f"--out: {target} exists and is not empty; choose another")
    keys = ["/".join(pair) for pair in found]
    architecture = None
    if settings.model:
        architecture = read_architecture(settings.model, settings.ignore_config)
    labels = read_labels(keys, settings, architecture[2] if architecture else None)
    with paths.aside(target) as path:
        folder = ResultFolder(path)
        paths.make_folder(path)
        units_of = functools.partial(_units_of, architecture, settings.model)
        reader = _Reader(source, folder, labels.keys, units_of)
        for key in tqdm(labels.keys, unit="concept", desc=f"import {name}"):
            reader.read(key)
        reader.require_right()
        labels.write(folder)
        table = reader.finish(labels.shapes, _surface(folder, labels))
        folder.claim("import", reader.facts() | {"format": form})
        of_model = {
            "model": name,
            "family": architecture[0].name if architecture else None,
            "num_units": table.num_units,
            "num_layers": architecture[1].num_layers if architecture else None,
        }
        folder.claim("capture", _capture_part(labels, settings) | of_model)
        folder.claim("score", _score_part(labels, reader.metrics))
        folder.succeed()
        if target.exists():
            target.rmdir()
    return ResultFolder(target)


def _units_of(
    architecture: Architecture | None, model: str, layout: Mapping[str, int]
) -> UnitTable:
    if architecture is None:
        return units_of_modules(layout)
    family, config, _ = architecture
    return units_of_model(layout, family.sites(config), config.num_layers, model)


def _check_names(source: Path, found: Sequence[tuple[str, str]]) -> None:
    """Refuses folders whose names are none for a concept."""
    problems = []
    for group, name in found:
        for text, what in ((group, "group"), (name, "concept")):
            try:
                check_name(text, what)
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise InputError(join_problems(f"--results={source}:", problems))


class _Reader:
    """Reads concept after concept, and takes note of all that is wrong."""

    def __init__(
        self,
        source: Path,
        folder: ResultFolder,
        keys: Sequence[str],
        units_of: Callable[[Mapping[str, int]], UnitTable],
    ) -> None:
        self._source, self._folder = source, folder
        self._keys, self._units_of = keys, units_of
        self._first: ConceptScores | None = None
        self._table: UnitTable | None = None
        self._target: ImportedScores | None = None
        self._problems: list[str] = []
        self._ignored: set[str] = set()
        self._sha256: dict[str, str] = {}  # of each file

    def read(self, key: str) -> None:
        """Reads one concept, and writes it if nothing has been wrong so far."""
        group, _, name = key.partition("/")
        path = selfcond_files.table_path(self._source, group, name)
        try:
            scores = selfcond_files.read_concept(self._source, group, name)
            if self._first is None:
                self._first = scores
                self._begin(scores)
        except InputError as error:
            self._problems.append(str(error))
            return
        self._problems += [f"{path}: {p}" for p in _differ(self._first, scores)]
        self._ignored |= set(scores.ignored)
        self._sha256[path.relative_to(self._source).as_posix()] = scores.sha256
        if self._target and not self._problems:
            self._target.add(scores)

    def _begin(self, first: ConceptScores) -> None:
        self._table = self._units_of(first.layout)
        if not self._problems:
            write_units(self._folder, self._table)
            self._target = ImportedScores(
                self._folder, self._keys, self._table, self.metrics
            )

    @property
    def metrics(self) -> list[str]:
        """That the files have."""
        return list(self._first.scores) if self._first else []

    def require_right(self) -> None:
        """Raises InputError with everything that was wrong."""
        if self._problems:
            title = f"--results={self._source}: files that cannot be imported:"
            raise InputError(join_problems(title, self._problems))

    def finish(
        self, shapes: Sequence[tuple[int, int]], surface: Surface | None
    ) -> UnitTable:
        """Writes the tables; the units.

        Args:
          shapes: [C] (n_pos, n_neg).
          surface: of the concepts, if their sentences are known.
        """
        assert self._target and self._table
        self._target.close(shapes, surface)
        return self._table

    def facts(self) -> dict[str, Any]:
        """What was read; the fingerprint is that of what `sha256sum` says."""
        lines = "".join(f"{self._sha256[p]}  {p}\n" for p in sorted(self._sha256))
        return {
            "num_files": len(self._sha256),
            "files_sha256": hashlib.sha256(lines.encode()).hexdigest(),
            "columns_ignored": sorted(self._ignored),
        }


def _differ(first: ConceptScores, scores: ConceptScores) -> Iterator[str]:
    """What another concept's files have and the first one's have not, or reverse."""
    if scores.scores.keys() != first.scores.keys():
        here, there = ", ".join(scores.scores), ", ".join(first.scores)
        yield f"has the metrics {here}; the first concept has {there}"
    if scores.layout != first.layout:
        differ = sorted(scores.layout.items() ^ first.layout.items())
        layer = differ[0][0]
        count = len({module for module, _ in differ})
        yield (
            f"has {scores.layout.get(layer, 0)} units of {layer}, the first concept "
            f"{first.layout.get(layer, 0)} ({count} layers differ); expected all "
            "concepts to be of one model"
        )


def _surface(folder: ResultFolder, labels: Labels) -> Surface | None:
    """What needs no model, measured on the concepts' sentences if they are known."""
    if labels.concepts is None:
        return None
    members = labels.concepts.members
    surface = Surface(folder, labels.keys, members)
    surface.measure([member.none() for member in members], _EXACT)
    return surface


def _capture_part(labels: Labels, settings: ImportSettings) -> dict[str, Any]:
    """What is known of the capture; None for the rest."""
    part: dict[str, Any] = {
        field.name: None for field in dataclasses.fields(CaptureSettings)
    }
    part |= dict.fromkeys(("weights_sha256", "tokens_sha256"))
    part |= dict.fromkeys(("num_sentences", "num_dropped", "num_truncated"))
    if labels.concepts is not None:
        part["num_sentences"] = len(labels.concepts.sentences)
        part["num_per_concept"] = settings.num_per_concept
        part["data_seed"] = settings.data_seed
    if labels.dropped is not None:
        part["seq_len"] = settings.seq_len
        part |= {"num_dropped": len(labels.dropped), "num_truncated": 0}
    return part


def _score_part(labels: Labels, metrics: Sequence[str]) -> dict[str, Any]:
    """As a scoring writes it; the responses lie nowhere."""
    members = labels.concepts.members if labels.concepts else None
    return {
        "responses": None,
        "responses_folder": ".",
        "keep_responses": False,
        "memberships_sha256": members and memberships_digest(labels.keys, members),
        "num_concepts": len(labels.keys),
        "metrics": list(metrics),
        "holdout": 0.0,
        "tie_tolerance": None,
        "bootstrap_top": BEST_UNITS,
        "bootstrap_resamples": 0,
    }
