"""Jobs over several models: the main job, what it would cost, probes."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pandas as pd
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.api import Expertise, load_concepts, score
from expertjax.building.corpora import read_texts
from expertjax.capturing.capture import capture
from expertjax.capturing.cost import capture_cost, capture_seconds
from expertjax.capturing.excited import write_excited
from expertjax.capturing.prepare import prepare
from expertjax.capturing.settings import CaptureSettings
from expertjax.capturing.writes import write_writes
from expertjax.checkpoints.load import Model, load_model
from expertjax.checkpoints.series import Member, expand
from expertjax.concepts.files import check_name
from expertjax.concepts.pool import ConceptSet
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.probing import run as probing_room
from expertjax.probing.run import ProbeResults
from expertjax.probing.settings import ProbeSettings
from expertjax.probing.tasks import read_tasks
from expertjax.runtime import processes
from expertjax.runtime.compile_cache import keep_compiled
from expertjax.runtime.mesh import make_mesh
from expertjax.runtime.sharding import put_parameter
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder
from expertjax.stores.paths import as_path, write_atomically

Models = str | Path | Sequence[str | Path]  # one, or several


@dataclasses.dataclass(frozen=True)
class FindSettings:
    """Settings of the main job.

    Attributes:
      capture: what is run.
      score: how it is scored.
      mesh: e.g. "data:4,model:2"; "" puts all devices on the data axis.
      gamma: AP from which a unit is called an expert in the report.
      steps: the part of the job to be done, of "capture", "score", "report".
      keep_responses: write `responses.zarr`? If not, capture and scoring are one step.
      memory_bytes: the most that responses take where they are not kept; 0 for what
        suits, see `capture_and_score`.
      shard_models: "i/n" for every n-th model from the i-th on, from 0; "" for all.
      excited_sentences: of each of the best units, kept with the token at which it is
        maximal (`excited.parquet`), where responses are kept; 0 for none.
      compile_cache: folder in which compiled programs are kept; "" for none, None for
        one in this user's cache folder.
      ignore_config: attributes of the models' configs that are passed over.
    """

    capture: CaptureSettings = dataclasses.field(default_factory=CaptureSettings)
    score: ScoreSettings = dataclasses.field(default_factory=ScoreSettings)
    mesh: str = ""
    gamma: float = 0.9
    steps: tuple[str, ...] = ("capture", "score", "report")
    keep_responses: bool = True
    memory_bytes: int = 0
    shard_models: str = ""
    excited_sentences: int = 8
    compile_cache: str | None = None
    ignore_config: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        if not 0 < self.gamma <= 1:
            raise InputError(f"--gamma={self.gamma}: expected more than 0, at most 1")
        if self.memory_bytes < 0:
            raise InputError(f"--memory_bytes={self.memory_bytes}: must be at least 0")
        if self.excited_sentences < 0:
            raise InputError(
                f"--excited_sentences={self.excited_sentences}: must be at least 0"
            )
        shard = re.fullmatch(r"(\d+)/(\d+)", self.shard_models)
        if self.shard_models and not (shard and int(shard[1]) < int(shard[2])):
            raise InputError(
                f"--shard_models={self.shard_models}: expected i/n with i from 0 to "
                "n - 1, for example 0/4"
            )

    def shard(self, members: list[Member]) -> list[Member]:
        """The models that are this job's."""
        if not self.shard_models:
            return members
        which, count = map(int, self.shard_models.split("/"))
        return processes.share(members, count, which)


@jax_settings()
def find_experts(
    models: Models,
    concepts: Path | str,
    out: Path | str,
    settings: FindSettings | None = None,
    names: Sequence[str] = (),
) -> list[ResultFolder]:
    """The main job: capture, score and report, one model after the other.

    All inputs are checked before the first model runs.

    Args:
      models: folder, GGUF file, hub id, or series of them, one or several (see
        `checkpoints.series.expand`).
      concepts: concept folder.
      out: results go to `out/<model name>`.
      settings: see `FindSettings`.
      names: of the models or series; by default those of their folders.

    Returns:
      the models' result folders, each marked with `_SUCCESS` where it was scored.

    Raises:
      InputError: see `load_model`, `load_concepts`, `capture`, `score`.
    """
    settings = settings or FindSettings()
    out = as_path(out)
    keep_compiled(settings.compile_cache)
    mesh = make_mesh(settings.mesh)
    folders = []
    for model, concept_set in _jobs(models, concepts, settings, mesh, names):
        place = out / model.name
        if settings.keep_responses:
            folder = capture(model, concept_set, place, settings.capture, mesh)
            if "score" in settings.steps:
                score(folder, settings=settings.score)
            drawn = _draw_ahead(folder, settings)
            if "report" in settings.steps and settings.excited_sentences:
                write_excited(folder, model, settings.excited_sentences, mesh)
        else:
            from expertjax.storeless import capture_and_score  # brings numba

            folder = capture_and_score(
                model,
                concept_set,
                place,
                settings.capture,
                settings.score,
                settings.memory_bytes,
                mesh,
            )
            drawn = _draw_ahead(folder, settings)
        if "report" in settings.steps:
            write_writes(folder, model, mesh)
        del model  # before the next one is loaded
        if drawn is not None:
            from expertjax.report.build import build_report  # brings matplotlib

            build_report(Expertise(folder), settings.gamma, drawn=drawn)
        if "score" in settings.steps and processes.is_first():
            folder.succeed()
        processes.barrier("find_experts: finished")
        folders.append(folder)
    return folders


