from typing import Any

import pytest

from expertjax.capturing.settings import CaptureSettings
from expertjax.errors import InputError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pooling", "median"),
        ("special_tokens", "maybe"),
        ("long", "split"),
        ("compute_dtype", "float16"),
        ("store_dtype", "int8"),
        ("compat", "other"),
        ("seq_len", 0),
        ("num_per_concept", -1),
        ("batch_tokens", -1),
        ("skip_first", -1),
        ("block_rows", 0),
    ],
)
def test_a_bad_value_names_its_flag(name: str, value: Any):
    with pytest.raises(InputError, match=f"--{name}={value}"):
        CaptureSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pooling", "mean"),
        ("special_tokens", "exclude"),
        ("skip_first", 1),
        ("long", "truncate"),
        ("compute_dtype", "bfloat16"),
        ("store_dtype", "float16"),
    ],
)
def test_the_reference_is_not_imitated_in_part(name: str, value: Any):
    assert CaptureSettings(compat="selfcond").compat == "selfcond"
    with pytest.raises(InputError, match=f"--compat=selfcond needs --{name}="):
        CaptureSettings(compat="selfcond", **{name: value})


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({}, "float32"),
        ({"compute_dtype": "bfloat16"}, "bfloat16"),
        ({"compute_dtype": "bfloat16", "pooling": "last"}, "bfloat16"),
        ({"compute_dtype": "bfloat16", "pooling": "mean"}, "float32"),
        ({"compute_dtype": "bfloat16", "store_dtype": "float32"}, "float32"),
        ({"store_dtype": "float16"}, "float16"),
    ],
)
def test_what_is_left_open_is_chosen(changes: Any, stored: str):
    chosen = CaptureSettings(**changes).resolve(77)
    assert (chosen.store_dtype, chosen.batch_tokens) == (stored, 77)
    assert chosen.resolve(78) == chosen
