"""A result of ours, and the same as the files of ml-selfcond."""

import shutil
from pathlib import Path

import pytest

import expertjax as ej
from expertjax.analysis.export import export_expertise
from expertjax.checkpoints.load import Model
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set, write_tiny_concepts


@pytest.fixture(scope="session")
def original(tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory):
    """Three concepts; some of their sentences are over SEQ_LEN."""
    out = tmp_path_factory.mktemp("original") / tiny_gpt2.name
    settings = ej.CaptureSettings(seq_len=SEQ_LEN)
    responses = ej.capture(tiny_gpt2, tiny_concept_set(), out, settings)
    return ej.score(responses)


@pytest.fixture(scope="session")
def exported(original: ej.Expertise, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files. Do not change them."""
    return export_expertise(original, tmp_path_factory.mktemp("export"), "selfcond")


@pytest.fixture
def files(exported: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(exported, tmp_path / "files" / exported.name))


@pytest.fixture(scope="session")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The concept folder behind it."""
    return write_tiny_concepts(tmp_path_factory.mktemp("concepts") / "tiny")