def _draw_ahead(folder: ResultFolder, settings: FindSettings) -> Future | None:
    """The figures of the report, in the making; None where there is to be none."""
    if "report" not in settings.steps or not processes.is_first():
        return None
    from expertjax.report.build import draw_ahead  # brings matplotlib

    return draw_ahead(Expertise(folder), settings.gamma)


@jax_settings()
def capture_costs(
    models: Models,
    concepts: Path | str,
    settings: FindSettings | None = None,
    names: Sequence[str] = (),
) -> pd.DataFrame:
    """What the capture of some models would cost; a batch of each is run.

    Nothing is written.

    Args:
      models: as for `find_experts`.
      concepts: concept folder.
      settings: see `FindSettings`.
      names: as for `find_experts`.

    Returns:
      a row for each model: see `capturing.cost.Cost`; `padding`, a share, and about
      how many seconds it takes, see `capturing.cost.capture_seconds`.

    Raises:
      InputError: see `load_model`, `load_concepts`.
    """
    settings = settings or FindSettings()
    mesh = make_mesh(settings.mesh)
    rows = []
    for model, concept_set in _jobs(models, concepts, settings, mesh, names):
        prepared = prepare(model, concept_set, settings.capture, mesh)
        cost = capture_cost(prepared)
        row = {"model": model.name, **dataclasses.asdict(cost)}
        seconds = capture_seconds(prepared, cost)
        rows.append(row | {"padding": cost.padding, "seconds": seconds})
    return pd.DataFrame(rows)


@jax_settings()
def probe_models(
    models: Models,
    tasks: Sequence[Path | str],
    out: Path | str,
    settings: ProbeSettings | None = None,
    names: Sequence[str] = (),
    text: str = "",
    job: FindSettings | None = None,
) -> ProbeResults:
    """Linear probes and held-out perplexity of several models, as tables in `out`.

    Can be interrupted at any moment and called again: finished models are kept.

    Args:
      models: as for `find_experts`.
      tasks: concept folders and labelled tables.
      out: gets `probes.csv`, `models.csv`, `benchmark_<score>.csv`, `accuracy.png`.
      settings: see `ProbeSettings`.
      names: as for `find_experts`.
      text: on which causal models are judged, see `building.corpora.read_texts`; ""
        for none.
      job: whose mesh, shard_models, compile_cache and ignore_config are used.

    Raises:
      InputError: see `read_tasks`, `read_texts`, `probing.run.probe_models`.
    """
    from expertjax.report.probe_figures import accuracy_png  # brings matplotlib

    settings, job = settings or ProbeSettings(), job or FindSettings()
    members = job.shard(_expand(models, names))
    task_set = read_tasks(tasks, settings)
    texts = read_texts(text) if text else []
    keep_compiled(job.compile_cache)
    mesh, out = make_mesh(job.mesh), as_path(out)
    tokenizers: dict[Path | None, Any] = {None: None}

    def load(member: Member) -> Model:
        return _load(member, settings, mesh, tokenizers, job.ignore_config)

    results = probing_room.probe_models(
        members, load, task_set, texts, out, settings, mesh
    )
    if len(results.models):
        write_atomically(out / "accuracy.png", accuracy_png(results.models))
    return results


def _jobs(
    models: Models,
    concepts: Path | str,
    settings: FindSettings,
    mesh: Mesh,
    names: Sequence[str],
) -> Iterator[tuple[Model, ConceptSet]]:
    """Each model with the concepts, loaded when its turn has come."""
    members = settings.shard(_expand(models, names))
    concept_set = load_concepts(
        concepts,
        num_per_concept=settings.capture.num_per_concept,
        data_seed=settings.capture.data_seed,
        compat=settings.capture.compat,
    )
    tokenizers: dict[Path | None, Any] = {None: None}  # each is loaded once
    for member in members:
        yield (
            _load(member, settings.capture, mesh, tokenizers, settings.ignore_config),
            concept_set,
        )


def _load(
    member: Member,
    settings: CaptureSettings | ProbeSettings,
    mesh: Mesh,
    tokenizers: dict[Path | None, Any],
    ignore_config: Sequence[str],
) -> Model:
    """One model, on the mesh; its tokenizer from `tokenizers`, or put there."""
    with tqdm(
        desc=f"load {member.name}", unit="parameter", disable=not processes.is_first()
    ) as bar:

        def tell(count: int, total: int) -> None:
            bar.total = total
            bar.update(count - bar.n)

        model = load_model(
            str(member.path),
            name=member.name,
            dtype=settings.compute_dtype,
            precision=settings.precision,
            put=put_parameter(mesh),
            tokenizer=tokenizers.get(member.tokenizer, member.tokenizer),
            ignore_config=ignore_config,
            read_with=getattr(settings, "read_with", ""),
            tell=tell,
        )
    if member.tokenizer:
        tokenizers[member.tokenizer] = model.tokenizer
    return model


def _expand(models: Models, names: Sequence[str]) -> list[Member]:
    """All models, with distinct names."""
    several = [models] if isinstance(models, str | Path) else models
    paths = [str(model) for model in several]
    if names and len(names) != len(paths):
        raise InputError(f"{len(names)} --model_name for {len(paths)} --model")
    members: dict[str, Member] = {}
    for model, name in zip(paths, names or [""] * len(paths), strict=True):
        for member in expand(model, name or None):
            check_name(member.name, "--model_name")
            if member.name in members:
                raise InputError(
                    f"--model: two models are called {member.name!r}; give "
                    "--model_name for each"
                )
            members[member.name] = member
    return list(members.values())
