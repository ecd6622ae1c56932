"""The measurement for accelerators, in small: every section runs and says figures."""

import dataclasses

import pytest

from binaries.benchmarks.accelerator import SECTIONS, SMALL

SIZES = dataclasses.replace(SMALL, sentences=64, units=256, rows=400, texts=(2,))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_says_what_it_measured(section: str) -> None:
    rows = SECTIONS[section](SIZES)
    assert len({what for what, _, _ in rows}) == len(rows)
    for what, value, unit in rows:
        assert (value > 0) if unit else value, what
