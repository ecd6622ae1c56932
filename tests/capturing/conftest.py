"""Tiny models are run at several lengths here, as larger ones are."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def several_lengths() -> Iterator[None]:
    """Else compiling would cost more than all tokens of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expertjax.runtime.mesh._CPU_COMPILE_FLOPS", 5 * 10**6)
        yield
