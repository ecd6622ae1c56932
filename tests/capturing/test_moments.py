"""Means and variances over tokens, against torch and against token_activations."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import expertjax as ej
from expertjax.capturing.moments import unit_moments
from expertjax.checkpoints.load import Model, load_model
from expertjax.errors import InputError
from expertjax.models.sites import EVERY_POINT
from expertjax.models.unit_moments import UnitMoments
from expertjax.stores.folder import ResultFolder
from tests import bounds
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.tiny_models import make_tiny_gpt2

UNITS = np.array([3, 100, 287, 500, 863])  # of several sites, up to the last layer


@pytest.fixture(scope="module")
def folder(tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory) -> ResultFolder:
    out = tmp_path_factory.mktemp("moments") / tiny_gpt2.name
    settings = ej.CaptureSettings(seq_len=SEQ_LEN)
    return ej.capture(tiny_gpt2, tiny_concept_set(), out, settings)


@pytest.fixture(scope="module")
def members(folder: ResultFolder) -> tuple[np.ndarray, np.ndarray]:
    table = folder.read_table("memberships")
    table = table[table["concept"] == table["concept"].iloc[0]]
    return table["sentence"].to_numpy(), table["label"].to_numpy()


def test_moments_are_those_of_torch(
    folder: ResultFolder,
    members: tuple[np.ndarray, np.ndarray],
    tiny_gpt2: Model,
    tiny_gpt2_folder: Path,
) -> None:
    torch = pytest.importorskip("torch")
    from tests.torch_reference import load_torch

    rows, label = members
    model = load_torch(tiny_gpt2_folder, "GPT2LMHeadModel")
    units = folder.read_table("units").iloc[UNITS]
    kept: dict[str, np.ndarray] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, __, out, name=name: kept.update({name: out})
        )
    every: dict[int, list[np.ndarray]] = {0: [], 1: []}
    means: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for row in np.sort(rows):
        text = folder.read_table("sentences")["text"][row]
        ids = torch.tensor([tiny_gpt2.tokenizer(text).input_ids])
        with torch.no_grad():
            model(ids)
        z_TxK = np.stack(
            [
                kept[module][0, :, index].numpy()
                for module, index in zip(units["module"], units["index"], strict=True)
            ],
            axis=1,
        ).astype(float)
        which = int(label[rows == row][0])
        every[which].append(z_TxK)
        means[which].append(z_TxK.mean(0))
    found = unit_moments(folder, tiny_gpt2, rows, label, UNITS)
    allowed = bounds.of_model(tiny_gpt2)
    for which in (0, 1):
        z_nxK = np.concatenate(every[which])
        mean_K, deviation_K = found.of_tokens(which)
        scale = z_nxK.std(0).max()
        np.testing.assert_allclose(mean_K, z_nxK.mean(0), atol=allowed * scale)
        np.testing.assert_allclose(deviation_K, z_nxK.std(0), rtol=10 * allowed)
        np.testing.assert_allclose(
            found.sentence_means(which), means[which], atol=allowed * scale
        )
    assert found.num_tokens.sum() == sum(map(len, every[0] + every[1]))


def test_far_from_zero_the_variance_is_not_lost() -> None:
    from expertjax.capturing.pooling import token_moments

    random = np.random.default_rng(0)
    z_BxTxF = (1000 + 0.01 * random.standard_normal((2, 9, 3))).astype(np.float32)
    mask_BxT = np.arange(9) < np.array([[9], [4]])
    mean, variance = np.asarray(token_moments(mask_BxT, z_BxTxF))
    for row, count in enumerate((9, 4)):
        real = z_BxTxF[row, :count].astype(float)
        np.testing.assert_allclose(mean[row], real.mean(0), rtol=1e-6)
        np.testing.assert_allclose(variance[row], real.var(0), rtol=0.02)


def test_units_are_kept_by_column() -> None:
    random = np.random.default_rng(1)
    label, num_tokens = np.array([0, 1, 1]), np.array([2, 3, 4])
    moments = UnitMoments(label, num_tokens, *random.random((2, 3, 4)))
    few = moments.keep(np.array([2, 0]))
    for which in (0, 1):
        for part, whole in zip(
            few.of_tokens(which), moments.of_tokens(which), strict=True
        ):
            np.testing.assert_array_equal(part, whole[[2, 0]])


def test_points_that_are_no_layers_and_first_tokens_left_out(
    members: tuple[np.ndarray, np.ndarray], tiny_gpt2: Model, tmp_path: Path
) -> None:
    settings = ej.CaptureSettings(
        seq_len=SEQ_LEN, sites=EVERY_POINT, skip_first=1, pooling="mean"
    )
    texts = [f"{text} The ball." for text in tiny_concept_set().sentences[:40]]
    concepts = ej.make_concepts({"a/b": (texts[:14], texts[14:])})
    folder = ej.capture(tiny_gpt2, concepts, tmp_path / "out", settings)
    x_NxU = np.asarray(folder.open_responses().read().result())
    units = np.arange(0, x_NxU.shape[1], 97)
    rows = np.arange(5, len(x_NxU))[::-1]  # in any order
    found = unit_moments(folder, tiny_gpt2, rows, np.ones_like(rows), units)
    allowed = bounds.of_model(tiny_gpt2) * np.abs(x_NxU).max()
    np.testing.assert_allclose(found.mean, x_NxU[5:, units], atol=allowed)


def test_other_weights_are_refused(
    folder: ResultFolder, members: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    other = load_model(str(make_tiny_gpt2(tmp_path / "other", seed=5)))
    with pytest.raises(InputError, match="result of tiny-gpt2, whose weights"):
        unit_moments(folder, other, *members, UNITS)


def test_sentences_of_the_references_padding_are_run_without_it(
    folder: ResultFolder,
    members: tuple[np.ndarray, np.ndarray],
    tiny_gpt2: Model,
    tmp_path: Path,
) -> None:
    settings = ej.CaptureSettings(seq_len=SEQ_LEN, compat="selfcond")
    padded = ej.capture(tiny_gpt2, tiny_concept_set(), tmp_path / "out", settings)
    ours, theirs = (
        unit_moments(each, tiny_gpt2, *members, UNITS) for each in (folder, padded)
    )
    for field in dataclasses.fields(UnitMoments):
        np.testing.assert_array_equal(
            getattr(ours, field.name), getattr(theirs, field.name)
        )
