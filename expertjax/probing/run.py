"""Probing many models: a job that can be interrupted, and its tables.

    OUT/probes.csv                   a row for each model and task
    OUT/models.csv                   a row for each model
    OUT/benchmark_<score>.csv        columns model,score
    OUT/.blocks/probes/run.json      whatever the numbers depend on
    OUT/.blocks/probes/models/       a file for each finished model

Tables are made of the finished models' files, by name, so that several jobs may share
a folder and an interrupted one ends with the same bytes.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import pandas as pd
from jax.sharding import Mesh

from expertjax.checkpoints.load import Model
from expertjax.checkpoints.series import Member
from expertjax.concepts.pool import ConceptSet
from expertjax.errors import InputError
from expertjax.generation.perplexity import text_likelihood
from expertjax.jax_settings import jax_settings
from expertjax.probing import probes
from expertjax.probing.representations import represent
from expertjax.probing.settings import ProbeSettings
from expertjax.probing.tasks import TaskSet, read_tasks
from expertjax.stores.folder import ResultFolder
from expertjax.stores.paths import make_folder, names, write_atomically

_MODEL_COLUMNS = (
    "model", "family", "causal", "num_parameters", "num_tasks", "num_truncated",
    *probes.SCORES, "perplexity", "bits_per_byte",
)  # fmt: skip
BENCHMARKS = ("accuracy", "auroc", "bits_per_byte")


@dataclasses.dataclass(frozen=True)
class ProbeResults:
    """The tables of a job.

    Attributes:
      probes: model, and the columns of `probes.COLUMNS`; a row for each task.
      models: model, family, causal, num_parameters, num_tasks, num_truncated, the means
        of accuracy, balanced accuracy and AUROC over tasks, perplexity and
        bits_per_byte. The last two are empty for encoders (causal is False), and for
        all where there was no text.
    """

    probes: pd.DataFrame
    models: pd.DataFrame


def probe(
    model: Model,
    tasks: ConceptSet | Path | str | Sequence[ConceptSet | Path | str],
    settings: ProbeSettings | None = None,
    mesh: Mesh | None = None,
) -> pd.DataFrame:
    """Linear probes on a model's sentence representations.

    Args:
      model: of any family.
      tasks: concepts, concept folders or labelled tables; see
        `read_tasks`.
      settings: see `ProbeSettings`.
      mesh: defaults to all devices on the data axis.

    Returns:
      a row for each task: see `probe_vectors`.

    Raises:
      InputError: see `read_tasks` and `represent`.
    """
    sources = [tasks] if isinstance(tasks, ConceptSet | Path | str) else list(tasks)
    task_set = read_tasks(sources, settings)
    return probe_model(model, task_set, settings, mesh=mesh).probes.drop(
        columns="model"
    )


@jax_settings()
def probe_model(
    model: Model,
    tasks: TaskSet,
    settings: ProbeSettings | None = None,
    texts: Sequence[str] = (),
    mesh: Mesh | None = None,
) -> ProbeResults:
    """Probes of one model, and how likely it finds some texts.

    Args:
      model: of any family.
      tasks: from `read_tasks`.
      settings: see `ProbeSettings`.
      texts: for causal models.
      mesh: defaults to all devices on the data axis.

    Raises:
      InputError: see `represent` and `text_likelihood`.
    """
    settings = settings or ProbeSettings()
    vectors_NxD, num_truncated = represent(model, tasks.sentences, settings, mesh)
    table = probes.probe_vectors(vectors_NxD, tasks, settings)
    row: dict[str, Any] = {
        "model": model.name,
        "family": model.family.name,
        "causal": model.family.causal,
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
        "num_tasks": len(table),
        "num_truncated": num_truncated,
    }
    row |= table[list(probes.SCORES)].mean().to_dict()
    if texts and model.family.causal:
        found = text_likelihood(model, texts)
        row |= {
            "perplexity": found.perplexity,
            "bits_per_byte": found.bits_per_byte,
        }
    table.insert(0, "model", model.name)
    return ProbeResults(table, _models_table([row]))


@jax_settings()
def probe_models(
    members: Sequence[Member],
    load: Callable[[Member], Model],
    tasks: TaskSet,
    texts: Sequence[str],
    out: Path,
    settings: ProbeSettings,
    mesh: Mesh,
) -> ProbeResults:
    """Probes one model after the other; those that are finished are not loaded.

    Args:
      members: the models.
      load: loads one of them.
      tasks: from `read_tasks`.
      texts: on which causal models are judged; may be empty.
      out: folder, local or in a bucket.
      settings: see `ProbeSettings`.
      mesh: of this process.

    Returns:
      of all models that are finished in `out`.

    Raises:
      InputError: `out` holds a job of other settings, tasks or text, or a model of the
        same name from elsewhere; and see `probe_model`.
    """
    folder = ResultFolder(out / ".blocks" / "probes")
    folder.claim("probe", _identity(settings, tasks, texts))
    done = folder.path / "models"
    make_folder(done)
    for member in members:
        if f"{member.name}.json" in names(done):
            _check_same(done / f"{member.name}.json", member)
            continue
        model = load(member)
        found = probe_model(model, tasks, settings, texts, mesh)
        del model  # before the next one is loaded
        content = {
            "path": str(member.path),
            "probes": found.probes.to_dict("records"),
            "models": found.models.to_dict("records"),
        }
        write_atomically(done / f"{member.name}.json", json.dumps(content))
        write_tables(out, done)
    return write_tables(out, done)


def collect(finished: Sequence[Path]) -> ProbeResults:
    """The tables of some finished models.

    Raises:
      InputError: a model's file is damaged.
    """
    found = [_read(path) for path in finished]
    rows = [row for content in found for row in content["probes"]]
    columns = ["model", *probes.COLUMNS]
    models = _models_table([row for content in found for row in content["models"]])
    return ProbeResults(pd.DataFrame(rows, columns=columns), models)


def write_tables(out: Path, done: Path) -> ProbeResults:
    """Writes the tables, and a file for each score as `--benchmark_csv` takes it.

    Args:
      out: their folder.
      done: folder of the finished models.

    Returns:
      what was written.
    """
    finished = None
    # Another job may finish a model and write its tables in between.
    while finished != (there := _finished(done)):
        finished, results = there, collect(there)
        _write(out / "probes.csv", results.probes)
        _write(out / "models.csv", results.models)
        for name in BENCHMARKS:
            scored = results.models[["model", name]].dropna()
            if len(scored):
                table = scored.rename(columns={name: "score"})
                _write(out / f"benchmark_{name}.csv", table)
    return results


def _finished(done: Path) -> list[Path]:
    """The finished models' files; a killed job may leave others."""
    return [done / name for name in sorted(names(done)) if name.endswith(".json")]


def _models_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    # None, where no model has any, would make columns of objects.
    scores = dict.fromkeys(("perplexity", "bits_per_byte"), float)
    return pd.DataFrame(rows, columns=_MODEL_COLUMNS).astype(scores)


def _write(path: Path, table: pd.DataFrame) -> None:
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    write_atomically(path, text.getvalue())


def _identity(
    settings: ProbeSettings, tasks: TaskSet, texts: Sequence[str]
) -> dict[str, Any]:
    """Everything that the numbers depend on, besides the models, and counts."""
    text_sha256 = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return dataclasses.asdict(settings) | {
        "num_tasks": len(tasks.tasks),
        "num_sentences": len(tasks.sentences),
        "tasks_sha256": tasks.digest(),
        "text_sha256": text_sha256 if texts else "",
    }


def _check_same(path: Path, member: Member) -> None:
    there = _read(path)["path"]
    if there != str(member.path):
        raise InputError(
            f"--out: {path} holds a model {member.name} from {there}, not from "
            f"{member.path}; give --model_name, or remove that file"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
        if not {"path", "probes", "models"} <= content.keys():
            raise ValueError("keys are missing")
        return content
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); remove it and run the same again"
        ) from error
