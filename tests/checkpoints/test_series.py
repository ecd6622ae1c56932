"""Several checkpoints behind one name: steps of a run, revisions of a repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from expertjax import FindSettings, find_experts
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import load_model, params_digest
from expertjax.checkpoints.series import Member, expand
from expertjax.errors import InputError
from tests.capturing.tiny_concepts import write_tiny_concepts
from tests.tiny_models import make_tiny_gpt2


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a training run that was saved at steps 10, 9 and 200."""
    folder = tmp_path / "run"
    for seed, name in enumerate(["step-10", "step9", "checkpoint-200"]):
        make_tiny_gpt2(folder / name, seed=seed)
    (folder / "logs").mkdir()
    (folder / "step-list.txt").write_text("9\n10\n200\n")
    return folder


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def test_steps_are_in_the_order_of_their_numbers(run: Path) -> None:
    members = expand(str(run))
    assert [member.name for member in members] == ["run-9", "run-10", "run-200"]
    assert [m.path.name for m in members] == ["step9", "step-10", "checkpoint-200"]
    assert {member.tokenizer for member in members} == {run / "step9"}
    assert [m.name for m in expand(f"{run}/", "ours")] == [
        "ours-9",
        "ours-10",
        "ours-200",
    ]


def test_a_checkpoint_is_no_series(run: Path) -> None:
    assert expand(str(run / "step9")) == [Member("step9", run / "step9")]
    # A trainer leaves the last weights beside the steps before.
    shutil.copytree(run / "checkpoint-200", run, dirs_exist_ok=True)
    assert expand(str(run)) == [Member("run", run)]
    (run / "model.safetensors").unlink()
    assert len(expand(str(run))) == 3


def test_members_without_a_tokenizer_take_that_of_others(run: Path) -> None:
    without_tokenizer(run / "step9")
    assert {m.tokenizer for m in expand(str(run))} == {run / "step-10"}
    shutil.copy(run / "step-10" / "tokenizer.json", run)
    for name in ("step-10", "checkpoint-200"):
        without_tokenizer(run / name)
    assert {m.tokenizer for m in expand(str(run))} == {run}
    (run / "tokenizer.json").unlink()
    assert {m.tokenizer for m in expand(str(run))} == {None}


def test_members_with_other_tokenizers_keep_them(run: Path) -> None:
    make_tiny_gpt2(run / "step-10", vocab_size=290)
    assert [m.tokenizer for m in expand(str(run))] == [
        run / "step9",
        run / "step-10",
        run / "step9",
    ]


def test_a_step_that_is_there_twice_is_refused(run: Path) -> None:
    (run / "checkpoint-9").mkdir()
    with pytest.raises(InputError, match="checkpoint-9 and step9 are of the same step"):
        expand(str(run))


def test_an_unfinished_member_is_named(run: Path) -> None:
    (run / "step-10" / "config.json").unlink()
    with pytest.raises(InputError, match=r"step-10: no config\.json"):
        expand(str(run))


def test_a_series_is_no_model(run: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        load_model(str(run))


def test_find_experts_runs_all_members(run: Path, tmp_path: Path) -> None:
    without_tokenizer(run / "step-10")
    without_tokenizer(run / "checkpoint-200")
    concepts = write_tiny_concepts(tmp_path / "concepts")
    settings = FindSettings(
        capture=CaptureSettings(seq_len=48, sites="h.1.mlp.c_fc"),
        mesh="data:2,model:4",
        steps=("capture",),
    )
    folders = find_experts([str(run)], concepts, tmp_path / "out", settings)
    assert [f.path.name for f in folders] == ["run-9", "run-10", "run-200"]
    tokens, weights = set(), set()
    for folder in folders:
        identity = json.loads((folder.path / "run.json").read_text())["capture"]
        tokens.add(identity["tokens_sha256"])
        weights.add(identity["weights_sha256"])
    assert (len(tokens), len(weights)) == (1, 3)
    twice = [str(run), str(run / "step9")]
    with pytest.raises(InputError, match="two models are called 'a-9'"):
        find_experts(twice, concepts, tmp_path / "out", settings, ["a", "a-9"])


def hub_cache(folder: Path, repo: str, revisions: dict[str, int]) -> None:
    """The hub's local cache as huggingface_hub lays it out."""
    place = folder / f"models--{repo.replace('/', '--')}"
    for revision, seed in revisions.items():
        commit = f"{seed:040x}"
        make_tiny_gpt2(place / "snapshots" / commit, seed=seed)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / revision).write_text(commit)


def test_revisions_of_a_repository(tmp_path: Path, tiny_gpt2_folder: Path) -> None:
    hub_cache(tmp_path, "org/tiny", {"main": 7, "step1": 1, "step2": 2})
    code = """
import sys
from expertjax.checkpoints.load import load_model, params_digest
from expertjax.checkpoints.series import expand
from expertjax.errors import InputError
for member in expand("org/tiny@step1,step2") + expand("org/tiny@main", "ours"):
    print(member.name, params_digest(load_model(str(member.path)).params))
model = load_model("org/tiny@step2")
print(model.name, params_digest(model.params))
print(load_model("org/tiny").name)
try:
    load_model("org/tiny@step3")
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    digests = [
        params_digest(load_model(str(make_tiny_gpt2(tmp_path / f"{s}", seed=s))).params)
        for s in (1, 2, 7)
    ]
    names = ["tiny-step1", "tiny-step2", "ours", "tiny-step2"]
    wanted = [digests[0], digests[1], digests[2], digests[1]]
    assert lines[:4] == [f"{n} {d}" for n, d in zip(names, wanted, strict=True)]
    assert lines[4] == "tiny"
    assert lines[5].startswith("--model=org/tiny@step3: neither a local folder nor")
