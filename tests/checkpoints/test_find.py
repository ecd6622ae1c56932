"""Where a checkpoint is, and what it is called: links, and the hub's cache."""

import shutil
from pathlib import Path

import pytest

from expertjax.checkpoints.find import checkpoint_name, find_checkpoint
from expertjax.checkpoints.load import load_model
from expertjax.checkpoints.series import expand
from expertjax.errors import InputError
from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.checkpoints.gguf_writer import write_folder
from tests.programs import run_program

MAIN, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def cached(cache: Path, model: Path, repository: str, *commits: str) -> Path:
    """A repository as the hub's client keeps it: links to files named by hashes."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True)
    for commit in commits:
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for number, path in enumerate(sorted(model.iterdir())):
            blob = folder / "blobs" / f"{number:040x}"
            shutil.copy(path, blob)
            (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(MAIN)
    return folder


@pytest.fixture
def repository(tiny_gpt2_folder: Path, tmp_path: Path) -> Path:
    return cached(tmp_path / "hub", tiny_gpt2_folder, "org/tiny", MAIN, OTHER)


def test_the_folder_of_a_repository_is_its_main_snapshot(repository: Path) -> None:
    assert find_checkpoint(str(repository)) == repository / "snapshots" / MAIN
    model = load_model(f"{repository}/")
    assert model.name == "tiny"
    assert [m.name for m in expand(str(repository))] == ["tiny"]


def test_a_snapshot_is_called_like_its_repository(repository: Path) -> None:
    for commit in (MAIN, OTHER):
        snapshot = repository / "snapshots" / commit
        assert find_checkpoint(str(snapshot)) == snapshot
        assert load_model(str(snapshot)).name == "tiny"


def test_a_repository_without_an_organisation(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    folder = cached(tmp_path, tiny_gpt2_folder, "gpt2", MAIN)
    assert checkpoint_name(str(folder)) == "gpt2"


def test_without_main_the_only_snapshot_is_meant(repository: Path) -> None:
    (repository / "refs" / "main").write_text("f" * 32)  # never fetched
    with pytest.raises(InputError, match=f"There are {MAIN}, {OTHER}"):
        find_checkpoint(str(repository))
    shutil.rmtree(repository / "refs")
    shutil.rmtree(repository / "snapshots" / MAIN)
    assert find_checkpoint(str(repository)).name == OTHER
    shutil.rmtree(repository / "snapshots" / OTHER)
    with pytest.raises(InputError, match=r"which snapshot\? There are none"):
        find_checkpoint(str(repository))


def test_the_cache_itself_says_what_is_in_it(repository: Path) -> None:
    with pytest.raises(InputError, match="one of the models in it: models--org--tiny"):
        find_checkpoint(str(repository.parent))


def test_steps_in_a_snapshot_are_a_series(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    folder = cached(tmp_path / "hub", run, "org/steps", MAIN)
    for step in ("step-1", "step-20"):
        shutil.copytree(tiny_gpt2_folder, folder / "snapshots" / MAIN / step)
    assert [m.name for m in expand(str(folder))] == ["steps-1", "steps-20"]


def test_a_link_is_called_as_the_user_calls_it(
    tiny_gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").symlink_to(tiny_gpt2_folder)
    (tmp_path / "mine.gguf").touch()
    assert load_model(str(tmp_path / "mine")).name == "mine"
    assert checkpoint_name(f"{tmp_path}/./mine/") == "mine"
    assert checkpoint_name(str(tmp_path / "mine.gguf")) == "mine"
    monkeypatch.chdir(tiny_gpt2_folder)
    assert checkpoint_name(".") == tiny_gpt2_folder.name


def test_revisions_make_names_of_one_part() -> None:
    assert checkpoint_name("org/m@refs/pr/1") == "m-refs-pr-1"
    assert checkpoint_name("org/m@v1") == "m-v1"
    assert checkpoint_name("org/m") == "m"


def test_programs_name_results_so(
    repository: Path, tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    blob = write_folder(tiny_gpt2_folder, tmp_path / ("ab" * 20), "gpt2")
    snapshot = tmp_path / "models--org--quant" / "snapshots" / MAIN
    snapshot.mkdir(parents=True)
    (snapshot / "tiny-Q4.gguf").symlink_to(blob)
    (tmp_path / "linked").symlink_to(tiny_gpt2_folder)
    models = [repository, snapshot / "tiny-Q4.gguf", tmp_path / "linked"]
    said = run_program(
        "capture_responses",
        "--dry_run",
        *(f"--model={model}" for model in models),
        concepts=write_tiny_concepts(tmp_path / "concepts"),
        out=tmp_path / "out",
        seq_len=SEQ_LEN,
    )
    (names,) = [line for line in said.splitlines() if line.startswith("model ")]
    assert names.split() == ["model", "tiny", "tiny-Q4", "linked"]
