"""What a user gets wrong ends in one clear line, and nothing is half-written.

The programs themselves are run, as a user runs them. `RUNS` are the calls, each
with the input that it breaks; `CASES` are the mistakes, of which a call may
contain several, since they are reported together.
"""

import csv
import dataclasses
import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

from expertjax.stores.folder import ResultFolder
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concepts, write_tiny_concepts
from tests.programs import try_program

Outcome = subprocess.CompletedProcess[str]


@dataclasses.dataclass(frozen=True)
class World:
    """Sound input, and a place for what a run breaks."""

    model: Path
    result: Path  # OUT/<model_name> of a finished find_experts
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def find(self, *args: str, **changes: Any) -> list[str]:
        """Arguments that would do, but for the changes."""
        flags = {"model": self.model, "concepts": self.concepts, "out": self.out}
        flags |= {"seq_len": SEQ_LEN} | changes
        return [f"--{name}={value}" for name, value in flags.items()] + list(args)

    @property
    def concepts(self) -> Path:
        """A sound concept folder of its own."""
        folder = self.folder / "concepts"
        return folder if folder.is_dir() else write_tiny_concepts(folder)

    def copy_model(self) -> Path:
        return Path(shutil.copytree(self.model, self.folder / self.model.name))

    def copy_result(self) -> ResultFolder:
        """Captured and scored, but without a report."""
        result = ResultFolder(self.out / self.result.name)
        shutil.copytree(self.result, result.path)
        shutil.rmtree(result.path / "report")
        result.unsucceed()
        return result

    def copy_capture(self) -> ResultFolder:
        """Captured only."""
        result = self.copy_result()
        result.forget("score")
        shutil.rmtree(result.expertise_path)
        shutil.rmtree(result.path / ".blocks" / "expertise")
        return result


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of a program.

    Attributes:
      program: of `binaries`.
      prepare: breaks something and returns the arguments.
      begins: the mistake shows only when responses are being written.
      file_limit: KiB that a file may have, as on a disk that is full.
    """

    program: str
    prepare: Callable[[World], list[str]]
    begins: bool = False
    file_limit: int | None = None


RUNS: dict[str, Run] = {}


def run(program: str, **options: Any) -> Callable:
    def register(prepare: Callable[[World], list[str]]) -> Callable:
        RUNS[prepare.__name__] = Run(program, prepare, **options)
        return prepare

    return register


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(world: World, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    model = world.copy_model()
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    return model


# ---- concepts


@run("find_experts")
def list_that_is_no_csv(world: World) -> list[str]:
    (world.concepts / "concept_list.csv").write_text('group,concept\nsense,"tiny-0\n')
    return world.find()


@run("find_experts")
def list_of_bad_names(world: World) -> list[str]:
    with (world.concepts / "concept_list.csv").open("a", newline="") as file:
        rows = [("sense", "../x"), ("sense", "<b>x</b>"), ("sense", "tiny-0")]
        csv.writer(file).writerows(rows)
    return world.find()


@run("capture_responses")
def broken_concepts(world: World) -> list[str]:
    names = ("json", "keys", "positives", "negatives", "blank", "named")
    concepts = [dataclasses.replace(tiny_concepts()[0], name=name) for name in names]
    write_tiny_concepts(world.folder / "concepts", concepts)
    group = world.concepts / "sense"
    (group / "json.json").write_text("{'concept': 'json'}")
    edit_json(group / "keys.json", sentences={"positives": ["A crow."]})
    edit_json(group / "positives.json", sentences={"positive": [], "negative": ["a"]})
    edit_json(group / "negatives.json", sentences={"positive": ["a"], "negative": []})
    edit_json(group / "blank.json", sentences={"positive": ["a"], "negative": [" "]})
    edit_json(group / "named.json", concept="otherwise")
    return world.find()


@run("find_experts")
def sentences_all_too_long(world: World) -> list[str]:
    return world.find(seq_len=2)


# ---- models


@run("find_experts")
def no_model_folder(world: World) -> list[str]:
    return world.find(model=world.folder / "none")


@run("find_experts")
def model_that_nobody_has(world: World) -> list[str]:
    return world.find(model="nobody/has-this")


@run("find_experts")
def unknown_family(world: World) -> list[str]:
    edit_json(world.copy_model() / "config.json", model_type="mamba")
    return world.find(model=world.folder / world.model.name)


@run("find_experts")
def config_not_understood(world: World) -> list[str]:
    path = world.copy_model() / "config.json"
    edit_json(path, rotary_share=0.5, activation_function="sine")
    return world.find(model=path.parent)


@run("find_experts")
def weights_that_do_not_fit(world: World) -> list[str]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        del tensors["transformer.h.1.mlp.c_fc.weight"]
        tensors["transformer.h.0.adapter.weight"] = np.zeros(3, np.float32)
        tensors["transformer.h.2.ln_1.bias"] = np.zeros(7, np.float32)

    return world.find(model=edit_weights(world, change))


@run("find_experts", begins=True)
def weights_that_are_nan(world: World) -> list[str]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["transformer.h.1.mlp.c_fc.bias"][7] = np.nan

    return world.find(model=edit_weights(world, change))


@run("find_experts", begins=True)
def one_token_that_is_nan(world: World) -> list[str]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["transformer.wte.weight"][token] = np.nan

    tokenizer = transformers.AutoTokenizer.from_pretrained(world.model)
    [token] = tokenizer(" the").input_ids
    # In layer 0, this site's other tokens do not see it and are larger.
    return world.find(model=edit_weights(world, change), sites=r"h\.0\.attn\.c_attn")


@run("find_experts", begins=True)
def responses_outside_float16(world: World) -> list[str]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["transformer.h.2.mlp.c_proj.bias"][3] = 1e5

    return world.find(model=edit_weights(world, change), store_dtype="float16")


@run("find_experts")
def two_models_of_one_name(world: World) -> list[str]:
    again = world.copy_model()
    return world.find(f"--model={again}")


# ---- flags


@run("find_experts")
def missing_flag(world: World) -> list[str]:
    return [f"--model={world.model}", f"--out={world.out}"]


@run("find_experts")
def unknown_flag(world: World) -> list[str]:
    return world.find("--gama=0.9")


@run("capture_responses")
def flag_that_is_none_of_the_choices(world: World) -> list[str]:
    return world.find(pooling="median")


@run("capture_responses")
def flag_that_is_no_number(world: World) -> list[str]:
    return world.find(seq_len="many")


@run("capture_responses")
def argument_without_flag(world: World) -> list[str]:
    return world.find("concepts")


@run("find_experts")
def missing_flagfile(world: World) -> list[str]:
    return world.find(flagfile=world.folder / "none.flags")


@run("find_experts")
def gamma_that_makes_no_sense(world: World) -> list[str]:
    return world.find(gamma=1.5)


@run("find_experts")
def model_name_that_leaves_the_folder(world: World) -> list[str]:
    return world.find(model_name="../x")


# ---- disk


@run("capture_responses")
def out_that_is_a_file(world: World) -> list[str]:
    world.out.write_text("precious")
    return world.find()


@run("find_experts")
def store_of_another_run(world: World) -> list[str]:
    world.copy_result()
    return world.find(pooling="mean")


@run("find_experts")
def store_of_another_model(world: World) -> list[str]:
    world.copy_result()

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["transformer.h.0.mlp.c_fc.bias"][0] += 1

    return world.find(model=edit_weights(world, change))


@run("find_experts")
def shard_that_is_not_there(world: World) -> list[str]:
    return world.find(shard_models="2/2")


@run("find_experts")
def shard_of_one_number(world: World) -> list[str]:
    return world.find(shard_models="1")


@run("find_experts")
def shard_that_is_no_number(world: World) -> list[str]:
    return world.find(shard_models="x")


@run("capture_responses", begins=True, file_limit=50)
def disk_full_of_responses(world: World) -> list[str]:
    return world.find()


@run("capture_responses", file_limit=3)
def disk_full_of_tables(world: World) -> list[str]:
    return world.find()


@run("train_lm")
def too_little_text(world: World) -> list[str]:
    (world.folder / "few.txt").write_text("One line.\nAnother line.\nA third line.\n")
    return [f"--text={world.folder / 'few.txt'}", f"--out={world.out}"]


# ---- results


def scores(responses: ResultFolder) -> list[str]:
    return [f"--responses={responses.path}"]


@run("score_experts", begins=True)
def flipped_bit_in_responses(world: World) -> list[str]:
    result = world.copy_capture()
    damage(result.responses_path / "c" / "0" / "0", flip=True)
    return scores(result)


@run("score_experts", begins=True)
def truncated_responses(world: World) -> list[str]:
    result = world.copy_capture()
    damage(result.responses_path / "c" / "0" / "0", flip=False)
    return scores(result)


@run("score_experts", begins=True)
def missing_shard(world: World) -> list[str]:
    result = world.copy_capture()
    (result.responses_path / "c" / "0" / "0").unlink()
    return scores(result)


@run("score_experts")
def missing_mark_of_a_block(world: World) -> list[str]:
    result = world.copy_capture()
    (result.path / ".blocks" / "responses" / "000000.json").unlink()
    return scores(result)


@run("find_experts")
def missing_mark_before_the_whole_job(world: World) -> list[str]:
    result = world.copy_capture()
    (result.path / ".blocks" / "responses" / "000000.json").unlink()
    return world.find()


@run("analyze_experts", begins=True)
def flipped_bit_in_expertise(world: World) -> list[str]:
    result = world.copy_result()
    damage(result.expertise_path / "ap" / "c" / "0" / "0", flip=True)
    return [f"--results={result.path}"]


def damage(path: Path, flip: bool) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data if flip else data[: len(data) // 2])


# (what is wrong, the run, what the message has to contain)
CASES = [
    ("malformed CSV", "list_that_is_no_csv", "concept_list.csv: cannot be read as CSV"),
    ("name with ..", "list_of_bad_names", "line 5: concept '../x'"),
    ("name with markup", "list_of_bad_names", "line 6: concept '<b>x</b>'"),
    ("name listed twice", "list_of_bad_names", "line 7: sense/tiny-0 is listed twice"),
    ("malformed JSON", "broken_concepts", "sense/json.json: cannot be read as JSON"),
    ("keys", "broken_concepts", "keys.json: expected the keys*sentences.positive"),
    ("no positives", "broken_concepts", "positives.json: sentences.positive should be"),
    ("no negatives", "broken_concepts", "negatives.json: sentences.negative should be"),
    ("blank sentence", "broken_concepts", "blank.json: sentences.negative[0] is ' '"),
    ("other name inside", "broken_concepts", "named.json: is sense/otherwise, but"),
    ("all too long", "sentences_all_too_long", "--seq_len=2: every sentence is longer"),
    ("model folder", "no_model_folder", "--model=*/none: no such folder"),
    ("hub id", "model_that_nobody_has", "--model=nobody/has-this: neither"),
    ("family", "unknown_family", "config.json: model_type 'mamba' is not known"),
    ("attribute", "config_not_understood", "config.json: *rotary_share=0.5 is not"),
    ("value", "config_not_understood", "activation_function='sine' is not known"),
    ("weight", "weights_that_do_not_fit", "no tensor fills blocks.c_fc.kernel of*1"),
    ("extra weight", "weights_that_do_not_fit", "'transformer.h.0.adapter.weight' is"),
    ("shape", "weights_that_do_not_fit", "'transformer.h.2.ln_1.bias' has shape (7,)"),
    ("NaN, unit", "weights_that_are_nan", "(transformer.h.1.mlp.c_fc, 7) to sentence"),
    ("NaN, advice", "weights_that_are_nan", "is nan; the weights are damaged or"),
    ("NaN, token", "one_token_that_is_nan", "to sentence '* the*' is nan; the weights"),
    ("dtype", "responses_outside_float16", "--store_dtype=float16: *h.2.mlp.c_proj, 3"),
    ("same name", "two_models_of_one_name", "two models are called 'tiny-gpt2'"),
    ("no flag", "missing_flag", "--concepts is missing\nusage: *--help shows"),
    ("unknown flag", "unknown_flag", "'gama'*gamma"),
    ("choice", "flag_that_is_none_of_the_choices", "--pooling=median*<max|mean|last>"),
    ("no number", "flag_that_is_no_number", "--seq_len=many"),
    ("no flag's argument", "argument_without_flag", "unexpected argument 'concepts'"),
    ("flagfile", "missing_flagfile", "none.flags"),
    ("gamma", "gamma_that_makes_no_sense", "--gamma=1.5*range"),
    ("model name", "model_name_that_leaves_the_folder", "--model_name '../x' is no"),
    ("file as out", "out_that_is_a_file", "--out=*/out: is a file; expected the name"),
    ("other run", "store_of_another_run", "--out: *pooling: there 'max', here 'mean'"),
    (
        "other model",
        "store_of_another_model",
        "--out: *weights_sha256: there '*', here",
    ),
    ("shard 2/2", "shard_that_is_not_there", "--shard_models=2/2: expected i/n"),
    ("shard 1", "shard_of_one_number", "--shard_models=1: expected i/n"),
    ("shard x", "shard_that_is_no_number", "--shard_models=x: expected i/n"),
    ("full, store", "disk_full_of_responses", "responses.zarr/: cannot be written"),
    ("full, table", "disk_full_of_tables", "*oo large*run the same command again"),
    ("little text", "too_little_text", "--text: *little text"),
    ("flipped bit", "flipped_bit_in_responses", "responses.zarr/: a chunk is damaged"),
    ("truncated chunk", "truncated_responses", "responses.zarr/: a chunk is damaged"),
    ("no shard", "missing_shard", "responses.zarr/: *a chunk is missing"),
    ("no mark", "missing_mark_of_a_block", "000000.json: the mark of a*1 of 1"),
    ("no mark, job", "missing_mark_before_the_whole_job", "000000.json: the mark of a"),
    ("flipped AP", "flipped_bit_in_expertise", "expertise.zarr/ap/: a chunk is"),
]


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that is over, and what was there before it."""

    outcome: Outcome
    world: World
    before: dict[str, bytes]


