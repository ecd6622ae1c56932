"""The programs that accelerators run compile for them: a GPU and four chips of a TPU.

XLA's compilers for these need no device. `EXPERTJAX_COMPILERS` is a folder that they
were installed to (`pip install --target`), so that JAX finds none here.
"""

import os
import sys
from importlib.metadata import distributions, version

import pytest

from binaries.benchmarks import hlo
from binaries.benchmarks.without_devices import TARGETS, compile_for

FOLDER = os.environ.get("EXPERTJAX_COMPILERS", "")
PACKAGES = {"H100": "jax-cuda12-pjrt", "TPU v5e": "libtpu"}
PROGRAMS = [
    "scores: all metrics",
    "scores: AP, pairs sorted",
    "step: gpt2, max",
    "step: gpt2, mean",
    "step: gpt2, last",
    "step: bert, max",
    "step: mixtral, max",
    "marked tokens",
    "responses, kept on the devices",
]


@pytest.mark.parametrize("target", TARGETS)
def test_every_program_compiles(target: str):
    paths = [FOLDER] if FOLDER else sys.path
    there = {d.name: d.version for d in distributions(path=paths)}
    found = there.get(PACKAGES[target])
    if found is None:
        pytest.skip(f"{PACKAGES[target]} is not installed")
    if target == "H100" and found != version("jax"):
        pytest.skip(f"{PACKAGES[target]} {found} is not for JAX {version('jax')}")
    rows = compile_for(target, is_small=True, path=[FOLDER] if FOLDER else [])
    assert [row["program"] for row in rows] == PROGRAMS
    if target == "H100":
        for row in rows:
            assert row["kernels"] > 0 and row["MB moved"] > 0
        # Searches for percentiles, and scans one by one, made 349 of a tile.
        assert rows[0]["kernels"] <= 50


TEXT = """HloModule made

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%p), index=1
  %put = f32[8,4]{1,0} fusion(%x, %i), kind=kLoop, calls=%update
  %sorted = f32[8,4]{1,0} sort(%put), dimensions={1}, to_apply=%less
  ROOT %t = (s32[], /*index=1*/f32[8,4]{1,0}) tuple(%i, %sorted)
}

%update (a: f32[8,4], i: s32[]) -> f32[8,4] {
  %a = f32[8,4]{1,0} parameter(0)
  %i.1 = s32[] parameter(1)
  %row = f32[1,4]{1,0} broadcast(%i.1), dimensions={}
  %zero = s32[] constant(0)
  ROOT %u = f32[8,4]{1,0} dynamic-update-slice(%a, %row, %i.1, %zero)
}

%first (b: bf16[8,64]) -> f32[8,1] {
  %b = bf16[8,64]{1,0} parameter(0)
  %twice = bf16[8,64]{1,0} add(%b, %b)
  %one = bf16[8,1]{1,0} slice(%twice), slice={[0:8], [0:1]}
  ROOT %wide = f32[8,1]{1,0} convert(%one)
}

ENTRY %main (b.1: bf16[8,64]) -> (f32[8,4], f32[8,1]) {
  %b.1 = bf16[8,64]{1,0} parameter(0)
  %begin = (s32[], f32[8,4]{1,0}) custom-call(), custom_call_target="none"
  %loop = (s32[], f32[8,4]{1,0}) while(%begin), body=%body, ROUNDS
  %end = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  %some = f32[8,1]{1,0} fusion(%b.1), kind=kLoop, calls=%first
  ROOT %both = (f32[8,4]{1,0}, f32[8,1]{1,0}) tuple(%end, %some)
}
""".replace("ROUNDS", 'backend_config={"known_trip_count":{"n":"5"}}')


def test_what_a_program_does_is_read():
    found = {kernel.name: kernel for kernel in hlo.kernels(TEXT)}
    assert {name: (k.loops, k.runs, k.bytes) for name, k in found.items()} == {
        "begin": (0, 1, 4 + 128),
        "put": (1, 5, 16 + 4),  # a row in place, and its number
        "sorted": (1, 5, 128 + 128),
        "some": (0, 1, 32 + 16),  # of 1024 bytes those that are looked at
    }
