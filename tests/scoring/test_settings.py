from typing import Any

import numpy as np
import pytest

from expertjax.concepts.pool import Membership
from expertjax.errors import InputError
from expertjax.scoring.labels import hold_out
from expertjax.scoring.metrics import METRICS
from expertjax.scoring.settings import TOLERANCE, ScoreSettings


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("metrics", "ap,f1"),
        ("holdout", 1.0),
        ("holdout", -0.1),
        ("bootstrap_top", -1),
        ("bootstrap_resamples", 0),
        ("block_bytes", -1),
        ("kernel", "fast"),
        ("tie_tolerance", -1e-9),
        ("tie_tolerance", 1.0),
        ("tie_tolerance", float("nan")),
    ],
)
def test_wrong_settings_name_their_flag(flag: str, value: Any):
    with pytest.raises(InputError, match=f"--{flag}={value}"):
        ScoreSettings(**{flag: value})


@pytest.mark.parametrize(
    ("given", "compat", "tolerance"),
    [
        (None, "", TOLERANCE),
        (None, "selfcond", 0.0),
        (0.0, "", 0.0),
        (1e-4, "selfcond", 1e-4),
    ],
)
def test_what_is_compatible_ties_what_is_equal(
    given: float | None, compat: str, tolerance: float
):
    settings = ScoreSettings(tie_tolerance=given)
    chosen = settings.resolve({"compat": compat}, 77)
    assert (chosen.tie_tolerance, chosen.block_bytes) == (tolerance, 77)
    assert chosen.resolve({"compat": ""}, 78) == chosen


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        ("", tuple(METRICS)),
        ("auroc", ("ap", "auroc")),
        (" ap_neg , ap,", ("ap", "ap_neg")),
    ],
)
def test_ap_is_always_among_the_metrics(flag: str, names: tuple[str, ...]):
    assert ScoreSettings(metrics=flag).metric_names == names


def test_each_class_has_its_share_held_out():
    sentence = np.array([5, 5, 1, 2, 3, 4, *range(10, 40)], np.int32)
    label = np.array([1] * 6 + [0] * 30, np.int8)
    member = Membership(sentence, label)
    (held_out,) = hold_out(["s/a"], [member], 0.4, seed=0)
    # Of five distinct positives; the one that is there twice stays together.
    assert len(set(sentence[held_out & (label == 1)])) == 2
    assert held_out[0] == held_out[1]
    assert held_out[label == 0].sum() == 12
    assert (hold_out(["s/a"], [member], 0.4, seed=0)[0] == held_out).all()
    assert (hold_out(["s/a"], [member], 0.4, seed=1)[0] != held_out).any()


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_some_sentences_stay_on_either_side(share: float):
    member = Membership(np.arange(4, dtype=np.int32), np.array([1, 1, 0, 0], np.int8))
    (held_out,) = hold_out(["s/a"], [member], share, seed=0)
    assert held_out.tolist().count(True) == 2


def test_a_concept_of_one_positive_cannot_hold_any_out():
    member = Membership(np.arange(4, dtype=np.int32), np.array([1, 0, 0, 0], np.int8))
    with pytest.raises(InputError, match=r"--holdout=0\.3.*\n.*s/a has one positive"):
        hold_out(["s/a"], [member], 0.3, seed=0)