@pytest.fixture(scope="module")
def sound_result(
    tiny_gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the same program makes of input that is not broken."""
    world = World(tiny_gpt2_folder, Path(), tmp_path_factory.mktemp("sound"))
    outcome = try_program("find_experts", world.find())
    assert outcome.returncode == 0, outcome.stderr
    assert "error:" not in outcome.stderr
    assert (world.out / "tiny-gpt2" / "_SUCCESS").is_file()
    return world.out / "tiny-gpt2"


@pytest.fixture(scope="module")
def finished(
    tiny_gpt2_folder: Path,
    sound_result: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Finished]:
    """Runs what a test needs, once for all that need it."""

    @functools.cache
    def find(name: str) -> Finished:
        run, folder = RUNS[name], tmp_path_factory.mktemp(name)
        world = World(tiny_gpt2_folder, sound_result, folder)
        args = run.prepare(world)
        before = contents(folder)
        outcome = try_program(run.program, args, run.file_limit)
        return Finished(outcome, world, before)

    return find


@pytest.mark.parametrize(
    ("name", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_one_line_says_what_is_wrong(
    finished: Callable[[str], Finished], name: str, expected: str
):
    outcome = finished(name).outcome
    assert outcome.returncode in (1, 2)
    assert outcome.stderr.count("error:") == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    # A progress bar may stand before it.
    message = outcome.stderr.replace("\r", "\n").partition("\nerror: ")
    message = message[2] or outcome.stderr.removeprefix("error: ")
    at = 0
    for part in expected.split("*"):
        at = message.find(part, at)
        assert at >= 0, message
        at += len(part)


@pytest.mark.parametrize("name", list(RUNS))
def test_nothing_is_half_written(finished: Callable[[str], Finished], name: str):
    run, begins = finished(name), RUNS[name].begins
    after = contents(run.world.folder)
    new = [Path(path) for path in after if path not in run.before]
    assert not [path for path in new if path.name in ("_SUCCESS", "index.html")]
    hidden = {part for path in new for part in path.parts if part.startswith(".")}
    assert hidden <= {".blocks"}  # no temporary file
    assert begins or not [path for path in new if "zarr" in str(path)]
    # A run that has begun puts its settings down, and nothing else changes.
    kept = [path for path in run.before if not (begins and path.endswith("run.json"))]
    assert [path for path in kept if after.get(path) != run.before[path]] == []


def test_every_run_has_a_case():
    assert {case[1] for case in CASES} == set(RUNS)
