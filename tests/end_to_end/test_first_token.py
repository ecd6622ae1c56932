"""--skip_first through the program: scores, marks and what is said."""

from pathlib import Path

from expertjax.analysis.expertise import Expertise
from expertjax.report.build import report_data
from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.programs import run_program


def test_first_tokens_are_left_out_and_counted(tiny_gpt2_folder: Path, tmp_path: Path):
    flags = {"concepts": write_tiny_concepts(tmp_path / "concepts"), "seq_len": SEQ_LEN}
    flags |= {"model": tiny_gpt2_folder, "gamma": 0.6}
    starts, said = {}, {}
    for skip in (0, 2):
        out = tmp_path / str(skip)
        run_program("find_experts", **flags, skip_first=skip, out=out)
        found = Expertise.open(out / tiny_gpt2_folder.name)
        assert found.folder.read_run()["capture"].get("skip_first", 0) == skip
        assert found.units["at_first_token"].between(0, 1).all()
        starts[skip] = found.excited["start"]
        facts = report_data(found, 0.6).facts
        said[skip] = facts["Maximum at the first token"]
        assert said[skip].startswith("in over 90% of the sentences for ")
        assert ("Left out of pooling" in facts) == bool(skip)
    assert (starts[0] == 0).any() and (starts[2] > 0).all()
    assert "--skip_first=1" in said[0] and "--skip_first" not in said[2]
