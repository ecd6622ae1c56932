"""Several models in independent jobs, and compiled programs that are kept."""

from pathlib import Path

import pytest

from expertjax.errors import InputError
from expertjax.jobs import FindSettings
from tests.capturing.tiny_concepts import write_tiny_concepts
from tests.programs import assert_same, contents, finish, run_program, start
from tests.tiny_models import make_tiny_gpt2


def test_shards_do_every_model_once(tmp_path: Path) -> None:
    models = [make_tiny_gpt2(tmp_path / name, seed=i) for i, name in enumerate("abc")]
    flags = {"concepts": write_tiny_concepts(tmp_path / "concepts"), "seq_len": 16}
    flags |= {"out": tmp_path / "out", "sites": r"h\.0\.mlp\.c_fc"}
    every = [f"--model={model}" for model in models]
    said = [
        start("capture_responses", *every, **flags, shard_models=f"{i}/2")
        for i in range(2)
    ]
    named = [
        {Path(line).parent.name for line in text.splitlines() if "responses: " in line}
        for text in finish(*said)
    ]
    print(f"--shard_models=0/2 does {named[0]}, 1/2 does {named[1]}")
    assert named == [{"a", "c"}, {"b"}]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "b", "c"}


@pytest.mark.parametrize("value", ["2/2", "x", "1", "1/", "/2", "-1/2", "0/0", "1/2/3"])
def test_shards_that_make_no_sense_name_the_flag(value: str) -> None:
    with pytest.raises(InputError, match=f"^--shard_models={value}: expected i/n"):
        FindSettings(shard_models=value)


def test_compiled_programs_are_found_again(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    concepts = write_tiny_concepts(tmp_path / "concepts")
    flags = {"model": tiny_gpt2_folder, "concepts": concepts, "seq_len": 16}
    files = []
    for out, more in (("a", {}), ("b", {}), ("c", {"compile_cache": ""})):
        more = {"compile_cache": cache} | more
        run_program("find_experts", **flags, out=tmp_path / out, **more)
        files.append({p: p.stat().st_mtime_ns for p in cache.rglob("*-cache")})
    print(f"--compile_cache: {len(files[0])} files, then {len(files[1])}")
    assert files[0] and files[0] == files[1]
    wanted = contents(tmp_path / "c")
    assert_same(contents(tmp_path / "a"), wanted)
    assert_same(contents(tmp_path / "b"), wanted)


def test_many_models_are_compared_without_their_reports(tmp_path: Path) -> None:
    models = [make_tiny_gpt2(tmp_path / name, seed=i) for i, name in enumerate("ab")]
    out, compared = tmp_path / "out", tmp_path / "compared"
    flags = {"concepts": write_tiny_concepts(tmp_path / "concepts"), "seq_len": 16}
    every = [f"--model={model}" for model in models]
    said = run_program("find_experts", *every, **flags, out=out, report="false")
    assert "report: " not in said
    assert not list(out.glob("*/report"))
    assert len(list(out.glob("*/_SUCCESS"))) == 2  # the guides' first line
    run_program("analyze_experts", results=out, out=compared, report="false")
    names = {path.name for path in compared.rglob("*")}
    assert {"presence.csv", "a", "b", "nearest.csv"} <= names
    assert "index.html" not in names
    run_program("find_experts", *every, **flags, out=out)
    assert (out / "a" / "report" / "index.html").is_file()
    assert (out / "a" / "_SUCCESS").is_file()
