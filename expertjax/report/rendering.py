"""Templates and the files that go into a page as they are."""

from collections.abc import Sequence

import jinja2


def templates() -> jinja2.Environment:
    """All templates; what they are given is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("expertjax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def sources(environment: jinja2.Environment, kind: str, names: Sequence[str]) -> str:
    """Files as they are: they are no templates and hold no data."""
    assert environment.loader is not None
    texts = [
        environment.loader.get_source(environment, f"{kind}/{name}.{kind}")[0]
        for name in names
    ]
    return "\n".join(texts)
